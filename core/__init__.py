"""What programs and plugins import from here; nothing is loaded before it is asked for.

A plugin takes `plugin`, `hookimpl` and, for a rewrite that may find nothing to do, `optional`;
a program takes `Engine` and `Sampling`.
"""

import signal
import sys
from importlib import import_module

DISTRIBUTION = "ingot"
__version__ = "0.1.0"

__all__ = ["DISTRIBUTION", "Engine", "Sampling", "__version__", "hookimpl", "optional", "plugin"]

_HOMES = {
    "Engine": "runtime",
    "Sampling": "sampling",
    "hookimpl": "hookspecs",
    "optional": "hookspecs",
    "plugin": "hookspecs",
}


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'core' has no attribute {name!r}")
    return getattr(import_module(f"core.{_HOMES[name]}"), name)


def __dir__():
    return sorted({*globals(), *__all__})


def end_on_interrupt() -> None:
    """Ctrl-C ends the process at once, until `raise_on_interrupt`.

    Before a command begins its task there is nothing to undo, and an interrupt in the middle of
    an import would be a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_on_interrupt() -> None:
    """Ctrl-C is a KeyboardInterrupt again, if `end_on_interrupt` changed it."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number, frame):
    import os

    os.write(2, b"interrupted\n")
    os._exit(130)


if sys.argv[:1] == ["-m"]:  # `python -m core.build` is on its way to its module
    end_on_interrupt()

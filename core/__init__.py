"""What programs and plugins import from here; nothing is loaded before it is asked for.

A plugin takes `plugin`, `hookimpl` and, for a rewrite that may find nothing to do, `optional`;
a program takes `Engine` and `Sampling`.
"""

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

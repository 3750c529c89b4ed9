"""What every command does around its task: one composed config, every error a sentence.

    @hydra.main(version_base="1.3", config_path="pkg://conf.use", config_name="run")
    def task(cfg): ...

    def main():
        command.run(task)

Exit codes: 2 the config, 3 the checkpoint, the plan or the engine folder, 4 the machine, 5 building
or running, or a missed gate, 130 Ctrl-C. HYDRA_FULL_ERROR=1 adds the traceback.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys

import core

COMMANDS = ("build", "plan", "run", "show", "eval", "bench")


class UserError(Exception):
    """What was asked, what was found, what to do, in a sentence."""

    code = 5


class ConfigError(UserError):
    """The config asks for something that does not exist or cannot be."""

    code = 2


class ArgumentError(ConfigError, ValueError):
    """A value given to the Python API, or through a command, is not one that it takes."""


class PlanError(UserError):
    """The checkpoint, the engine folder or their combination with the config is refused."""

    code = 3


class MachineError(UserError):
    """This machine or this installation lacks something."""

    code = 4


class Terminated(BaseException):
    """SIGTERM or SIGHUP came. No SystemExit: a plugin that is being imported could raise that."""

    def __init__(self, number: int):
        super().__init__(number)
        self.code = 128 + number


def run(task, check=None) -> None:
    """Composes the config that the arguments describe, runs `task` on it, and exits on an error.

    `task` is decorated by hydra.main. With -m it runs once for each combination. `check(cfg)`
    returns every sentence there is to say against a config; where composing fails, its sentences
    about what did compose are reported together with Hydra's.
    """
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting with 1
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # under nohup it stays ignored
        signal.signal(signal.SIGHUP, _terminated)
    _open_streams()
    try:
        _check_distribution()
        from . import composition

        composition.run(task, check)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _traceback(full)
        _end("interrupted", 130)
    except Terminated as end:
        sys.exit(end.code)
    except BrokenPipeError:  # the reader of our output, `head` for example, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        _traceback(full)
        _end(*sentence(error))


def require(cfg, key: str, what: str) -> None:
    """Raises a ConfigError where `key`, which is `what`, was not given."""
    if cfg[key] is None or cfg[key] == "":
        raise ConfigError(f"{key} is not given; add {key}=…, {what}")


def write(key: str, path: str, text: str) -> None:
    """`text` is in the file that `key=path` names.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        with open(os.path.expanduser(path), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"{key}={path} cannot be written: {error.strerror}") from error


def sentence(error: Exception) -> tuple[str, int]:
    """What to print about `error`, and the exit code."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, UserError):
        return str(error), error.code
    if isinstance(error, HydraException | OmegaConfBaseException):
        return str(error).strip(), ConfigError.code
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}", MachineError.code
    if isinstance(error, MemoryError):
        return f"out of memory: {error}".rstrip(": "), MachineError.code
    return (
        f"internal error: {type(error).__name__}: {error}\n"
        "this is a mistake in the program or a plugin; HYDRA_FULL_ERROR=1 shows where",
        UserError.code,
    )


def ingot() -> None:
    """The console script: `ingot build …` is `python -m core.build …`."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--version", "-V"):
        print(f"ingot {core.__version__}")
        return
    if name in ("--help", "-h"):
        print("usage: ingot COMMAND key=value …\ncommands, each with --help:", ", ".join(COMMANDS))
        return
    if name not in COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(name, COMMANDS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        _end(f"ingot {name}: no such command (there are: {', '.join(COMMANDS)}){hint}", 2)
    core.end_on_interrupt()
    sys.argv = [f"ingot {name}", *sys.argv[2:]]
    importlib.import_module(f"core.{name}").main()


def _check_distribution() -> None:
    """Stops where another distribution's `core` stands in the place of ours."""
    from importlib.metadata import PackageNotFoundError, version

    ours = getattr(core, "DISTRIBUTION", None)
    if ours != "ingot":
        raise MachineError(_intruder("core/__init__.py is not ours"))
    try:
        found = version(ours)
    except PackageNotFoundError:
        raise MachineError(
            f"the distribution {ours} is not installed, so its plugins cannot be found; run "
            "`pip install .` (or `pip install -e .`) in the source tree"
        ) from None
    if found != core.__version__:
        raise MachineError(
            _intruder(
                f"the package core at {os.path.dirname(core.__file__)} is version "
                f"{core.__version__}, but the installed distribution {ours} is version {found}"
            )
        )


def _intruder(found: str) -> str:
    from importlib.metadata import packages_distributions

    others = sorted(set(packages_distributions().get("core", ())) - {"ingot"})
    if others:
        names = ", ".join(others)
        return (
            f"{found}: the package `core` is also owned by {names}; "
            f"run `pip uninstall {' '.join(others)}` and reinstall ingot, or use another "
            "environment"
        )
    return f"{found}; reinstall ingot"


def _terminated(number, frame):
    raise Terminated(number)


def _open_streams() -> None:
    """Output goes nowhere where the caller closed it (`>&-`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _traceback(wanted: bool) -> None:
    if wanted:
        import traceback

        traceback.print_exc()


def _end(text: str, code: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would change the exit code
    with contextlib.suppress(OSError):  # a full disk has been told already
        sys.stdout.flush()
    print(text, file=sys.stderr)
    sys.exit(code)

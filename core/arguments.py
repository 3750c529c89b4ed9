"""The command line taken apart: flags anywhere, then overrides, each understood or refused."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from difflib import get_close_matches

from . import free_text
from .command import ConfigError

VALUED = {"--package", "-p", "--config-dir", "-cd", "--cfg", "-c", "--shell-completion", "-sc"}
CHOSEN = {
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
SHORT = {"-c": "--cfg", "-i": "--info", "-h": "--help", "-m": "--multirun", "-r": "--run"}
HYDRA, PATH = ("hydra.", "hydra/", "hydra="), "hydra.searchpath"
PLAIN = {"--help", "--hydra-help", "--version", "--resolve", "--run", "--multirun", "--info"}
MODES = ("--run", "--multirun", "--cfg", "--info", "--shell-completion", "-sc")
REFUSED = {
    "--config-path": "the configs are the package's own; add a folder with --config-dir",
    "--config-name": "each command has one config; choose presets, for example quant=fp8",
    "--experimental-rerun": "it would unpickle a file; repeat the command instead",
}


def split(arguments: Sequence[str], command: str) -> tuple[list[str], list[str]]:
    """(flags, overrides) of a command line, in Hydra's grammar.

    Raises:
        ConfigError: every flag that does not exist or lacks its value, at once.
    """
    flags, overrides, errors = [], [], []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("-") or argument == "-":
            overrides.append(free_text.quoted(argument, command))
            own = argument.lstrip("+~").startswith(HYDRA)
            if own and not argument.lstrip("+").startswith(PATH):
                errors.append(f"{argument}: of Hydra's own settings only {PATH} has a meaning here")
            continue
        flag, equals, value = argument.partition("=")
        flag = SHORT.get(flag, flag)
        if error := _unknown(flag, argument):
            errors.append(error)
            continue
        flags.append(flag)
        choices = CHOSEN.get(flag, ())
        if not equals and rest and _takes(flag, rest[0], choices):
            equals, value = "=", rest.pop(0)
        if equals:
            flags.append(value)
        if (flag in VALUED and not equals) or (equals and choices and value not in choices):
            wanted = f"one of {', '.join(choices)}" if choices else "a value"
            errors.append(f"{flag}{' ' + value if equals else ''}: it takes {wanted}")
        if equals and flag in PLAIN and flag not in CHOSEN:
            errors.append(f"{argument}: {flag} takes no value")
    if errors:
        raise ConfigError("\n".join(errors))
    return flags, overrides


def parse(flags: Sequence[str]) -> argparse.Namespace:
    """The flags as Hydra's own parser reads them.

    Raises:
        ConfigError: two of them exclude each other.
    """
    modes = [flag for flag in dict.fromkeys(flags) if flag in MODES]
    if len(modes) > 1:
        raise ConfigError(f"{' and '.join(modes)}: only one of them at a time")
    from hydra._internal.utils import get_args_parser

    return get_args_parser().parse_args(list(flags))


def _takes(flag: str, following: str, choices: Sequence[str]) -> bool:
    if flag in VALUED:
        return not following.startswith("-")
    return flag == "--info" and following in choices


def _unknown(flag: str, argument: str) -> str | None:
    if flag in PLAIN or flag in VALUED:
        return None
    if flag in REFUSED:
        return f"{flag}: {REFUSED[flag]}"
    key, _, value = argument.lstrip("-").partition("=")
    near = get_close_matches(flag, sorted(PLAIN | VALUED), 1, 0.75)
    hint = f"did you mean {near[0]}?" if near else f"values are given as {key}={value or '…'}"
    return f"{argument}: no such flag; {hint}"

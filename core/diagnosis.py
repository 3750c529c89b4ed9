"""Everything that is wrong with a list of overrides, at once, where Hydra stops at the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.resources import files

import yaml
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from . import search_path


def sentences(name: str, overrides: Sequence[str], check: Callable | None) -> list[str]:
    """What is wrong, a sentence each: Hydra is asked about every override by itself, the choices
    of presets first, and `check` about the config that the good ones compose."""
    from .composition import activated, unknown_keys

    groups, values, errors, good = [], [], [], []
    for text in overrides:
        try:
            [override] = OverridesParser.create().parse_overrides([text])
        except HydraException as error:
            errors.append(_grammar(text, error))
            continue
        if not override.key_or_group:
            errors.append(_grammar(text, error=None))
            continue
        (groups if _is_group(override) else values).append((text, override))
    for text, override in groups + values:
        try:
            compose(name, [*good, text], return_hydra_config=True)
            good.append(text)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            errors.append(_refused(name, good, text, override, error))
    told = {override.key_or_group for text, override in groups if text not in good}
    cfg = compose(name, good, return_hydra_config=True)
    errors += unknown_keys(name, cfg)
    more = check(activated(cfg)) if check else []
    errors += [text for text in more if text.split()[0] not in told]
    return list(dict.fromkeys(errors))


@cache
def keys(name: str) -> tuple[str, ...]:
    """The keys and groups that the config of the command `name` lists."""
    text = files(search_path.module(name)).joinpath(f"{name}.yaml").read_text("utf-8")
    document = yaml.safe_load(text)
    found = []
    for entry in document.pop("defaults", ()):
        if isinstance(entry, str) and entry != "_self_":  # another command's config, taken over
            found += keys(entry)
        if isinstance(entry, dict):
            found += [key for key in entry if not key.startswith("override ")]
    return tuple(found + [key for key in document if key != "hydra"])


def unknown(path: str, word: str, known: Iterable[str]) -> str:
    """`word`, the last part of `path`, is not among `known`."""
    known = list(known)
    return f"{path}: no such key (there are: {', '.join(known)}){nearest(word, known)}"


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean …?` where something is near."""
    near = get_close_matches(word, list(known), 1, 0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _is_group(override) -> bool:
    loader = GlobalHydra.instance().config_loader()
    return (
        bool(loader.get_group_options(override.key_or_group))
        or loader.list_groups(override.key_or_group) != []
    )


def _refused(name, good, text, override, error) -> str:
    """What is wrong with one override that Hydra refused after the good ones."""
    key = override.key_or_group
    if override.is_sweep_override():
        return f"{text}: several values; add -m to run each of them"
    if _is_group(override):
        loader = GlobalHydra.instance().config_loader()
        options = sorted(loader.get_group_options(key))
        wanted = override.value()
        if wanted is None:
            return f"{key}=null: a preset has a name (there are: {', '.join(options)})"
        if isinstance(wanted, str) and wanted not in options:
            return (
                f"{key}={wanted}: there is no such preset (there are: {', '.join(options)})"
                f"{nearest(wanted, options)}"
            )
        return f"{text}: {_first(error)}"
    cfg = compose(name, good)
    *parents, last = key.split(".")
    node = cfg
    for depth, part in enumerate(parents):
        if not OmegaConf.is_dict(node) or part not in node:
            return unknown(".".join(parents[: depth + 1]), part, _children(node, depth, name))
        node = node[part]
    known = _children(node, len(parents), name)
    if known is not None and last not in known:
        return unknown(key, last, known)
    return f"{text}: {_first(error)}"


def _children(node, depth: int, name: str) -> list[str]:
    if depth == 0:
        return list(keys(name))
    return [str(key) for key in node] if OmegaConf.is_dict(node) else []


def _grammar(text: str, error: Exception | None) -> str:
    if not text.partition("=")[0] or ("=" not in text and not text.startswith("~")):
        return f"{text}: values are given as key=value, for example quant=fp8"
    return f"{text}: {_first(error)}; a value with special characters stands in quotes: key=\\'…\\'"


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0]

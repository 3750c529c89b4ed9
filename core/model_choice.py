"""model=auto: the preset whose `matches` say what config.json says, before anything is composed.

A preset of a model may hold `matches`, keys of config.json (with dots: keys in its tables) and the
values they must have; presets of installed packages count like the built-in ones.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from . import hub, search_path
from .checkpoint import read_json
from .command import ConfigError

AUTO = "auto"
SUREST = "llama2"  # what is tried where nothing is near: it says what it lacks


def decided(overrides: Sequence[str], more: Path | None = None) -> list[str]:
    """`overrides` with model=<preset> where they leave it to the checkpoint.

    `more` is a folder of configs beside the installed ones.

    Raises:
        ConfigError: model=auto is asked for without a checkpoint that could decide.
        PlanError: the checkpoint has no config.json that can be read.
    """
    said = _value(overrides, "model")
    checkpoint = _value(overrides, "checkpoint")
    kept = [text for text in overrides if text != f"model={AUTO}"]
    if said not in (None, AUTO):
        return list(overrides)
    if not isinstance(checkpoint, str) or checkpoint == "random":
        if said == AUTO:
            raise ConfigError(
                "model=auto: config.json of the checkpoint decides; give checkpoint=<folder>, or "
                "name a preset, for example model=llama2"
            )
        return list(overrides)
    config = _config(checkpoint)
    preset, why = chosen(config, presets(more))
    print(f"model={preset}: {why}", file=sys.stderr)
    return [f"model={preset}", *kept]


def chosen(config: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """(preset, why): the one that matches in most keys, the first by name of equals.

    Where none matches it is the nearest, which refuses the checkpoint and says what it lacks.
    """
    fitting = {name: len(m) for name, m in found.items() if m and _matches(config, m)}
    if fitting:
        name = min(fitting, key=lambda name: (-fitting[name], name))
        said = ", ".join(f"{key} {_looked_up(config, key)}" for key in found[name])
        return name, f"config.json says {said}"
    kind = str(config.get("model_type"))
    kinds = {word: name for name, m in found.items() for word in _words(m.get("model_type"))}
    near = get_close_matches(kind, list(kinds), 1, 0.6)
    name = kinds[near[0]] if near else SUREST
    return name, f"no preset covers model_type {kind}; this is the nearest"


def presets(more: Path | None = None) -> dict[str, Mapping[str, Any]]:
    """`matches` of every preset of a model by its name; the first on the search path counts."""
    found: dict[str, Mapping[str, Any]] = {}
    for folder in _folders(more):
        for path in sorted((folder / "model").glob("*.yaml")):
            try:
                document = yaml.safe_load(path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, yaml.YAMLError):
                continue  # composing it says what is wrong
            matches = document.get("matches") if isinstance(document, dict) else None
            found.setdefault(path.stem, matches if isinstance(matches, dict) else {})
    return found


def _folders(more: Path | None) -> Iterator[Path]:
    yield Path(str(files("conf")))
    if more is not None:
        yield more
    for _, folder in search_path.folders():
        yield folder


def _value(overrides: Sequence[str], key: str) -> Any:
    """What the last override of `key` says; None: there is none, or it is null."""
    value = None
    for text in overrides:
        if text.partition("=")[0] != key:
            continue
        try:
            [override] = OverridesParser.create().parse_overrides([text])
        except HydraException:
            return None  # composing says what is wrong
        value = override.value()
    return value


def _config(checkpoint: str) -> dict[str, Any]:
    folder = Path(os.path.expanduser(checkpoint))
    if not folder.exists() and hub.is_name(checkpoint):
        folder = hub.download(checkpoint)
    return read_json(folder / "config.json", "checkpoint= takes a folder in Hugging Face's layout")


def _matches(config: Mapping[str, Any], matches: Mapping[str, Any]) -> bool:
    return all(_looked_up(config, key) in _words(value) for key, value in matches.items())


def _words(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _looked_up(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value

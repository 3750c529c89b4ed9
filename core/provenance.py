"""Where every value of the composed config comes from: a file and line, or the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

MERGE = "tag:yaml.org,2002:merge"


def sources(name: str, overrides: Sequence[str]) -> dict[str, str]:
    """{path of a value: where it is from}, for the config `name` composed with `overrides`."""
    loader = GlobalHydra.instance().config_loader()
    defaults = loader.compute_defaults_list(name, list(overrides), RunMode.RUN)
    found: dict[str, str] = {}
    for default in defaults.defaults:
        path = default.config_path
        if path is None or path.startswith(("hydra/", "_dummy_empty_config_")):
            continue
        loaded = loader.repository.load_config(path)
        place, text = _read(loaded.path, path)
        package = tuple(p for p in (default.package or "").split(".") if p not in ("", "_global_"))
        for keys, line in _leaves(yaml.compose(text)) if text.strip() else ():
            if keys and keys[0] not in ("defaults", "hydra"):
                dotted = ".".join(package + keys)
                _forget(found, dotted)
                found[dotted] = f"{place}:{line}"
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.key_or_group
        if key.startswith("hydra.") or loader.get_group_options(key):
            continue
        _forget(found, key)
        if not override.is_delete():
            found[key] = f"command line: {override.input_line}"
    return found


def complete(found: Mapping[str, str], config: Mapping) -> dict[str, str]:
    """`found` for exactly the values of the resolved `config`, defaults of fields included."""
    full = {}
    for path in _paths(config):
        parts = path.split(".")
        above = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
        below = sorted(key for key in found if key.startswith(path + "."))
        near = next((found[key] for key in above if key in found), None)
        full[path] = near or (found[below[0]] if below else "the plugin's default")
    return full


def _paths(config: Mapping, prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _paths(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _forget(found: dict[str, str], path: str) -> None:
    for key in [key for key in found if key == path or key.startswith(path + ".")]:
        del found[key]


def _leaves(node: yaml.Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    """(path, line) of every scalar, list and empty mapping of a YAML document.

    What a mapping takes over with `<<` comes before its own keys, which replace it.
    """
    if not isinstance(node, yaml.MappingNode) or not node.value:
        yield path, node.start_mark.line + 1
        return
    merged = [value for key, value in node.value if key.tag == MERGE]
    for value in merged:
        for other in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            yield from _leaves(other, path)
    for key, value in node.value:
        if key.tag != MERGE:
            yield from _leaves(value, (*path, str(key.value)))


def _read(where: str, path: str) -> tuple[str, str]:
    """(a name for the file, its text); ours is named as it lies in the package."""
    file = path if path.endswith(".yaml") else f"{path}.yaml"
    scheme, _, rest = where.partition("://")
    if scheme == "file":
        folder = Path(rest)
        full = folder if rest.endswith(".yaml") else folder / file
        package = folder.parents[len(Path(file).parts)] if rest.endswith(".yaml") else folder.parent
        return f"{package.name}/conf/{file}" if full.is_file() else file, full.read_text("utf-8")
    package = rest.partition("/")[0].split(".")[0]
    return f"{package}/{file}", files(package).joinpath(file).read_text("utf-8")

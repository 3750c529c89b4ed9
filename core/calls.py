"""The hooks, called on one plugin after the other, and what each returned judged.

A plugin that returns the wrong type or fails is named in a sentence; the failure stays attached
for HYDRA_FULL_ERROR=1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .command import PlanError, UserError
from .resolution import PREFERRED, Plan, Plugins

FIRST = (
    "defaults",
    "graph",
    "lower",
)  # hooks of one plugin, whose answer pluggy gives without a list


class PluginError(UserError):
    """A plugin failed, or answered a hook with something it must not."""


def defaults(plugins: Plugins, config: Mapping[str, Any]) -> dict[str, int]:
    """What the engine takes where the config says null."""
    found: dict[str, int] = {}
    for name, said in _each(plugins, "defaults", "engine", config=config):
        if not isinstance(said, Mapping) or not said.keys() <= set(PREFERRED):
            raise _wrong(name, "defaults", said, f"a mapping of {', '.join(PREFERRED)}")
        if wrong := [v for v in said.values() if type(v) is not int or v < 1]:
            raise _wrong(name, "defaults", wrong[0], "positive integers")
        found |= said
    return found


def op_libraries(plugins: Plugins) -> list[str]:
    """Paths of the shared libraries that hold the plugins' own ops."""
    found = []
    for name, path in _each(plugins, "op_library"):
        if path is None:
            continue
        if not isinstance(path, str | Path):
            raise _wrong(name, "op_library", path, "a path or None")
        if not Path(path).is_file():
            raise PluginError(
                f"{name}: op_library returned {path}, which is not a file; reinstall it"
            )
        found.append(str(path))
    return found


def conflicts(plugins: Plugins, plan: Plan) -> None:
    """Raises a PlanError with everything that cannot go together."""
    sentences = []
    for name, said in _each(plugins, "conflicts", plan=plan):
        if said is None:
            continue
        if isinstance(said, str) or not isinstance(said, Sequence):
            raise _wrong(name, "conflicts", said, "a list of sentences")
        if wrong := [text for text in said if not isinstance(text, str)]:
            raise _wrong(name, "conflicts", wrong[0], "a list of sentences")
        sentences += [f"{name}: {text}" for text in said]
    if sentences:
        raise PlanError("\n".join(sentences))


def graph(plugins: Plugins, plan: Plan, checkpoint) -> Any:
    """The textbook graph, from the one plugin that writes it."""
    import onnx_ir as ir

    [(name, model)] = _each(plugins, "graph", plan=plan, checkpoint=checkpoint)
    if not isinstance(model, ir.Model):
        raise _wrong(name, "graph", model, "an onnx_ir.Model")
    return model


def passes(plugins: Plugins, kinds: Sequence[str], plan: Plan, rank: int) -> list[tuple[str, Any]]:
    """(plugin, rewrite) of every plugin of `kinds`, in that order."""
    found = []
    for kind in kinds:
        for name, items in _each(plugins, "passes", kind, plan=plan, rank=rank):
            if not isinstance(items, list | tuple):
                raise _wrong(name, "passes", items, "a list of passes or rules")
            found += [(name, item) for item in items]
    return found


def lower(plugins: Plugins, plan: Plan, rank: int, model, out: Path) -> None:
    """The files of one rank are under `out`."""
    out.mkdir(parents=True)
    for name, answer in _each(plugins, "lower", plan=plan, rank=rank, model=model, out=out):
        if answer is not None:
            raise _wrong(name, "lower", answer, "nothing; it writes files under `out`")
        if not any(out.iterdir()):
            raise PluginError(f"{name}: lower wrote no file under {out.name}")


def _each(plugins: Plugins, hook: str, kind: str | None = None, **arguments) -> Iterator:
    """(plugin's name, what its `hook` returned) for every plugin that has it, in order."""
    manager = plugins.manager
    everybody = {f"{entry['kind']}.{entry['name']}": entry for entry in plugins.list}
    for name, entry in everybody.items():
        if kind not in (None, entry["kind"]):
            continue
        having = [impl.plugin_name for impl in getattr(manager.hook, hook).get_hookimpls()]
        if name not in having:
            continue
        others = [manager.get_plugin(other) for other in everybody if other != name]
        caller = manager.subset_hook_caller(hook, [other for other in others if other])
        try:
            answer = caller(**arguments)
        except UserError:
            raise
        except (MemoryError, OSError):
            raise
        except Exception as error:
            raise PluginError(
                f"{name} ({entry['package']} {entry['version']}): {hook} failed: "
                f"{type(error).__name__}: {error}; HYDRA_FULL_ERROR=1 shows where"
            ) from error
        yield name, answer if hook in FIRST else (answer or [None])[0]


def _wrong(name: str, hook: str, answer, wanted: str) -> PluginError:
    return PluginError(f"{name}: {hook} returned {type(answer).__name__}; it must return {wanted}")

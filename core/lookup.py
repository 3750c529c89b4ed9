"""From a name in the config to the class of the plugin, judged before it is made.

Only plugins that the config names are imported. pluggy is silent about a method that is named like
a hook but not marked, about a class without hooks and about two graphs; nothing here is.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib.metadata import EntryPoint, entry_points

from . import hookspecs
from .diagnosis import nearest
from .hookspecs import API, GROUP, HOOKS

MARK = f"{GROUP}_impl"  # the attribute that hookimpl sets


class LookupFailure(Exception):
    """Sentences, one a line, on why a name cannot be a plugin."""


def load(kind: str, name: str) -> tuple[type, EntryPoint]:
    """The class that the entry point `kind.name` points at, and the entry point.

    Raises:
        LookupFailure: none or several have the name, it cannot be imported, or is no plugin.
    """
    entry = find(kind, name)
    try:
        cls = entry.load()
    except (Exception, SystemExit) as error:
        raise LookupFailure(
            f"{kind}.name={name}: {entry.value} of {package(entry)} cannot be imported: "
            f"{type(error).__name__}: {error}; repair or uninstall {package(entry)}"
        ) from error
    if faults := list(judge(cls)):
        where = f"{kind}.name={name}: {entry.value} of {package(entry)}"
        raise LookupFailure("\n".join(f"{where}: {fault}" for fault in faults))
    return cls, entry


def find(kind: str, name: str) -> EntryPoint:
    """The one entry point `kind.name`."""
    found = {
        (entry.value, package(entry)): entry
        for entry in entry_points(group=GROUP, name=f"{kind}.{name}")
    }
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        offers = " and ".join(f"{value} of {owner}" for value, owner in sorted(found))
        raise LookupFailure(
            f"{kind}.name={name}: offered twice, by {offers}; uninstall one of the packages"
        )
    have = installed(kind)
    listing = f"installed: {', '.join(have)}" if have else f"no plugin of kind {kind} is installed"
    raise LookupFailure(
        f"{kind}.name={name}: no installed plugin has this name ({listing}){nearest(name, have)}"
    )


def installed(kind: str) -> list[str]:
    """The names of all installed plugins of a kind."""
    start = f"{kind}."
    entries = [e.name for e in entry_points(group=GROUP) if e.name.startswith(start)]
    names = {name.removeprefix(start) for name in entries}
    return sorted(names)


def package(entry: EntryPoint) -> str:
    """Name and version of the distribution that declares `entry`."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"


def judge(cls) -> Iterator[str]:
    """Why `cls` is no plugin."""
    if not inspect.isclass(cls):
        yield f"it is a {type(cls).__name__}, not a class"
        return
    if not is_dataclass(cls) or not cls.__dataclass_params__.frozen:
        yield f"{cls.__name__} is not under @core.plugin"
        return
    api = getattr(cls, "api", None)
    if api != API:
        older = isinstance(api, int) and api < API
        yield (
            f"{cls.__name__} was written for version {api} of the hooks, this is version {API}; "
            f"{'update the plugin' if older else 'update ingot'}"
        )
        return
    yield from _judge_hooks(cls)


def _judge_hooks(cls) -> Iterator[str]:
    marked = [name for name in dir(cls) if hasattr(inspect.getattr_static(cls, name), MARK)]
    for name in HOOKS:
        method = inspect.getattr_static(cls, name, None)
        if inspect.isfunction(method) and name not in marked:
            yield f"{cls.__name__}.{name} is named like a hook but not marked; put @hookimpl on it"
    for name in marked:
        if name not in HOOKS:
            yield (
                f"{cls.__name__}.{name}: there is no such hook (there are: {', '.join(HOOKS)})"
                f"{nearest(name, HOOKS)}"
            )
            continue
        known = list(inspect.signature(getattr(hookspecs, name)).parameters)
        asked = list(inspect.signature(inspect.getattr_static(cls, name)).parameters)[1:]
        if extra := [argument for argument in asked if argument not in known]:
            yield (
                f"{cls.__name__}.{name} takes {', '.join(extra)}, which the hook does not give "
                f"(it gives: {', '.join(known) or 'nothing'})"
            )
    if not marked and not any(inspect.isfunction(vars(cls).get(name)) for name in HOOKS):
        yield f"{cls.__name__} has no hooks; mark its methods with @hookimpl ({', '.join(HOOKS)})"


def hooks(cls) -> list[str]:
    """The hooks that a judged class implements."""
    return [n for n in HOOKS if hasattr(inspect.getattr_static(cls, n, None), MARK)]

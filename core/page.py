"""Parts of the pages that commands print: config with its origins, passes, sizes for people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

REFUSALS_SHOWN = 12  # of one pass, so that a page stays a page


def config(config: Mapping[str, Any], origin: Mapping[str, str], plugins: Sequence) -> str:
    """Every value with where it comes from, and the plugins that were chosen."""
    rows = [
        (key, text(value), origin.get(key, "default"))
        for key, value in leaves(config)
        if not key.startswith("model.sizes.")  # what else there would be to choose
    ]
    wide = max(len(key) for key, _, _ in rows)
    value_wide = min(40, max(len(value) for _, value, _ in rows))
    body = [f"  {key:{wide}}  {value:{value_wide}}  {where}" for key, value, where in rows]
    listed = [
        f"  {p['kind']}.{p['name']}: {p['class']} of {p['package']} {p['version']}" for p in plugins
    ]
    return "\n".join(["config, and where each value comes from", *body, "plugins", *listed])


def passes(entries: Sequence[Mapping[str, Any]]) -> str:
    """What every pass rewrote, refused and left, with the reasons of refusals.

    An entry is one of the manifest's `passes`; its `unlike` is a number, or (node, where) of each.
    """
    lines = ["passes, in order"]
    ranks = {entry["rank"] for entry in entries if entry.get("rank") is not None}
    for entry in entries:
        kind = "required" if entry["required"] else "where possible"
        told = entry.get("unlike") or ()
        count = told if isinstance(told, int) else len(told)
        unlike = f", {count} unlike its pattern" if count else ""
        if len(ranks) > 1 and entry["rank"] is not None:
            kind += f", rank {entry['rank']}"
        lines.append(
            f"  {entry['plugin']} {entry['pass']} ({kind}): {len(entry['rewritten'])} rewritten, "
            f"{len(entry['refused'])} refused{unlike}"
        )
        lines += _reasons("refused", entry["refused"])
        lines += _reasons("unlike", () if isinstance(told, int) else told)
    return "\n".join(lines)


def _reasons(what: str, nodes: Sequence[Sequence[str]]) -> list[str]:
    """Nodes with one reason, or with one that differs in the layer only, in one line."""
    reasons: dict[str, list[tuple[str, str]]] = {}
    for node, why in nodes:
        reasons.setdefault(re.sub(r"\.\d+\.", ".#.", why), []).append((node, why))
    shown = list(reasons.values())[:REFUSALS_SHOWN]
    lines = [f"    {what} {grouped([n for n, _ in pairs])}: {pairs[0][1]}" for pairs in shown]
    if len(reasons) > len(shown):
        lines.append(f"    and {len(reasons) - len(shown)} more reasons")
    return lines


def weights(ranks: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The dtype, shape, bytes and recipe of every tensor, alike ones of all layers in one line."""
    lines = ["weights: precision, shape, bytes, where from"]
    for rank, tensors in sorted(ranks.items()):
        alike: dict[tuple, list[str]] = {}
        for name, tensor in tensors.items():
            recipe = re.sub(r"\d+", "#", tensor["recipe"])
            key = (re.sub(r"\d+", "#", name), tensor["dtype"], tuple(tensor["shape"]), recipe)
            alike.setdefault(key, []).append(name)
        for (_, dtype, shape, _), names in alike.items():
            total = size(sum(tensors[name]["bytes"] for name in names))
            recipe = tensors[names[0]]["recipe"]
            lines.append(f"  {rank} {grouped(names)}  {dtype} {list(shape)}  {total}  {recipe}")
    if note := made_weights(ranks):
        lines.append(f"  {note}")
    return "\n".join(lines)


def made_weights(ranks: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """That weights are made, not read, and how many; "" if none is."""
    made = [tensor for tensors in ranks.values() for tensor in tensors.values() if "made" in tensor]
    total = size(sum(tensor["bytes"] for tensor in made))
    said = f"{len(made)} weights are random and made when the engine is opened: {total} not on disk"
    return said if made else ""


def table(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Lines of names and values, the values under one another."""
    wide = max((len(name) for name, _ in rows), default=0)
    return [f"  {name:{wide}}  {value}" for name, value in rows]


def grouped(names: Sequence[str]) -> str:
    """`layers.0.x, layers.1.x` as `layers.0…1.x (2)`; others as a short list."""
    if len(names) == 1:
        return names[0]
    numbers = [re.findall(r"\d+", name) for name in names]
    skeletons = {re.sub(r"\d+", "#", name) for name in names}
    if len(skeletons) == 1 and numbers[0]:
        first, last = numbers[0][0], numbers[-1][0]
        return re.sub(r"\d+", f"{first}…{last}", names[0], count=1) + f" ({len(names)})"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def leaves(node, path=()) -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything in nested mappings."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from leaves(value, (*path, str(key)))
    else:
        yield ".".join(path), node


def text(value) -> str:
    """A value of the config, shortened."""
    shown = "null" if value is None else str(value)
    return shown if len(shown) <= 40 else shown[:39] + "…"


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"

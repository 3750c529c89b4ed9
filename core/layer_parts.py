"""Which layer of a model, and which part of it, a name belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

LAYER = re.compile(r"layers\.(\d+)\.(.*)")
PARTS = ("attention", "feed forward", "norms", "other")


def layer_of(name: str) -> int | None:
    """The number in `layers.3.attention.q_FD`; None for what is in no layer."""
    match = LAYER.match(name)
    return int(match[1]) if match else None


def part_of(name: str) -> str:
    """One of PARTS, by the name behind `layers.N.`."""
    match = LAYER.match(name)
    rest = match[2] if match else name
    first = rest.partition(".")[0]
    if "norm" in first:
        return "norms"
    if first.startswith("attention"):
        return "attention"
    if first.startswith(("ffn", "experts", "expert", "shared", "router")):
        return "feed forward"
    return "other"


def stacked(
    values: Iterable[tuple[str, str, float]], parts: Iterable[str]
) -> tuple[list[str], dict[str, list[float]]]:
    """(labels of layers, {part: a value for each layer}) of (name, part, value).

    What is in no layer stands last, under "rest"; parts of which there is nothing are left out.
    """
    sums: dict[tuple[int | None, str], float] = {}
    for name, part, value in values:
        key = (layer_of(name), part)
        sums[key] = sums.get(key, 0.0) + value
    layers: list[int | None] = sorted({layer for layer, _ in sums if layer is not None})
    if any(layer is None for layer, _ in sums):
        layers.append(None)
    rows: Mapping[str, list[float]] = {
        part: [sums.get((layer, part), 0.0) for layer in layers] for part in parts
    }
    labels = ["rest" if layer is None else str(layer) for layer in layers]
    return labels, {part: row for part, row in rows.items() if any(row)}

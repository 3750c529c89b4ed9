"""Names of the checkpoint's tensors in sentences: those that differ in one number as one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase


def extra(names: Iterable[str], ignored: Iterable[str]) -> list[str]:
    """`names` but those that a pattern matches."""
    ignored = list(ignored)
    return [name for name in names if not any(fnmatchcase(name, pattern) for pattern in ignored)]


def listing(names: Iterable[str]) -> Iterator[str]:
    """model.layers.0.mlp.up.weight, …1…, …2… -> model.layers.{0-2}.mlp.up.weight."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for name in sorted(set(names)):
        parts = re.split(r"(?<=\.)(\d+)(?=\.)", name, maxsplit=1)
        if len(parts) == 3:
            groups.setdefault((parts[0], parts[2]), []).append(int(parts[1]))
        else:
            groups.setdefault((name,), [])
    for ends, numbers in groups.items():
        yield f"{ends[0]}{_span(sorted(numbers))}{ends[1]}" if numbers else ends[0]


def _span(numbers: list[int]) -> str:
    """0, 1, 2, 5 -> {0-2,5}."""
    if len(numbers) == 1:
        return str(numbers[0])
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return "{" + ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs) + "}"

"""How many pages of each cache group some bytes give, as kernels/runtime/cache.cc divides them.

A sequence of L tokens holds ceil(L / page) pages of a group; with a window, those that the window
touches, and a chunk of its prompt on top. Page 0 of every group belongs to nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST_CELLS = 2**31 - 1  # a cell's number is an int32 on its way to the kernels


def wanted(group: Mapping[str, Any], limits: Mapping[str, int]) -> int:
    """Pages that `max_sequences` sequences of `max_length` tokens hold at once."""
    whole = _columns(group, limits["max_length"])
    sequences = limits["max_sequences"]
    if not group["window"]:
        return sequences * whole + 1
    seen = min(whole, _columns(group, group["window"] - 1) + 2)
    return sequences * seen + min(sequences * whole, _columns(group, limits["max_tokens"])) + 1


def wanted_bytes(groups: Sequence[Mapping[str, Any]], limits: Mapping[str, int]) -> int:
    """The bytes of all those pages on one rank."""
    return sum(wanted(group, limits) * group["bytes_per_page"] for group in groups)


def pages(
    groups: Sequence[Mapping[str, Any]], limits: Mapping[str, int], cache_bytes: int
) -> list[int]:
    """Pages of each group on a rank that has `cache_bytes` for them: all get the same share."""
    total = wanted_bytes(groups, limits)
    part = cache_bytes / total if total else 0.0
    return [
        int(min(wanted(group, limits) * part + 1e-6, MOST_CELLS // group["page_tokens"]))
        for group in groups
    ]


def tokens(groups: Sequence[Mapping[str, Any]], counts: Sequence[int]) -> int:
    """Tokens that the group with the fewest cells keeps; groups with windows only if all have."""
    whole = [
        (group, count)
        for group, count in zip(groups, counts, strict=True)
        if not group["window"] or all(other["window"] for other in groups)
    ]
    return min((max(0, count - 1) * group["page_tokens"] for group, count in whole), default=0)


def _columns(group: Mapping[str, Any], count: int) -> int:
    return -(-count // group["page_tokens"])

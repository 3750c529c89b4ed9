"""Which part of something each rank has, and numbers of ranks that fit.

H query heads, G key/value heads, R ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.command import PlanError

SUGGESTED = 6  # numbers of ranks in a sentence


@dataclass(frozen=True)
class Share:
    """Units from `first` up to `last` of `units`. An axis of units · n entries is cut likewise."""

    units: int
    first: int
    last: int

    def cut(self, size: int, what: str) -> tuple[int, int]:
        """The entries of an axis of `size` that are this share."""
        if size % self.units:
            raise PlanError(f"{what}: {size} do not divide into {self.units} equal parts")
        each = size // self.units
        return self.first * each, self.last * each

    def size(self, size: int, what: str) -> int:
        start, stop = self.cut(size, what)
        return stop - start


@dataclass(frozen=True)
class Part:
    """A value of which a rank has its share of one axis."""

    axis: int
    share: Share


def even(size: int, rank: int, ranks: int, what: str) -> Share:
    """An equal part of `size` things.

    Raises:
        PlanError: they do not divide.
    """
    _check({what: size}, ranks)
    return Share(ranks, rank, rank + 1)


def of_heads(heads: int, groups: int, rank: int, ranks: int) -> tuple[Share, Share]:
    """The query heads of a rank, and the key/value heads that those read.

    With fewer key/value heads than ranks, R / G ranks have the same one.
    """
    _check({"heads": heads, "groups": groups}, ranks)
    each = heads // ranks
    queries = Share(heads, rank * each, (rank + 1) * each)
    if groups >= ranks:
        each = groups // ranks
        return queries, Share(groups, rank * each, (rank + 1) * each)
    own = rank * groups // ranks
    return queries, Share(groups, own, own + 1)


def unfit(sizes: Mapping[str, int], ranks: int) -> list[str]:
    """Those of `sizes` that cannot be shared out among so many ranks: "heads=4 do", …"""
    wrong = [f"{what}={size}" for what, size in sizes.items() if not _fits(what, size, ranks)]
    return [*wrong[:-1], f"{wrong[-1]} do"] if wrong else []


def fitting(sizes: Mapping[str, int]) -> str:
    """Numbers of ranks among which all of `sizes` can be shared out, as words."""
    most = min(size for what, size in sizes.items() if what != "groups")
    fits = [r for r in range(1, most + 1) if not unfit(sizes, r)][:SUGGESTED]
    *others, last = map(str, fits)
    return f"{', '.join(others)} or {last}" if others else last


def _fits(what: str, size: int, ranks: int) -> bool:
    return size % ranks == 0 or (what == "groups" and size < ranks and ranks % size == 0)


def _check(sizes: Mapping[str, int], ranks: int) -> None:
    if wrong := unfit(sizes, ranks):
        raise PlanError(
            f"{' and '.join(wrong)} not divide by {ranks} ranks; use parallel.ranks="
            f"{fitting(sizes)}"
        )

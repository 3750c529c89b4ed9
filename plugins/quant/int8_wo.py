"""quant=int8_wo: weights of 8 bits, rounded to nearest; activations stay as they are."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from core import hookimpl, plugin

from .cache import Cache


@plugin
class Int8Wo:
    api: ClassVar[int] = 1
    group: int = 0  # weights along D that share a scale; 0: all of a row
    zero_point: bool = False  # a zero point for each group as well
    skip: list[str] = field(default_factory=lambda: ["head_VD"])  # see name_patterns.py
    cache: Cache = Cache.model  # what keys and values are kept in

    @hookimpl
    def passes(self, plan):
        from .groups import Codes
        from .weight_only import weight_only

        passes = weight_only(Codes(8, self.zero_point), self.group, tuple(self.skip))
        return [*passes, *self.cache.passes()]

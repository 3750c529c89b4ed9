"""quant=none: weights and activations stay as they are; keys and values too, unless `cache` says
otherwise."""

from __future__ import annotations

from typing import ClassVar

from core import hookimpl, plugin

from .cache import Cache


@plugin
class Unquantized:
    api: ClassVar[int] = 1
    cache: Cache = Cache.model  # what keys and values are kept in

    @hookimpl
    def passes(self, plan):
        return self.cache.passes()

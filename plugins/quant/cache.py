"""What keys and values are kept in, as every quant plugin's key `cache` says it."""

from __future__ import annotations

from enum import Enum


class Cache(Enum):
    model = "model"  # the type of the model's activations
    fp8 = "fp8"  # e4m3, at most 448

    def passes(self) -> list:
        """The rewrites that make it so."""
        if self is Cache.model:
            return []
        from .fp8_cache import Fp8Cache

        return [Fp8Cache()]

"""quant=fp8: e4m3 weights and activations with float32 scales.

Paulius Micikevicius et al., "FP8 Formats for Deep Learning", arXiv:2209.05433. A scale takes the
largest magnitude of what it belongs to onto 448, the largest finite e4m3 number.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import ClassVar

from core import hookimpl, optional, plugin
from core.command import ConfigError

from .cache import Cache


class Weights(Enum):
    channel = "channel"  # one scale a row
    tensor = "tensor"


class Activations(Enum):
    token = "token"  # one scale a token, found as it runs
    none = "none"


@plugin
class Fp8:
    api: ClassVar[int] = 1
    weights: Weights = Weights.channel
    activations: Activations = Activations.token
    skip: list[str] = field(default_factory=lambda: ["head_VD"])  # see name_patterns.py
    cache: Cache = Cache.model  # what keys and values are kept in

    def __post_init__(self):
        if not all(isinstance(pattern, str) for pattern in self.skip):
            raise ConfigError(f"quant.skip={self.skip}: write a list of names or patterns")

    @hookimpl
    def passes(self, plan):
        from .fp8_product import Fp8Product
        from .name_patterns import NamePatterns, PatternsMatch

        skip = NamePatterns("quant.skip", tuple(self.skip))
        per_token = self.activations is Activations.token
        rule = Fp8Product(skip, per_tensor=self.weights is Weights.tensor, per_token=per_token)
        return [optional(PatternsMatch(skip)), rule, *self.cache.passes()]

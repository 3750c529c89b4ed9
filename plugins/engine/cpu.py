"""engine=cpu: an interpreter of plan.txt on portable, AVX2 and AVX-512 kernels.

`passes` makes a few large ops of many small ones, each with a body in standard ONNX; `lower` writes
one rank's folder.
"""

from __future__ import annotations

from typing import ClassVar

from core import hookimpl, plugin


@plugin
class Cpu:
    api: ClassVar[int] = 1

    @hookimpl
    def defaults(self, config):
        return {"max_tokens": 512, "max_sequences": 32, "page": 16}

    @hookimpl
    def passes(self, plan, rank):
        from .interpreted.fusions import fusions

        return fusions()

    @hookimpl
    def lower(self, plan, rank, model, out):
        from .interpreted.lowering import lower

        lower(plan, model, out, "cpu")

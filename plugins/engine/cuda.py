"""engine=cuda: the interpreter of plan.txt with its tensors and kernels on one NVIDIA GPU.

Building needs no GPU: which ops have kernels there is known without the library that holds them.
"""

from __future__ import annotations

from typing import ClassVar

from core import hookimpl, plugin


@plugin
class Cuda:
    api: ClassVar[int] = 1

    @hookimpl
    def defaults(self, config):
        return {"max_tokens": 8192, "max_sequences": 256, "page": 64}

    @hookimpl
    def conflicts(self, plan):
        if plan.ranks == 1:
            return []
        return [
            f"engine=cuda runs on one GPU, but parallel.ranks={plan.ranks}: build with "
            "parallel=none, or with engine=cpu"
        ]

    @hookimpl
    def passes(self, plan, rank):
        from .interpreted.fusions import fusions

        return fusions()

    @hookimpl
    def lower(self, plan, rank, model, out):
        from .interpreted.lowering import lower

        lower(plan, model, out, "cuda")

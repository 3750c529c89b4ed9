"""engine=auto: cuda where this machine has a GPU for it and the graph has kernels there, else cpu.

The manifest names the engine, and says why it was taken.
"""

from __future__ import annotations

from typing import ClassVar

from core import hookimpl, plugin

from .cpu import Cpu
from .cuda import Cuda


@plugin
class Auto:
    api: ClassVar[int] = 1

    @hookimpl
    def defaults(self, config):
        ranks = config["parallel"].get("ranks", 1)
        return (Cpu() if _obstacle(ranks) else Cuda()).defaults(config)

    @hookimpl
    def passes(self, plan, rank):
        return (Cpu() if _obstacle(plan.ranks) else Cuda()).passes(plan, rank)

    @hookimpl
    def lower(self, plan, rank, model, out):
        from .interpreted.lowering import lower

        obstacle = _obstacle(plan.ranks) or _gap(model)
        lower(plan, model, out, "cpu" if obstacle else "cuda", obstacle or _found())


def _obstacle(ranks: int) -> str:
    """Why engine=cuda cannot be taken on this machine; "" if it can."""
    from core import native

    if not native.devices():
        return f"no GPU can be used: {native.no_devices()}"
    return f"parallel.ranks={ranks}, and engine=cuda runs on one GPU" if ranks > 1 else ""


def _gap(model) -> str:
    """The first thing in the graph that engine=cuda cannot take; "" if there is none."""
    from core import shapes

    from .interpreted import coverage

    shapes.infer(model)
    first = next(iter(coverage.lacks(model, "cuda")), "")
    return first and f"engine=cuda cannot run this graph: {first}"


def _found() -> str:
    from core import native

    return f"this machine has the GPU {native.devices()[0]['name']}"

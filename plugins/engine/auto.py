"""engine=auto: the best engine that this machine can run; the manifest names it."""

from __future__ import annotations

from typing import ClassVar

from core import hookimpl, plugin

from .cpu import Cpu


@plugin
class Auto:
    api: ClassVar[int] = 1

    @hookimpl
    def passes(self, plan, rank):
        return _chosen().passes(plan, rank)

    @hookimpl
    def lower(self, plan, rank, model, out):
        _chosen().lower(plan, rank, model, out)


def _chosen() -> Cpu:
    """The engine that builds."""
    return Cpu()

"""The moments at which a build asks its plugins something, in the order they happen.

    from core import hookimpl, plugin

    @plugin
    class Nf4:
        api: ClassVar[int] = 1
        block: int = 64

        @hookimpl
        def passes(self, plan): ...

The fields are the plugin's YAML keys; the marked methods are what it does. An implementation may
take fewer arguments than the hook below. The annotations here are strings, so that nothing heavy
is imported for them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

GROUP = "ingot"  # the entry-point group, and pluggy's project name
API = 1  # raised when a hook changes its meaning or loses an argument

# Config groups in the order their passes run. Quantization sees whole weights and plain attention;
# attention only swaps ingot::Attention and adds inputs and outputs; parallel slices weights with
# their scales; the engine comes last because fusing hides MatMul from everybody else.
KINDS = ("model", "quant", "attention", "parallel", "engine")
WHOLE = ("model", "quant", "attention", "feature")  # passes on the whole model, once
RANKED = ("parallel", "engine")  # passes on each rank's clone

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def op_library() -> Path | None:
    """Path of a shared library with more ops, which this plugin's passes emit. Called once."""


@hookspec(firstresult=True)
def defaults(config) -> Mapping[str, int]:
    """What an engine takes where the config says null: max_tokens, max_sequences, and page, the
    tokens in a page of a cache. Called once, before there is a plan; `config` is resolved.
    """


@hookspec
def conflicts(plan) -> Sequence[str]:
    """Sentences: what cannot go together, and the nearest thing that can.

    Called once, after the checkpoint's headers are read; `plan.config` is the resolved config and
    `plan.sizes` the checkpoint's config.json. No plugin objects are to be had here.
    """


@hookspec(firstresult=True)
def graph(plan, checkpoint) -> ir.Model:
    """The textbook graph: standard ONNX and functions of it, weights included. Called once."""


@hookspec
def passes(plan, rank) -> Sequence[ir.passes.PassBase]:
    """Rewrites, in order: onnx_ir passes, onnxscript rules, or lists of rules.

    Called once for the whole model (rank 0), and for `parallel` and `engine` once for each rank.
    A rewrite that changes nothing is an error unless it is wrapped in `core.optional`.
    """


@hookspec(firstresult=True)
def lower(plan, rank, model, out) -> None:
    """Writes what the runtime needs to run this rank into the folder `out`, for each rank."""


HOOKS = ("defaults", "op_library", "conflicts", "graph", "passes", "lower")


def plugin(cls):
    """A frozen, keyword-only dataclass without generated equality, fit to be a plugin.

    Raises:
        TypeError: the class does not say `api: ClassVar[int]`, the version of these hooks.
    """
    api = vars(cls).get("api")
    if isinstance(api, bool) or not isinstance(api, int):
        raise TypeError(
            f"plugin {cls.__name__} does not say which version of the hooks it was written for; "
            f"add `api: ClassVar[int] = {API}` to the class"
        )
    if "ClassVar" not in str(inspect.get_annotations(cls).get("api", "")):
        raise TypeError(
            f"plugin {cls.__name__}: `api` must be a class variable, not a key of its YAML; "
            f"write `api: ClassVar[int] = {api}`"
        )
    return dataclass(frozen=True, kw_only=True, eq=False)(cls)


@dataclass(frozen=True)
class Optional:
    """A rewrite that may find nothing to do; `show` says so when it does."""

    item: Any


def optional(item) -> Optional:
    """`item`, a pass or a rule, as one that need not change anything."""
    return item if isinstance(item, Optional) else Optional(item)

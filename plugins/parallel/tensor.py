"""parallel=tensor: every rank holds a part of every layer, and all work on the same tokens.

Mohammad Shoeybi et al., "Megatron-LM: Training Multi-Billion Parameter Language Models Using Model
Parallelism", arXiv:1909.08053, section 3. The columns of a product are shared out (q, k, v, gate,
up), then the rows of the one that follows (attention.out, ffn.down), whose partial sums meet in
ingot::AllReduce; rows of the embedding and the head are shared out too. A rank has whole heads; a
key/value head stands on several ranks where there are fewer heads than ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from core import hookimpl, plugin
from core.command import ConfigError

from .shares import fitting, unfit

MOST_RANKS = 1024
GROUP_KEYS = ("group", "group_size", "block", "block_size")  # of quant: weights a scale, along D


@plugin
class Tensor:
    api: ClassVar[int] = 1
    ranks: int = 2

    def __post_init__(self):
        if not 1 <= self.ranks <= MOST_RANKS:
            raise ConfigError(f"parallel.ranks={self.ranks}: it must be from 1 to {MOST_RANKS}")

    @hookimpl
    def conflicts(self, plan):
        return list(_conflicts(plan, self.ranks))

    @hookimpl
    def passes(self, plan, rank):
        from .tensor_pass import TensorParallel

        return [TensorParallel(rank, self.ranks)] if self.ranks > 1 else []


def _conflicts(plan, ranks: int) -> Iterator[str]:
    """What config.json already shows not to divide. The pass itself judges the graph's sizes."""
    from plugins.quant.name_patterns import NamePatterns

    sizes = _sizes(plan)
    if wrong := unfit(sizes, ranks):
        yield (
            f"{' and '.join(wrong)} not divide by {ranks} ranks; use parallel.ranks="
            f"{fitting(sizes)}"
        )
        return
    quant = plan.config.get("quant") or {}
    group = next((quant[key] for key in GROUP_KEYS if type(quant.get(key)) is int), 0)
    skip = NamePatterns("quant.skip", tuple(quant.get("skip") or ()))
    shared = {
        "layers.0.attention.out_DF": _width_of_heads(plan, sizes),
        "layers.0.ffn.down_DF": sizes.get("ffn", 0),
    }
    for name, width in shared.items():
        if group > 1 and width % (ranks * group) and not skip.chosen_by(name):
            yield (
                f"quant={quant.get('name')} has one scale for {group} weights, but the {width} "
                f"columns of {name} give {width / ranks:g} to each of {ranks} ranks, so groups "
                "would straddle ranks; use a group that divides that, or fewer ranks"
            )


def _sizes(plan) -> dict[str, int]:
    """The sizes that are shared out, as far as config.json says them under known names."""
    keys = (plan.config.get("model") or {}).get("keys") or {}
    names = {
        "heads": "num_attention_heads", "groups": "num_key_value_heads",
        "ffn": "intermediate_size", "vocab": "vocab_size",
    }  # fmt: skip
    found = {ours: plan.sizes.get(keys.get(name, name)) for ours, name in names.items()}
    found = {ours: size for ours, size in found.items() if type(size) is int and size > 0}
    if "heads" in found:
        found.setdefault("groups", found["heads"])
    return found


def _width_of_heads(plan, sizes) -> int:
    """Columns of attention.out."""
    size, width = plan.sizes.get("head_dim"), plan.sizes.get("hidden_size")
    if isinstance(size, int) and "heads" in sizes:
        return size * sizes["heads"]
    return width if isinstance(width, int) else 0

"""The least that a step must read and multiply, from the plan.txt of every rank of an engine.

Every weight of a product is read once a step, however many tokens there are; the keys and values
of a sequence are read once for every new token of it. A product of a weight of n elements takes 2 n
operations a token; attention takes 4 · heads · head size for every pair of a query and a key.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .command import PlanError

BITS = {
    "f32": 32, "i32": 32, "i64": 64, "f16": 16, "bf16": 16, "u8": 8, "i8": 8, "bool": 8,
    "f8e4m3": 8, "f8e5m2": 8, "u4": 4, "i4": 4,
}  # fmt: skip
PRODUCTS = ("MatMul", "Gemm", "Linear")  # how the names of ops that multiply by a weight end
CHOOSING = ("Gather", "Rotate")  # ops that read a few rows of a weight only


@dataclass(frozen=True)
class Group:
    """Layers that share a page table."""

    window: int  # tokens that are seen; 0: all
    token_bytes: float  # keys and values of one token, all layers and ranks
    pair_operations: int  # for one query and one key, all layers

    def seen(self, length: float) -> float:
        return min(length, self.window) if self.window else length


@dataclass(frozen=True)
class StepCost:
    """Of all ranks together."""

    weight_bytes: int  # a step
    token_operations: int  # a token, without attention
    row_operations: int  # a row of logits
    codes: str  # the type of what most products multiply their weights by
    groups: tuple[Group, ...]

    def decode_bytes(self, sequences: int, length: float) -> float:
        """A step of one token for each of `sequences` with `length` tokens in the cache."""
        cache = sum(group.token_bytes * group.seen(length) for group in self.groups)
        return self.weight_bytes + sequences * cache

    def decode_operations(self, sequences: int, length: float) -> float:
        pairs = sum(group.pair_operations * group.seen(length) for group in self.groups)
        return sequences * (self.token_operations + self.row_operations + pairs)

    def prefill_operations(self, tokens: int) -> float:
        """A prompt of `tokens`, of which the last wants logits."""
        pairs = 0.0
        for group in self.groups:
            full = tokens * (tokens + 1) / 2
            beyond = max(0, tokens - group.window) if group.window else 0
            pairs += group.pair_operations * (full - beyond * (beyond + 1) / 2)
        return tokens * self.token_operations + self.row_operations + pairs


def of(folder: Path, manifest: Mapping[str, Any]) -> StepCost:
    """The cost of the engine in `folder`.

    Raises:
        PlanError: it has no plan.txt that says what its steps do.
    """
    total = {"bytes": 0, "T": 0, "N": 0}
    codes: Counter[str] = Counter()
    states: dict[str, float] = {}
    for rank in range(manifest["ranks"]):
        path = Path(folder) / f"rank{rank}" / "plan.txt"
        try:
            lines = [line.split(" ") for line in path.read_text("utf-8").splitlines()]
            _add(lines, total, states, codes)
        except (OSError, ValueError, LookupError) as error:
            raise PlanError(f"{path} does not say what a step does: {error!r}") from error
    model = manifest["model"]
    groups = [
        Group(
            group["window"],
            sum(states[name] for name in group["tensors"]) / group["page_tokens"],
            4 * model["heads"] * model["head_size"] * (len(group["tensors"]) // 2),
        )
        for group in manifest["cache_groups"]
    ]
    [(most, _)] = codes.most_common(1) or [("", 0)]
    return StepCost(total["bytes"], 2 * total["T"], 2 * total["N"], most, tuple(groups))


def _add(
    lines: list[list[str]],
    total: dict[str, int],
    states: dict[str, float],
    codes: Counter[str],
) -> None:
    """Adds one rank's weights, the bytes of a page of each state, and elements by type of input."""
    weights, leading, types, read = {}, {}, {}, set()
    for words in lines:
        if words[0] == "weight":
            sizes = [int(size) for size in words[3].split(",") if size != "scalar"]
            weights[words[1]] = (math.prod(sizes), BITS[words[2]])
        elif words[0] == "value":
            leading[words[1]], types[words[1]] = words[3].split(",")[0], words[2]
        elif words[0] == "state":
            told = dict(word.split("=", 1) for word in words[2:])
            cells = math.prod(int(size) for size in told["dims"].split(",") if size != "P")
            states[words[1]] = states.get(words[1], 0) + cells * BITS[told["dtype"]] / 8
        elif words[0] == "op":
            name = words[2].partition("::")[2].partition("@")[0]
            told = dict(word.split("=", 1) for word in words[3:])
            mine = [weight for weight in told["in"].split(",") if weight in weights]
            if name in CHOOSING:
                continue
            read.update(mine)
            if mine and name.endswith(PRODUCTS):
                rows = leading.get(told["out"].split(",")[0], "T")
                elements = max(weights[weight][0] for weight in mine)
                total["N" if rows == "N" else "T"] += elements
                codes[types.get(told["in"].split(",")[0], "")] += elements
    total["bytes"] += sum(math.ceil(weights[name][0] * weights[name][1] / 8) for name in read)

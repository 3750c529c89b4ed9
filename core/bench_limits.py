"""The least that a workload can take on a machine of given rates."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from .step_cost import StepCost
from .workload import Workload


@dataclass(frozen=True)
class Step:
    """One step in which every sequence gets a token, in the middle of its answer."""

    bytes: float
    operations: float
    seconds: float
    limited_by: str  # reading | products


@dataclass(frozen=True)
class Best:
    """What an engine's steps cost, over the best that its machine does."""

    cost: StepCost
    read: float  # bytes a second
    product: float  # operations a second
    token_budget: int  # tokens of one step
    in_flight: int  # sequences at most

    def step(self, row: Workload) -> Step:
        count = min(row.requests, self.in_flight)
        length = row.prompt_tokens + row.output_tokens / 2
        read = self.cost.decode_bytes(count, length)
        operations = self.cost.decode_operations(count, length)
        read_s, product_s = read / self.read, operations / self.product
        by = "reading" if read_s >= product_s else "products"
        return Step(read, operations, max(read_s, product_s), by)

    def prefill_s(self, row: Workload, sequences: int) -> float:
        """Until the last of so many prompts has its first token."""
        steps = -(-sequences * row.prompt_tokens // self.token_budget)
        read = steps * self.cost.weight_bytes / self.read
        operations = sequences * self.cost.prefill_operations(row.prompt_tokens)
        return max(read, operations / self.product)

    def first_token_s(self, row: Workload) -> float:
        """The median over the requests."""
        return median(self.prefill_s(row, i + 1) for i in range(row.requests))

    def whole_s(self, row: Workload) -> float:
        """Until all have all their tokens: prompts, then steps, of those in flight together."""
        rounds = -(-row.requests // self.in_flight)
        steps = rounds * (row.output_tokens - 1)
        return self.prefill_s(row, row.requests) + steps * self.step(row).seconds

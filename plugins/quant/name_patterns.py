"""An ordered list of patterns over the names of weights; the last that matches decides.

`*`, `?` and `[abc]` match as in file names. A pattern that begins with `!` takes back what those
before it chose: ["layers.*", "!layers.*.ffn.*"] chooses every layer's weights but the feed
forward's.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

import onnx_ir as ir

from core.command import ConfigError, PlanError

SHOWN = 3  # nearest names in an error


@dataclass(frozen=True)
class NamePatterns:
    """Patterns, and the config key that holds them."""

    key: str
    patterns: tuple[str, ...]

    def chosen_by(self, name: str) -> str | None:
        """The pattern that chooses `name`, or None."""
        chosen = None
        for pattern in self.patterns:
            if fnmatchcase(name, pattern.removeprefix("!")):
                chosen = None if pattern.startswith("!") else pattern
        return chosen

    def strangers(self, names: list[str]) -> list[str]:
        """A sentence for each pattern that matches none of `names`."""
        sentences = []
        for pattern in self.patterns:
            bare = pattern.removeprefix("!")
            if not any(fnmatchcase(name, bare) for name in names):
                near = get_close_matches(bare, names, SHOWN, 0.0)
                sentences.append(
                    f"{self.key}: {pattern} matches no weight of a product "
                    f"(nearest of {len(names)}: {', '.join(near) or 'none'})"
                )
        return sentences


class PatternsMatch(ir.passes.InPlacePass):
    """Changes nothing: refuses patterns that match no product's weight, and graphs with experts."""

    def __init__(self, patterns: NamePatterns):
        self.patterns = patterns

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        experts = [node for node in model.graph if node.op_type.startswith("Experts")]
        if experts:
            raise PlanError(
                f"quantization was asked for, but {experts[0].outputs[0].name} and "
                f"{len(experts) - 1} more are {experts[0].op_type}, whose weights it does not "
                "reach; choose quant=none"
            )
        names = [weight.name for node in model.graph for weight in _weights(node)]
        if sentences := self.patterns.strangers(names):
            raise ConfigError("\n".join(sentences))
        return ir.passes.PassResult(model, modified=False)


def _weights(node: ir.Node) -> list[ir.Value]:
    """The weight of a product x · wᵀ, or nothing."""
    turn = node.inputs[1].producer() if node.op_type == "MatMul" else None
    weight = turn.inputs[0] if turn is not None and turn.op_type == "Transpose" else None
    return [weight] if weight is not None and weight.is_initializer() else []

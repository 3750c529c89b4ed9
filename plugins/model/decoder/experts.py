"""A mixture of experts in the place of a layer's feed forward.

T tokens, D width, F feed-forward width of an expert, E experts, C chosen.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from core import weights

from .attention import Place
from .config import Section
from .expression import ExpressionError
from .feed_forward import gated
from .writer import Writer

MOST_EXPERTS = 4096


def write_experts(w: Writer, d: Section, place: Place, x_TD: ir.Value) -> ir.Value:
    e, t, f = d.experts, d.tensors, d.feed_forward
    count = e.whole("count", most=MOST_EXPERTS)
    sizes = count, e.whole("size"), place.width
    index_TC, weight_TC = _choose(w, e, t, place, x_TD, count)
    kind = _function(f.activation)
    y_TD = w.op(
        f"Experts_{kind}", x_TD, index_TC, weight_TC, *_weights(w, e, t, place, sizes),
        *_biases(w, e, t, place, sizes), domain="ingot", name=f"{place.ours}ffn.experts_TD",
        count=count, limit=f.number("limit"), alpha=f.number("alpha"),
    )  # fmt: skip
    return _add_shared(w, d, place, x_TD, y_TD) if e.shared else y_TD


def _function(activation: str) -> str:
    kinds = {"silu": "silu", "swish": "silu", "gelu": "gelu", "swiglu_oai": "swiglu_oai"}
    if activation not in kinds:
        raise ExpressionError(
            f"model.feed_forward.activation gives {activation!r}, which experts do not cover "
            f"({', '.join(kinds)})"
        )
    return kinds[activation]


def _choose(w: Writer, e: Section, t: Section, place: Place, x_TD, count: int):
    """index_TC of the experts of each token, and their weights."""
    ours, theirs = f"{place.ours}ffn.", place.theirs
    score = e.choice("score", "softmax", "sigmoid", "softmax_chosen")
    sizes = (count, place.width)
    s_TE = w.project(x_TD, t, theirs + t.router, f"{ours}router", sizes, e.router_bias, "ED")
    if score == "softmax":
        s_TE = w.op("Softmax", s_TE, name=f"{ours}score_TE", axis=-1)
    elif score == "sigmoid":
        s_TE = w.op("Sigmoid", s_TE, name=f"{ours}score_TE")
    choice_TE = s_TE
    if e.correction:
        correction = w.initializer(w.read(theirs + t.correction, [count]), f"{ours}correction_E")
        choice_TE = w.op("Add", s_TE, correction, name=f"{ours}choice_TE")
    chosen = w.integers(e.whole("chosen", most=count))
    names = f"{ours}best_TC", f"{ours}index_TC"
    _, index_TC = w.ops("TopK", choice_TE, chosen, names=names, axis=-1)
    weight_TC = w.op("GatherElements", s_TE, index_TC, name=f"{ours}picked_TC", axis=-1)
    if score == "softmax_chosen":
        weight_TC = w.op("Softmax", weight_TC, name=f"{ours}share_TC", axis=-1)
    elif e.renormalise:
        total = w.op("ReduceSum", weight_TC, w.integers(-1), name=f"{ours}total_T1", keepdims=1)
        weight_TC = w.op("Div", weight_TC, total, name=f"{ours}share_TC")
    return index_TC, w.times(weight_TC, e.number("scale"), f"{ours}scaled", "TC")


def _weights(w: Writer, e: Section, t: Section, place: Place, sizes) -> list[ir.Value]:
    """gate_EFD, up_EFD, down_EDF."""
    E, F, D = sizes
    down = _stacked(w, e, t, place, t.expert_down, (E, D, F))
    if t.expert_gate_up:
        both = _stacked(w, e, t, place, t.expert_gate_up, (E, 2 * F, D))
        gate, up = _taken_apart(both, e)
    else:
        gate = _stacked(w, e, t, place, t.expert_gate, (E, F, D))
        up = _stacked(w, e, t, place, t.expert_up, (E, F, D))
    named = ("gate_EFD", gate), ("up_EFD", up), ("down_EDF", down)
    return [w.initializer(weight, f"{place.ours}experts.{name}") for name, weight in named]


def _stacked(w: Writer, e: Section, t: Section, place: Place, theirs: str, shape) -> weights.Weight:
    """[E, out, in], from one stacked tensor or one an expert."""
    E, *matrix = shape
    stored = matrix[::-1] if e.transposed else matrix
    if "{expert}" not in theirs:
        weight = w.read(place.theirs + theirs + t.expert_suffix, [E, *stored])
    else:
        names = [
            place.theirs + theirs.replace("{expert}", str(i)) + t.expert_suffix for i in range(E)
        ]
        weight = weights.stack([weights.cast(w.read(n, stored), w.dtype) for n in names])
    return weights.transpose(weight) if e.transposed else weight


def _taken_apart(both: weights.Weight, e: Section) -> tuple[weights.Weight, weights.Weight]:
    """gate and up from axis 1 of a stacked tensor."""
    layout, size = e.choice("layout", "halves", "interleaved"), both.shape[1] // 2
    shape = [both.shape[0], size, *both.shape[2:]]
    outputs = [(f"{both.name}.{part}", both.dtype, shape) for part in ("gate", "up")]

    def alternate(array):
        return array[:, 0::2], array[:, 1::2]

    def in_two(array):
        return array[:, :size], array[:, size:]

    function = alternate if layout == "interleaved" else in_two
    gate, up = weights.derive(both, function, outputs, f"{function.__name__}(…, axis=1)")
    return gate, up


def _biases(w: Writer, e: Section, t: Section, place: Place, sizes) -> list[ir.Value]:
    """gate_EF, up_EF, down_ED; zeros where the family has none."""
    E, F, D = sizes
    if not e.bias:
        none_EF, none_ED = (np.zeros((E, n), w.dtype.numpy()) for n in (F, D))
        dims = (none_EF, "EF"), (none_EF, "EF"), (none_ED, "ED")
        return [w.constant(zeros, "no_bias", letters) for zeros, letters in dims]
    if not t.expert_gate_up:
        raise ExpressionError("model.experts.bias: only experts with a fused gate_up have biases")
    both = w.read(f"{place.theirs}{t.expert_gate_up}_bias", [E, 2 * F])
    gate, up = _taken_apart(both, e)
    down = w.read(f"{place.theirs}{t.expert_down}_bias", [E, D])
    named = ("gate_EF", gate), ("up_EF", up), ("down_ED", down)
    return [w.initializer(weight, f"{place.ours}experts.{name}") for name, weight in named]


def _add_shared(w: Writer, d: Section, place: Place, x_TD, y_TD) -> ir.Value:
    """The expert that every token uses, added."""
    e, t, ours = d.experts, d.tensors, f"{place.ours}ffn.shared."
    D, F = place.width, e.whole("shared")
    gate = w.project(x_TD, t, place.theirs + t.shared_gate_proj, f"{ours}gate", (F, D))
    up = w.project(x_TD, t, place.theirs + t.shared_up, f"{ours}up", (F, D))
    hidden = gated(w, gate, up, d.feed_forward.activation, ours)
    z_TD = w.project(hidden, t, place.theirs + t.shared_down, f"{ours}down", (D, F), dims="DF")
    if e.shared_gate:
        s_T1 = w.project(x_TD, t, place.theirs + t.shared_gate, f"{ours}weight", (1, D), dims="1D")
        s_T1 = w.op("Sigmoid", s_T1, name=f"{ours}share_T1")
        z_TD = w.op("Mul", z_TD, s_T1, name=f"{ours}weighted_TD")
    return w.op("Add", y_TD, z_TD, name=f"{place.ours}ffn.sum_TD")

"""The feed forward of a layer: down(act(gate x) * up x), or down(act(up x)).

T tokens, D width, F feed-forward width.
"""

from __future__ import annotations

import onnx_ir as ir

from core import weights

from .attention import Place
from .config import Section
from .writer import Writer


def write_feed_forward(w: Writer, d: Section, place: Place, x_TD: ir.Value) -> ir.Value:
    f, t, ours = d.feed_forward, d.tensors, f"{place.ours}ffn."
    D, F = place.width, f.whole("size")
    if f.choice("kind", "gated", "plain") == "plain":
        up = w.project(x_TD, t, place.theirs + t.up, f"{ours}up", (F, D), f.bias)
        hidden = w.activate(up, f.activation, f"{ours}hidden_TF")
        return w.project(hidden, t, place.theirs + t.down, f"{ours}down", (D, F), f.bias, "DF")
    layout = f.choice("layout", "separate", "halves", "interleaved")
    if layout == "separate":
        gate = w.project(x_TD, t, place.theirs + t.gate, f"{ours}gate", (F, D), f.bias)
        up = w.project(x_TD, t, place.theirs + t.up, f"{ours}up", (F, D), f.bias)
    else:
        theirs = place.theirs + t.gate_up
        gate_w, up_w = halves(w.matrix(t, theirs, 2 * F, D), layout)
        bias = w.vector(theirs, 2 * F, f.bias)
        gate_b, up_b = halves(bias, layout) if bias is not None else (None, None)
        gate = w.product(x_TD, gate_w, gate_b, f"{ours}gate")
        up = w.product(x_TD, up_w, up_b, f"{ours}up")
    hidden = gated(w, gate, up, f.activation, ours)
    return w.project(hidden, t, place.theirs + t.down, f"{ours}down", (D, F), f.bias, "DF")


def gated(w: Writer, gate_TF, up_TF, activation: str, ours: str) -> ir.Value:
    """act(gate) * up."""
    active = w.activate(gate_TF, activation, f"{ours}activated_TF")
    return w.op("Mul", active, up_TF, name=f"{ours}hidden_TF")


def halves(fused: weights.Weight, layout: str) -> tuple[weights.Weight, weights.Weight]:
    """gate and up from the rows of a fused tensor: one after the other, or in turns."""
    rows = fused.rows // 2
    if layout == "halves":
        return weights.slice(fused, 0, 0, rows), weights.slice(fused, 0, rows, 2 * rows)
    shape = [rows, *fused.shape[1:]]
    outputs = [(f"{fused.name}.{part}", fused.dtype, shape) for part in ("even", "odd")]
    even, odd = weights.derive(
        fused, lambda array: (array[0::2], array[1::2]), outputs, "alternate(…)", rows=2
    )
    return even, odd

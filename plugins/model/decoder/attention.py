"""The attention of a layer: q, k, v, their norms and positions, ingot::Attention, the way out.

T tokens, D width, H query heads, G key/value heads, K head size, X = H · K, Y = G · K.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from core import weights

from .config import Section
from .expression import ExpressionError
from .positions import alibi_slopes, rope_tables
from .writer import Writer


@dataclass(frozen=True)
class Place:
    """A layer's prefix in our names and the checkpoint's, the width, and what tokens are at."""

    ours: str
    theirs: str
    width: int
    positions_T: ir.Value
    sequences_T: ir.Value


@dataclass(frozen=True)
class Heads:
    heads: int
    groups: int
    size: int

    @property
    def x(self) -> int:
        return self.heads * self.size

    @property
    def y(self) -> int:
        return self.groups * self.size


def read_heads(a: Section) -> Heads:
    """The heads of a layer.

    Raises:
        ExpressionError: query heads cannot be shared out among key/value heads.
    """
    heads = Heads(a.whole("heads", most=1 << 16), a.whole("groups", most=1 << 16), a.whole("size"))
    if heads.heads % heads.groups:
        raise ExpressionError(
            f"config.json says {heads.heads} query heads and {heads.groups} key/value heads; the "
            "first must be a multiple of the second"
        )
    return heads


def write_attention(w: Writer, d: Section, place: Place, x_TD: ir.Value, config) -> ir.Value:
    """[T, D]: what each token takes from those that it sees."""
    a, t, ours = d.attention, d.tensors, f"{place.ours}attention."
    n = read_heads(a)
    q, k, v = _qkv(w, d, n, place, x_TD)
    if a.clip:
        limit = a.number("clip")
        q, k, v = (_clip(w, x, limit, ours + i) for x, i in ((q, "q"), (k, "k"), (v, "v")))
    if a.norm:
        q = _norm(w, d, q, n.heads, n.size, place.theirs + t.q_norm, f"{ours}q")
        k = _norm(w, d, k, n.groups, n.size, place.theirs + t.k_norm, f"{ours}k")
    kind = d.positions.choice("kind", "rope", "alibi", "none")
    if kind == "rope":
        q = _rotate(w, d, q, n.heads, n.size, place, config, f"{ours}q")
        k = _rotate(w, d, k, n.groups, n.size, place, config, f"{ours}k")
    scale = a.number("scale")
    y_TX = w.op(
        "Attention", q, k, v, place.positions_T, place.sequences_T,
        _slopes(w, d.positions, kind, n.heads, scale), _sinks(w, a, t, n.heads, place),
        domain="ingot", name=f"{ours}mixed_TF", heads=n.heads, groups=n.groups, scale=scale,
        softcap=a.number("softcap"), window=a.whole("window", 1) if a.window else 0,
    )  # fmt: skip
    sizes = (place.width, n.x)
    return w.project(y_TX, t, place.theirs + t.out, f"{ours}out", sizes, a.out_bias, "DF")


def _qkv(w: Writer, d: Section, n: Heads, place: Place, x_TD) -> list[ir.Value]:
    a, t, D = d.attention, d.tensors, place.width
    ours = f"{place.ours}attention."
    layout = a.choice("layout", "separate", "blocks", "groups")
    if layout == "separate":
        parts = (("q", t.q, n.x), ("k", t.k, n.y), ("v", t.v, n.y))
        return [
            w.project(x_TD, t, place.theirs + theirs, ours + i, (size, D), a.bias)
            for i, theirs, size in parts
        ]
    theirs, rows = place.theirs + t.qkv, n.x + 2 * n.y
    whole = w.matrix(t, theirs, rows, D)
    bias = w.vector(theirs, rows, a.bias)
    parts = zip("qkv", split(whole, n, layout), split(bias, n, layout), strict=True)
    return [w.product(x_TD, weight, b, ours + i) for i, weight, b in parts]


def split(fused: weights.Weight | None, n: Heads, layout: str) -> tuple:
    """q, k and v from the rows of a fused tensor."""
    if fused is None:
        return None, None, None
    if layout == "blocks":
        ends = (0, n.x, n.x + n.y, n.x + 2 * n.y)
        return tuple(weights.slice(fused, 0, *ends[i : i + 2]) for i in range(3))
    each = n.heads // n.groups  # rows of one group: its query heads, its key, its value

    def of_groups(first: int, last: int) -> weights.Weight:
        step = (each + 2) * n.size
        return weights.concat(
            [
                weights.slice(fused, 0, g * step + first * n.size, g * step + last * n.size)
                for g in range(n.groups)
            ]
        )

    return of_groups(0, each), of_groups(each, each + 1), of_groups(each + 1, each + 2)


def _clip(w: Writer, x, limit: float, ours: str) -> ir.Value:
    low, high = w.scalar(-limit, "clip_low"), w.scalar(limit, "clip_high")
    return w.op("Clip", x, low, high, name=f"{ours}_clipped_TF")


def _norm(w: Writer, d: Section, x, heads: int, size: int, theirs: str, ours: str) -> ir.Value:
    """q or k normalised: over a head with shared or own weights, or over all heads."""
    a, norm = d.attention, d.norm
    scope = a.choice("norm", "head", "heads", "width")
    count = size if scope == "head" else heads * size
    weight = weights.add(w.read(f"{theirs}.weight", [heads, size] if scope == "heads" else [count]),
                         norm.number("offset"))  # fmt: skip
    bias = w.vector(theirs, count, norm.bias)
    kind, epsilon, name = a.norm_kind or norm.kind, norm.number("epsilon", least=0), f"{ours}_norm"
    if scope == "width":
        return w.normalise(x, kind, epsilon, weight, bias, name, "TF")
    parts = w.op("Reshape", x, w.integers(0, heads, size), name=f"{ours}_THK")
    if scope == "head":
        y = w.normalise(parts, kind, epsilon, weight, bias, name, "THK")
    else:
        if bias is not None:
            raise ExpressionError("model.attention.norm: heads has no biases")
        ones = weights.constant(np.ones(size, np.float32), name)
        y = w.normalise(parts, kind, epsilon, ones, None, f"{ours}_unit", "THK")
        own = w.initializer(weight, f"{name}_HK")
        y = w.op("Mul", y, own, name=f"{name}_THK")
    return w.op("Reshape", y, w.integers(0, heads * size), name=f"{name}_TF")


def _rotate(w: Writer, d: Section, x, heads: int, size: int, place: Place, config, ours: str):
    p = d.positions
    rotated = int(size * p.number("fraction"))
    if rotated < 2 or rotated > size or rotated % 2:
        raise ExpressionError(
            f"model.positions.fraction: {rotated} of {size} elements of a head cannot be rotated"
        )
    theta, scaling = p.number("theta", above=1), p.scaling
    key = json.dumps([rotated, theta, scaling], sort_keys=True, default=str)
    if key not in w.tables:
        cos_LR, sin_LR = rope_tables(rotated, theta, scaling, config, w.length)
        w.tables[key] = w.constant(cos_LR, "cos", "LR"), w.constant(sin_LR, "sin", "LR")
    return w.op(
        "Rotate", x, *w.tables[key], place.positions_T, domain="ingot", name=f"{ours}_rotated_TF",
        heads=heads, interleaved=int(bool(p.interleaved)), dims=0 if rotated == size else rotated,
    )  # fmt: skip


def _slopes(w: Writer, p: Section, kind: str, heads: int, scale: float) -> ir.Value:
    slopes_H = np.zeros(heads, np.float32)
    if kind == "alibi":
        shape = p.choice("slopes", "geometric", "interpolated")
        slopes_H = alibi_slopes(heads, shape, p.number("bias_max"))
        slopes_H = (slopes_H * (scale if p.scaled else 1)).astype(np.float32)
    return w.constant(slopes_H, "slopes", "H")


def _sinks(w: Writer, a: Section, t: Section, heads: int, place: Place) -> ir.Value:
    if not a.sinks:
        return w.constant(np.full(heads, -np.inf, np.float32), "sinks", "H")
    weight = w.read(place.theirs + t.sinks, [heads])
    return w.initializer(weight, f"{place.ours}attention.sinks_H", ir.DataType.FLOAT)

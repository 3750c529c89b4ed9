"""A step of RotaryPagedAttention: that of PagedAttention, whose q and k are yet to be rotated.

T tokens, H query heads, G key/value heads, K head size, R pairs of a head, L rows of the tables.
"""

import numpy as np
from cpu_kernels import F32, numbers
from test_cpu_attention import Step

from core import native


class RotaryStep(Step):
    """dims: elements of a head that are turned, 0 for all; interleaved: pairs of neighbours."""

    def __init__(self, *args, dims=0, interleaved=0, **options):
        super().__init__(*args, **options)
        self.dims, self.interleaved = dims, interleaved
        length = max(cached + len(q) for cached, q in zip(self.cached, self.queries, strict=True))
        R = (dims or self.size) // 2
        angles_LR = self.rng.uniform(-4, 4, (length, R))
        self.tables = [np.cos(angles_LR).astype(F32), np.sin(angles_LR).astype(F32)]
        self.plain_queries = [numbers(self.rng, x.shape, self.dtype) for x in self.queries]
        self.plain_keys = [numbers(self.rng, x.shape, self.dtype) for x in self.keys]
        self.queries = [
            self.turned(x, cached)
            for x, cached in zip(self.plain_queries, self.cached, strict=True)
        ]
        self.keys = [self.turned(x, 0) for x in self.plain_keys]

    def turned(self, x_THK, position):
        """Products and their sum in float32, rounded one by one, then to dtype."""
        turned = x_THK.astype(F32)
        cos, sin = (table[position : position + len(x_THK), None] for table in self.tables)
        R = cos.shape[-1]
        first, second = (
            (slice(0, 2 * R, 2), slice(1, 2 * R, 2))
            if self.interleaved
            else (slice(0, R), slice(R, 2 * R))
        )
        a, b = turned[..., first].copy(), turned[..., second].copy()
        turned[..., first], turned[..., second] = cos * a - sin * b, sin * a + cos * b
        return turned.astype(self.dtype)

    def inputs(self, spans, caches):
        """Those of the op for these tokens, as `run` takes them."""
        positions = [np.arange(a, b) + self.cached[s] for s, a, b in spans]
        sequences = [np.full(b - a, s) for s, a, b in spans]
        cells = [
            self.pages_SM[s, p // self.page] * self.page + p % self.page
            for (s, _, _), p in zip(spans, positions, strict=True)
        ]
        rows = [
            np.concatenate([x.reshape(b - a, -1) for x in (q, k, v)], axis=1)
            for (s, a, b), p in zip(spans, positions, strict=True)
            for q, k, v in [(self.plain_queries[s][a:b], self.plain_keys[s][p], self.values[s][p])]
        ]
        fields = [np.concatenate(x).astype(np.int32) for x in (cells, positions, sequences)]
        return [
            np.concatenate(rows), *self.tables, *caches, self.pages_SM, *fields, self.slopes_H,
            self.sinks_H, *self.scales,
        ]  # fmt: skip

    def run(self, kernel, spans=None, threads=2, caches=None):
        spans = spans or [(s, 0, len(q)) for s, q in enumerate(self.queries)]
        caches = caches or self.fresh_caches()
        inputs, options = self.inputs(spans, caches), self.options
        line = (
            "op n ingot::RotaryPagedAttention@1"
            " in=qkv,cos,sin,ck,cv,pages,cells,positions,sequences,slopes,sinks"
            f"{',k_scale,v_scale' if self.scales else ''} out=y,ck,cv"
            f" heads=i:{self.heads} groups=i:{self.groups} scale=f:{options['scale']!r}"
            f" softcap=f:{options['softcap']!r} window=i:{options['window']}"
            f" interleaved=i:{self.interleaved} dims=i:{self.dims}"
        )
        y = np.zeros((len(inputs[0]), self.heads * self.size), self.dtype)
        return native.run_op(line, inputs, [y, *caches], kernel=kernel, threads=threads)

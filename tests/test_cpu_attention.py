"""The fast CPU kernels of PagedAttention against numpy and against themselves."""

import numpy as np
import pytest
from cpu_kernels import BF16, F8, F16, F32, KERNELS, ROUNDING, numbers, require

from core import native


@pytest.fixture(params=KERNELS)
def kernel(request):
    """The name of a kernel; skipped where this machine cannot run it."""
    return require(request.param)


class Step:
    """A step of some sequences over a paged cache, each given as (tokens cached, tokens new).

    codes: the caches are e4m3; scales: what keys and values are divided by for them.
    """

    def __init__(
        self, seed, sequences, heads, groups, size, page, dtype, codes=False, scales=None, **options
    ):
        rng = self.rng = np.random.default_rng(seed)
        self.heads, self.groups, self.size, self.page, self.dtype = heads, groups, size, page, dtype
        self.cache_dtype = F8 if codes else dtype
        self.scales = [np.array(x, F32) for x in scales or ()]
        self.options = {"scale": size**-0.5, "softcap": 0.0, "window": 0, **options}
        self.slopes_H = self.options.pop("slopes", np.zeros(heads)).astype(F32)
        self.sinks_H = self.options.pop("sinks", np.full(heads, -np.inf)).astype(F32)
        lengths = [a + b for a, b in sequences]
        columns = max(-(-n // page) for n in lengths)
        count = sum(-(-n // page) for n in lengths)
        pages, taken = rng.permutation(count) + 1, 0
        self.pages_SM = np.zeros((len(sequences), columns), np.int32)
        for s, length in enumerate(lengths):
            used = -(-length // page)
            self.pages_SM[s, :used] = pages[taken : taken + used]
            taken += used
        self.keys = [numbers(rng, (n, groups, size), dtype) for n in lengths]
        self.values = [numbers(rng, (n, groups, size), dtype) for n in lengths]
        self.queries = [numbers(rng, (b, heads, size), dtype) for _, b in sequences]
        self.cached = [a for a, _ in sequences]
        # What no sequence has written must not be read: it is NaN.
        self.shape = (count + 1, groups, page, size)

    def fresh_caches(self):
        caches = [np.full(self.shape, np.nan, self.cache_dtype) for _ in "kv"]
        for cache, content in zip(caches, self.held(), strict=True):
            for s, cached in enumerate(self.cached):
                for p in range(cached):
                    cache[self.pages_SM[s, p // self.page], :, p % self.page] = content[s][p]
        return caches

    def held(self):
        """Keys and values as the caches hold them; e4m3 saturates, which ml_dtypes does not."""
        scales = self.scales or [np.float32(1)] * 2
        for content, scale in zip([self.keys, self.values], scales, strict=True):
            wide = [x.astype(F32) / scale for x in content]
            if self.cache_dtype == F8:
                wide = [np.clip(x, -448, 448) for x in wide]
            yield [x.astype(self.cache_dtype) for x in wide]

    def run(self, kernel, spans=None, threads=2, caches=None):
        """y of the new tokens: of all, or of spans [(sequence, begin, end), …] of them."""
        spans = spans or [(s, 0, len(q)) for s, q in enumerate(self.queries)]
        caches = caches or self.fresh_caches()
        positions = [np.arange(a, b) + self.cached[s] for s, a, b in spans]
        sequences = [np.full(b - a, s) for s, a, b in spans]
        cells = [
            self.pages_SM[s, p // self.page] * self.page + p % self.page
            for (s, _, _), p in zip(spans, positions, strict=True)
        ]
        q = np.concatenate([self.queries[s][a:b] for s, a, b in spans])
        k, v = (
            np.concatenate([x[s][p] for (s, _, _), p in zip(spans, positions, strict=True)])
            for x in (self.keys, self.values)
        )
        T = len(q)
        fields = [np.concatenate(x).astype(np.int32) for x in (cells, positions, sequences)]
        inputs = [
            *(x.reshape(T, -1) for x in (q, k, v)), *caches, self.pages_SM, *fields,
            self.slopes_H, self.sinks_H, *self.scales,
        ]  # fmt: skip
        options = self.options
        line = (
            "op n ingot::PagedAttention@1"
            " in=q,k,v,ck,cv,pages,cells,positions,sequences,slopes,sinks"
            f"{',k_scale,v_scale' if self.scales else ''} out=y,ck,cv"
            f" heads=i:{self.heads} groups=i:{self.groups} scale=f:{options['scale']!r}"
            f" softcap=f:{options['softcap']!r} window=i:{options['window']}"
        )
        y = np.zeros((T, self.heads * self.size), self.dtype)
        return native.run_op(line, inputs, [y, *caches], kernel=kernel, threads=threads)

    def exact(self):
        """y in float64, and the largest value each element is a mean of."""
        means, sizes = [], []
        scales = [float(x) for x in self.scales or (1, 1)]
        keys, values = (
            [x.astype(np.float64) * scale for x in content]
            for content, scale in zip(self.held(), scales, strict=True)
        )
        for s, q in enumerate(self.queries):
            for i, query in enumerate(q.astype(np.float64)):
                position = self.cached[s] + i
                window = self.options["window"]
                first = max(0, position - window + 1) if window else 0
                for h in range(self.heads):
                    g = h // (self.heads // self.groups)
                    k, v = (x[s][first : position + 1, g] for x in (keys, values))
                    means.append(self.mean(k @ query[h], v, h, np.arange(first - position, 1)))
                    sizes.append(np.abs(v).max(0))
        shape = (-1, self.heads * self.size)
        return np.reshape(means, shape), np.reshape(sizes, shape)

    def mean(self, products, values, head, distances):
        score, cap = products * np.float32(self.options["scale"]), self.options["softcap"]
        score = cap * np.tanh(score / cap) if cap else score
        score = np.append(score + self.slopes_H[head] * distances, self.sinks_H[head])
        weight = np.exp(score - score.max())
        return weight[:-1] @ values / weight.sum()


STEPS = {
    "one token": dict(sequences=[(0, 1)], heads=1, groups=1, size=16, page=16),
    "decode": dict(sequences=[(40, 1), (3, 1), (129, 1)], heads=8, groups=2, size=64, page=16),
    "prefill": dict(sequences=[(0, 70)], heads=4, groups=4, size=32, page=16),
    "mixed": dict(sequences=[(33, 9), (0, 37), (64, 1)], heads=6, groups=2, size=80, page=7),
    "one group": dict(sequences=[(20, 3), (0, 5)], heads=19, groups=1, size=24, page=5),
    "large heads": dict(sequences=[(90, 4)], heads=2, groups=1, size=256, page=64),
    "odd heads": dict(sequences=[(31, 35)], heads=3, groups=3, size=17, page=1),
}
OPTIONS = {
    "plain": {},
    "window": dict(window=19),
    "softcap": dict(softcap=2.5),
    "slopes": dict(slopes=True),
    "sinks": dict(sinks=True),
    "all": dict(window=50, softcap=5.0, slopes=True, sinks=True),
}


def step(name, option, dtype, **cache):
    options = dict(OPTIONS[option])
    heads = STEPS[name]["heads"]
    if options.get("slopes"):
        options["slopes"] = 2.0 ** -np.linspace(1, 8, heads)
    if options.get("sinks"):
        options["sinks"] = np.linspace(-1, 3, heads)
    return Step(len(name), dtype=dtype, **STEPS[name], **options, **cache)


@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=str)
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", STEPS)
def test_attention_is_the_weighted_mean(kernel, name, option, dtype):
    """It equals softmax attention in float64 up to one rounding and 1e-6 (2e-7 seen)."""
    world = step(name, option, dtype)
    y, _, _ = world.run(kernel)
    exact, size = world.exact()
    error = np.abs(y.astype(np.float64) - exact)
    assert np.all(error <= 1.001 * ROUNDING[dtype] * np.abs(exact) + 1e-6 * size)


@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=str)
@pytest.mark.parametrize("scales", [None, (0.25, 3.0)], ids=["as they are", "scaled"])
@pytest.mark.parametrize("codes", [True, False], ids=["e4m3", "same"])
@pytest.mark.parametrize("name, option", [("mixed", "all"), ("odd heads", "plain")])
def test_attention_reads_what_the_cache_holds(kernel, name, option, codes, scales, dtype):
    """With caches in e4m3, or scaled, it is attention over what they hold times their scales."""
    world = step(name, option, dtype, codes=codes, scales=scales)
    y, _, _ = world.run(kernel)
    exact, size = world.exact()
    error = np.abs(y.astype(np.float64) - exact)
    assert np.all(error <= 1.001 * ROUNDING[dtype] * np.abs(exact) + 1e-6 * size)


@pytest.mark.parametrize(
    "cache",
    [{}, {"codes": True}, {"codes": True, "scales": (0.003, 7.0)}, {"scales": (0.5, 7.0)}],
    ids=["same", "e4m3", "e4m3 scaled", "scaled"],
)
def test_attention_writes_the_cells(kernel, cache):
    """Keys and values of the step stand in their cells, and nothing else has changed."""
    world = step("mixed", "plain", BF16, **cache)
    caches = world.fresh_caches()
    expected = world.fresh_caches()
    for cache, content in zip(expected, world.held(), strict=True):
        for s, rows in enumerate(content):
            for p in range(len(rows)):
                cache[world.pages_SM[s, p // world.page], :, p % world.page] = rows[p]
    world.run(kernel, caches=caches)
    for cache, wanted in zip(caches, expected, strict=True):
        np.testing.assert_array_equal(cache.view(np.uint8), wanted.view(np.uint8))


@pytest.mark.parametrize("codes", [False, True], ids=["same", "e4m3"])
@pytest.mark.parametrize("option", ["plain", "all"])
@pytest.mark.parametrize("name", STEPS)
def test_attention_of_a_token_does_not_feel_its_neighbours(kernel, name, option, codes):
    """A step in one go equals its tokens one by one, in pieces, and on one thread, bit for bit."""
    world = step(name, option, BF16, codes=codes)
    whole = world.run(kernel)[0].tobytes()
    assert world.run(kernel, threads=1)[0].tobytes() == whole
    for length in (1, 5, 23):
        caches, pieces = world.fresh_caches(), []
        for s, queries in enumerate(world.queries):
            for a in range(0, len(queries), length):
                span = (s, a, min(a + length, len(queries)))
                pieces.append(world.run(kernel, [span], caches=caches)[0])
        assert np.concatenate(pieces).tobytes() == whole


@pytest.mark.parametrize("field, value", [(5, 99), (6, -1), (7, 10_000), (8, 3)])
def test_attention_refuses_a_step_outside_its_cache(kernel, field, value):
    """A page, cell, position or sequence that does not exist is an error, not a memory access."""
    world = step("decode", "plain", F32)
    T = 3
    positions = np.array([40, 3, 129], np.int32)
    cells = world.pages_SM[np.arange(3), positions // 16] * 16 + positions % 16
    shape = (T, world.groups * world.size)
    inputs = [
        np.zeros((T, world.heads * world.size), F32), np.zeros(shape, F32), np.zeros(shape, F32),
        *world.fresh_caches(), world.pages_SM.copy(), cells.astype(np.int32), positions,
        np.arange(3, dtype=np.int32), world.slopes_H, world.sinks_H,
    ]  # fmt: skip
    inputs[field].flat[0] = value
    line = (
        "op n ingot::PagedAttention@1 in=q,k,v,ck,cv,pages,cells,positions,sequences,slopes,sinks"
        " out=y,ck,cv heads=i:8 groups=i:2 scale=f:0.125 softcap=f:0 window=i:0"
    )
    outputs = [np.zeros_like(inputs[0]), inputs[3], inputs[4]]
    with pytest.raises(Exception, match=r"token 0|page 0 of sequence 0"):
        native.run_op(line, inputs, outputs, kernel=kernel)

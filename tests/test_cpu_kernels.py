"""The fast CPU kernels against numpy in float64, and against themselves in other company."""

import ml_dtypes
import numpy as np
import pytest

from core import native

KERNELS = ["avx512", "avx2", "portable"]
F32, F16, BF16 = np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)
F8, I8 = np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(np.int8)
# Half a unit in the last place of the result's type, and what a float32 sum may add to it: the
# largest error seen over all shapes below was 2e-7 of the sum of magnitudes.
ROUNDING = {F32: 2.0**-24, F16: 2.0**-11, BF16: 2.0**-8}
SUMMATION = 5e-7


@pytest.fixture(params=KERNELS)
def kernel(request):
    """The name of a kernel; skipped where this machine cannot run it."""
    x, y = np.ones((1, 4), F32), np.zeros((1, 1), F32)
    names = {
        k["name"]
        for op in native.op_table()["ops"]
        if op["name"] == "Linear" and op["domain"] == "ingot"
        for k in op["kernels"]
    }
    if request.param not in names:
        pytest.skip(f"{request.param} is not compiled for this architecture")
    try:
        native.run_op(
            "op n ingot::Linear@1 in=x,w,- out=y", [x, x, None], [y], kernel=request.param
        )
    except Exception as error:
        if "instructions" not in str(error):
            raise
        pytest.skip(f"{request.param}: {error}")
    return request.param


def numbers(rng, shape, dtype, scale=1.0):
    """Random numbers of any type; codes use their whole range."""
    if dtype == I8:
        return rng.integers(-128, 128, shape, dtype=np.int8)
    if dtype == F8:
        codes = rng.integers(0, 256, shape, dtype=np.uint8)
        return np.where((codes & 127) == 127, 0, codes).astype(np.uint8).view(F8)
    return (rng.standard_normal(shape) * scale).astype(dtype)


def linear(x_TD, weight_FD, bias_F=None, kernel=None, threads=2):
    y_TF = np.zeros((len(x_TD), len(weight_FD)), x_TD.dtype)
    line = f"op n ingot::Linear@1 in=x,w,{'-' if bias_F is None else 'b'} out=y"
    inputs = [x_TD, weight_FD, bias_F]
    return native.run_op(line, inputs, [y_TF], kernel=kernel, threads=threads)[0]


def scaled_linear(x_TD, x_scale_T, weight_FD, scale, bias_F, dtype, kernel=None, threads=2):
    y_TF = np.zeros((len(x_TD), len(weight_FD)), dtype)
    names = [
        "-" if a is None else n
        for n, a in zip("xawsb", [x_TD, x_scale_T, weight_FD, scale, bias_F], strict=True)
    ]
    line = f"op n ingot::ScaledLinear@1 in={','.join(names)} out=y dtype=d:{native.WORDS[dtype]}"
    inputs = [x_TD, x_scale_T, weight_FD, scale, bias_F]
    return native.run_op(line, inputs, [y_TF], kernel=kernel, threads=threads)[0]


def check_product(y_TF, x_TD, weight_FD, bias_F=None):
    """y is x weight^T + bias up to one rounding and the error of a float32 sum."""
    x, weight = x_TD.astype(np.float64), weight_FD.astype(np.float64)
    bias = 0 if bias_F is None else bias_F.astype(np.float64)
    exact, size = x @ weight.T + bias, np.abs(x) @ np.abs(weight).T + np.abs(bias)
    error = np.abs(y_TF.astype(np.float64) - exact)
    assert np.all(error <= 1.001 * ROUNDING[y_TF.dtype] * np.abs(exact) + SUMMATION * size + 1e-7)


SHAPES = [(1, 1, 1), (1, 7, 3), (2, 33, 5), (3, 64, 9), (7, 100, 37), (16, 257, 4), (37, 1100, 70)]


@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=str)
@pytest.mark.parametrize("T, D, F", SHAPES)
def test_linear_is_the_product(kernel, dtype, T, D, F):
    """Linear equals the product in float64 up to one rounding, whatever the sizes."""
    rng = np.random.default_rng(T * D + F)
    x_TD, weight_FD = numbers(rng, (T, D), dtype), numbers(rng, (F, D), dtype, D**-0.5)
    bias_F = numbers(rng, (F,), dtype) if F % 2 else None
    check_product(linear(x_TD, weight_FD, bias_F, kernel), x_TD, weight_FD, bias_F)


@pytest.mark.parametrize("weight_dtype", [F8, I8], ids=str)
@pytest.mark.parametrize("x_dtype", [F32, F16, BF16, F8, I8], ids=str)
@pytest.mark.parametrize("T, D, F", SHAPES)
def test_scaled_linear_is_the_product(kernel, x_dtype, weight_dtype, T, D, F):
    """Codes multiply as the numbers they stand for, subnormal ones and -128 included."""
    rng = np.random.default_rng(T * D + F)
    x_TD, weight_FD = numbers(rng, (T, D), x_dtype), numbers(rng, (F, D), weight_dtype)
    scale = np.array(rng.uniform(1e-4, 2e-3, (F,) if D % 2 else ()), F32)
    coded = x_dtype in (F8, I8)
    x_scale_T = rng.uniform(1e-3, 2e-2, T).astype(F32) if coded else None
    dtype = BF16 if coded else x_dtype
    bias_F = numbers(rng, (F,), dtype) if F % 2 else None
    y_TF = scaled_linear(x_TD, x_scale_T, weight_FD, scale, bias_F, dtype, kernel)
    x = x_TD.astype(np.float64) * (x_scale_T[:, None] if coded else 1)
    weight = weight_FD.astype(np.float64) * np.reshape(scale, (-1, 1))
    check_product(y_TF, x, weight, bias_F)


@pytest.mark.parametrize("weight_dtype", [F8, I8], ids=str)
@pytest.mark.parametrize("x_dtype", [F32, F16, BF16], ids=str)
@pytest.mark.parametrize("T", [1, 40])
def test_every_code_has_its_value(kernel, x_dtype, weight_dtype, T):
    """A weight of every code, times 1, is the number that ml_dtypes says; NaN stays NaN."""
    codes = np.arange(256, dtype=np.uint8).view(weight_dtype)
    weight_FD = np.zeros((256, 70), weight_dtype)
    weight_FD[:, 69] = weight_FD[:, 3] = codes
    x_TD = np.zeros((T, 70), x_dtype)
    x_TD[:, 69] = 1
    y_TF = scaled_linear(x_TD, None, weight_FD, np.array(1, F32), None, F32, kernel)
    nan = np.isnan(codes.astype(F32))
    np.testing.assert_array_equal(y_TF[:, ~nan], np.tile(codes[~nan].astype(F32), (T, 1)))
    assert np.all(np.isnan(y_TF[:, nan]))


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_results_round_to_nearest_even(kernel, dtype):
    """A float32 sum becomes the nearest number of the result's type, as ml_dtypes rounds it."""
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 2**32, 4000, dtype=np.uint64).astype(np.uint32)
    scale_F = bits.view(F32)
    scale_F = scale_F[np.isfinite(scale_F) & (np.abs(scale_F) > 1e-36)]
    scale_F = np.concatenate([scale_F, [1 + 2.0**-8, 1 + 3 * 2.0**-8, 65519.9, 65520, 3e-8, 1e-7]])
    scale_F = scale_F.astype(F32)
    weight_FD = np.ones((len(scale_F), 1), I8)
    x_TD = np.ones((1, 1), dtype)
    y_TF = scaled_linear(x_TD, None, weight_FD, scale_F, None, dtype, kernel)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(y_TF[0].astype(F32), scale_F.astype(dtype).astype(F32))


CASES = [(F32, F32), (F16, F16), (BF16, BF16), (BF16, F8), (BF16, I8), (F16, F8), (F8, F8), (I8, I8)]


@pytest.mark.parametrize("D", [50, 1111, 4160])
@pytest.mark.parametrize("x_dtype, weight_dtype", CASES, ids=str)
def test_a_token_does_not_feel_its_neighbours(kernel, x_dtype, weight_dtype, D):
    """Each row of 37 tokens equals that token alone, and in other company, bit for bit."""
    rng = np.random.default_rng(D)
    x_TD, weight_FD = numbers(rng, (37, D), x_dtype), numbers(rng, (53, D), weight_dtype)
    x_scale_T = rng.uniform(1e-3, 1e-2, 37).astype(F32) if x_dtype in (F8, I8) else None
    scale_F = rng.uniform(1e-3, 1e-2, 53).astype(F32)
    dtype = BF16 if x_dtype in (F8, I8) else x_dtype

    def run(rows, threads=2):
        if x_dtype == weight_dtype and x_scale_T is None:
            return linear(x_TD[rows], weight_FD, None, kernel, threads)
        scales = None if x_scale_T is None else x_scale_T[rows]
        return scaled_linear(
            x_TD[rows], scales, weight_FD, scale_F, None, dtype, kernel, threads
        )

    whole = run(slice(None)).tobytes()
    assert run(slice(None), threads=1).tobytes() == whole
    alone = [run(slice(t, t + 1)) for t in range(37)]
    assert np.concatenate(alone).tobytes() == whole
    parts = [run(slice(a, b), threads=1) for a, b in [(0, 5), (5, 11), (11, 18), (18, 37)]]
    assert np.concatenate(parts).tobytes() == whole


class Step:
    """A step of some sequences over a paged cache, each given as (tokens cached, tokens new)."""

    def __init__(self, seed, sequences, heads, groups, size, page, dtype, **options):
        rng = self.rng = np.random.default_rng(seed)
        self.heads, self.groups, self.size, self.page, self.dtype = heads, groups, size, page, dtype
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
        caches = [np.full(self.shape, np.nan, self.dtype) for _ in "kv"]
        for cache, content in zip(caches, [self.keys, self.values], strict=True):
            for s, cached in enumerate(self.cached):
                for p in range(cached):
                    cache[self.pages_SM[s, p // self.page], :, p % self.page] = content[s][p]
        return caches

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
            self.slopes_H, self.sinks_H,
        ]  # fmt: skip
        options = self.options
        line = (
            "op n ingot::PagedAttention@1 in=q,k,v,ck,cv,pages,cells,positions,sequences,slopes,sinks"
            f" out=y,ck,cv heads=i:{self.heads} groups=i:{self.groups} scale=f:{options['scale']!r}"
            f" softcap=f:{options['softcap']!r} window=i:{options['window']}"
        )
        y = np.zeros((T, self.heads * self.size), self.dtype)
        return native.run_op(line, inputs, [y, *caches], kernel=kernel, threads=threads)

    def exact(self):
        """y in float64, and the largest value each element is a mean of."""
        means, sizes = [], []
        for s, q in enumerate(self.queries):
            for i, query in enumerate(q.astype(np.float64)):
                position = self.cached[s] + i
                window = self.options["window"]
                first = max(0, position - window + 1) if window else 0
                for h in range(self.heads):
                    g = h // (self.heads // self.groups)
                    k, v = (
                        x[s][first : position + 1, g].astype(np.float64)
                        for x in (self.keys, self.values)
                    )
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


def step(name, option, dtype):
    options = dict(OPTIONS[option])
    heads = STEPS[name]["heads"]
    if options.get("slopes"):
        options["slopes"] = 2.0 ** -np.linspace(1, 8, heads)
    if options.get("sinks"):
        options["sinks"] = np.linspace(-1, 3, heads)
    return Step(len(name), dtype=dtype, **STEPS[name], **options)


@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=str)
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", STEPS)
def test_attention_is_the_weighted_mean(kernel, name, option, dtype):
    """PagedAttention equals softmax attention in float64 up to one rounding and 1e-6."""
    world = step(name, option, dtype)
    y, _, _ = world.run(kernel)
    exact, size = world.exact()
    error = np.abs(y.astype(np.float64) - exact)
    assert np.all(error <= 1.001 * ROUNDING[dtype] * np.abs(exact) + 1e-6 * size)


def test_attention_writes_the_cells(kernel):
    """Keys and values of the step stand in their cells, and nothing else has changed."""
    world = step("mixed", "plain", BF16)
    caches = world.fresh_caches()
    expected = world.fresh_caches()
    for cache, content in zip(expected, [world.keys, world.values], strict=True):
        for s, rows in enumerate(content):
            for p in range(len(rows)):
                cache[world.pages_SM[s, p // world.page], :, p % world.page] = rows[p]
    world.run(kernel, caches=caches)
    for cache, wanted in zip(caches, expected, strict=True):
        np.testing.assert_array_equal(cache.view(np.uint16), wanted.view(np.uint16))


@pytest.mark.parametrize("option", ["plain", "all"])
@pytest.mark.parametrize("name", STEPS)
def test_attention_of_a_token_does_not_feel_its_neighbours(kernel, name, option):
    """A step in one go equals its tokens one by one, in pieces, and on one thread, bit for bit."""
    world = step(name, option, BF16)
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

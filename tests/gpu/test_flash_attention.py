"""PagedAttention and RotaryPagedAttention on CUDA by their kernels flash and parts, in float64."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
import test_cpu_attention as cpu
from cpu_kernels import BF16, F16, ROUNDING
from rotary_step import RotaryStep

from core import native

pytestmark = pytest.mark.gpu
# As (tokens cached, tokens new). flash takes tokens that stand alone by spans of their keys, whose
# weights are two 16-bit numbers; others by tiles, whose weights are one.
WORLDS = {
    "decode": dict(sequences=[(40, 1), (3, 1), (129, 1)], heads=8, groups=2, size=64, page=16),
    "one long": dict(sequences=[(4999, 1)], heads=4, groups=4, size=128, page=64),
    "ends of pages": dict(
        sequences=[(n, 1) for n in (0, 15, 16, 31, 63, 64, 127, 128, 255, 256)],
        heads=3, groups=3, size=128, page=64,
    ),
    "few": dict(sequences=[(700, 3), (0, 5)], heads=4, groups=4, size=128, page=64),
    "prefill": dict(sequences=[(0, 300)], heads=4, groups=4, size=128, page=64),
    "chunk": dict(sequences=[(131, 150)], heads=4, groups=2, size=128, page=16),
    "mixed": dict(
        sequences=[(33, 9), (5, 1), (0, 37), (64, 1), (700, 1), (0, 2)],
        heads=6, groups=2, size=80, page=16,
    ),
    "ends of tiles": dict(
        sequences=[(0, 128), (64, 64), (63, 129), (1, 127)], heads=2, groups=2, size=64, page=64
    ),
    "one group of 7": dict(
        sequences=[(700, 33), (77, 1), (0, 5)], heads=7, groups=1, size=96, page=48
    ),
    "groups of 3": dict(sequences=[(90, 40), (300, 1)], heads=12, groups=4, size=64, page=32),
    "groups of 8": dict(sequences=[(90, 40), (0, 21)], heads=16, groups=2, size=128, page=64),
    "large heads": dict(sequences=[(290, 40), (300, 1)], heads=4, groups=2, size=256, page=64),
    "one group of 70": dict(sequences=[(20, 18), (30, 1)], heads=70, groups=1, size=80, page=16),
}  # fmt: skip
# Scores are sums on tensor cores, whose float32 additions are cut off, not rounded.
SMALL = 1e-4


@pytest.fixture(autouse=True)
def on_device(monkeypatch):
    """Every op of a world runs on the GPU."""
    monkeypatch.setattr(native, "run_op", partial(native.run_op, device="cuda"))


def world(name, option, dtype, of=cpu.Step, **more):
    options, shape = dict(cpu.OPTIONS[option]), WORLDS[name]
    if options.get("slopes"):
        options["slopes"] = 2.0 ** -np.linspace(1, 8, shape["heads"])
    if options.get("sinks"):
        options["sinks"] = np.linspace(-1, 3, shape["heads"])
    return of(len(name), dtype=dtype, **shape, **options, **more)


def compare(made, y, kernel, dtype):
    """y is rounded once; the weights of tiles are, before that, as the tensor cores want them."""
    exact, size = made.exact()
    error = np.abs(y.astype(np.float64) - exact)
    tiled = kernel == "flash" and len(y) > len(made.queries)
    weights = ROUNDING[dtype if made.cache_dtype == dtype else F16] if tiled else 0
    keys = max(map(len, made.keys)) * 2.0**-25 if tiled else 0  # f16 weights below 2^-14
    bound = 1.001 * ROUNDING[dtype] * np.abs(exact) + (1.001 * weights + keys + SMALL) * size
    wrong = ~(error <= bound)
    assert not wrong.any(), (
        f"{wrong.sum()} of {wrong.size}, first at {np.argwhere(wrong)[0]}, in rows "
        f"{np.unique(np.argwhere(wrong)[:, 0])[:20]}, worst {np.nanmax(error / bound):.3g} times "
        f"the bound, {np.isnan(error).sum()} NaN"
    )


def compare_cells(made, caches):
    """Keys and values stand in their cells, and nothing else has changed."""
    expected = made.fresh_caches()
    for found, cache, content in zip(caches, expected, made.held(), strict=True):
        for s, rows in enumerate(content):
            for p in range(len(rows)):
                cache[made.pages_SM[s, p // made.page], :, p % made.page] = rows[p]
        np.testing.assert_array_equal(found.view(np.uint8), cache.view(np.uint8))


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
@pytest.mark.parametrize("option", ["plain", "all"])
@pytest.mark.parametrize("kernel", ["flash", "parts"])
@pytest.mark.parametrize("name", WORLDS)
def test_attention_is_the_weighted_mean(name, kernel, option, dtype):
    """It is softmax attention in float64 but for roundings; nothing unwritten is read."""
    made = world(name, option, dtype)
    compare(made, made.run(kernel)[0], kernel, dtype)


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
@pytest.mark.parametrize("scales", [None, (0.25, 3.0)], ids=["as they are", "scaled"])
@pytest.mark.parametrize("codes", [True, False], ids=["e4m3", "same"])
@pytest.mark.parametrize("kernel", ["flash", "parts"])
@pytest.mark.parametrize("name", WORLDS)
def test_attention_reads_what_the_cache_holds(name, kernel, codes, scales, dtype):
    """With caches in e4m3, or scaled, it is attention over what they hold times their scales."""
    made = world(name, "all", dtype, codes=codes, scales=scales)
    y, *caches = made.run(kernel)
    compare(made, y, kernel, dtype)
    compare_cells(made, caches)


@pytest.mark.parametrize("dims", [0, 32, 20], ids=["all", "32", "20"])
@pytest.mark.parametrize("interleaved", [0, 1], ids=["halves", "neighbours"])
@pytest.mark.parametrize("codes", [True, False], ids=["e4m3", "same"])
@pytest.mark.parametrize("kernel", ["flash", "parts"])
@pytest.mark.parametrize("name", ["decode", "mixed", "prefill", "large heads"])
def test_q_and_k_are_rotated(name, kernel, codes, interleaved, dims):
    """q, k and v come as one product leaves them; caches hold the keys that Rotate gives."""
    more = dict(codes=codes, interleaved=interleaved, dims=dims)
    made = world(name, "plain", BF16, of=RotaryStep, **more)
    y, *caches = made.run(kernel)
    compare(made, y, kernel, BF16)
    compare_cells(made, caches)


@pytest.mark.parametrize("codes", [True, False], ids=["e4m3", "same"])
@pytest.mark.parametrize("option", ["plain", "all"])
@pytest.mark.parametrize("name", ["prefill", "mixed", "one long", "groups of 8"])
def test_a_token_depends_on_its_sequence_only(name, option, codes):
    """By parts, cut into other steps and without neighbours, every token gets the same bits."""
    made = world(name, option, BF16, codes=codes)
    whole, *_ = made.run("parts")
    pieces, caches = [], made.fresh_caches()
    for s, queries in enumerate(made.queries):
        at = 0
        for size in [1, 3, 1, 260, 1000]:
            end = min(at + size, len(queries))
            if at < end:
                y, *caches = made.run("parts", spans=[(s, at, end)], caches=list(caches))
                pieces.append(y)
            at = end
    assert np.array_equal(np.concatenate(pieces).view(np.uint16), whole.view(np.uint16))


@pytest.mark.parametrize("kernel", ["flash", "parts"])
@pytest.mark.parametrize("new", [1, 40])
def test_pages_that_left_the_window_are_not_read(kernel, new):
    """Pages that a window has given back, whose entries point to page 0, are of no matter."""
    made = cpu.Step(
        2, [(200, new)], heads=4, groups=2, size=64, page=16, dtype=BF16, window=50
    )  # fmt: skip
    caches = made.fresh_caches()
    gone = (200 - 50 + 1) // 16
    for cache in caches:
        cache[made.pages_SM[0, :gone]] = np.nan
    made.pages_SM[0, :gone] = 0
    y, *_ = made.run(kernel, caches=caches)
    compare(made, y, kernel, BF16)


@pytest.mark.parametrize("new", [1, 20])
def test_sequences_share_pages(new):
    """Two sequences whose first pages are the same read them both."""
    made = cpu.Step(1, [(64, new), (64, new)], heads=4, groups=2, size=64, page=16, dtype=BF16)
    for content in (made.keys, made.values):
        content[1][:64] = content[0][:64]
    made.pages_SM[1, :4] = made.pages_SM[0, :4]
    compare(made, made.run("flash")[0], "flash", BF16)


def test_padding_does_no_harm():
    """Sequences of the null page beside others: what they get does not matter, others stay."""
    made = world("decode", "plain", BF16)
    alone, *_ = made.run("parts")
    made.pages_SM = np.vstack([made.pages_SM, np.zeros_like(made.pages_SM[:1])])
    made.queries.append(np.zeros_like(made.queries[0]))
    for content in (made.keys, made.values):
        content.append(np.zeros_like(content[0][:1]))
    made.cached.append(0)
    y, *_ = made.run("parts")
    assert np.array_equal(y[:3].view(np.uint16), alone.view(np.uint16))


def test_what_it_does_not_take_is_said():
    """Pages that are no multiple of 16 tokens, heads of another size, types of other caches."""
    for change, reason in [
        (dict(page=24), "pages of 24 tokens; it takes multiples of 16"),
        (dict(size=72), "heads of 72 elements; it takes 64, 80, 96, 128 and 256"),
    ]:
        shape = {**WORLDS["decode"], **change}
        with pytest.raises(ValueError, match=reason):
            cpu.Step(1, dtype=BF16, **shape).run("flash")

"""PagedAttention on CUDA by tiles, against float64."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
import test_cpu_attention as cpu
from cpu_kernels import BF16, F16, ROUNDING

from core import native

pytestmark = pytest.mark.gpu
# As (tokens cached, tokens new); steps of 16 tokens or fewer, or of one a sequence, go row by row.
WORLDS = {
    "decode": dict(sequences=[(40, 1), (3, 1), (129, 1)], heads=8, groups=2, size=64, page=16),
    "few": dict(sequences=[(700, 3), (0, 5)], heads=4, groups=4, size=128, page=64),
    "prefill": dict(sequences=[(0, 300)], heads=4, groups=4, size=128, page=64),
    "chunk": dict(sequences=[(131, 150)], heads=4, groups=2, size=128, page=16),
    "mixed": dict(sequences=[(33, 9), (0, 37), (64, 1)], heads=6, groups=2, size=80, page=16),
    "ends of tiles": dict(
        sequences=[(0, 128), (64, 64), (63, 129), (1, 127)], heads=2, groups=2, size=64, page=64
    ),
    "single tokens": dict(
        sequences=[(70, 1)] * 9 + [(0, 90)] + [(5, 1)] * 8, heads=8, groups=2, size=64, page=16
    ),
    "one group of 7": dict(sequences=[(700, 33), (0, 5)], heads=7, groups=1, size=96, page=48),
    "groups of 8": dict(sequences=[(90, 40), (0, 21)], heads=16, groups=2, size=128, page=64),
    "large heads": dict(sequences=[(290, 40), (0, 70)], heads=4, groups=2, size=256, page=64),
    "one group of 70": dict(sequences=[(20, 18)], heads=70, groups=1, size=256, page=16),
    "long": dict(sequences=[(4950, 50)], heads=2, groups=1, size=128, page=64),
}
# Scores are sums on tensor cores, whose float32 additions are cut off, not rounded: at most 1e-4
# of a weight for heads of 256. f16 weights below 2^-14 are rounded to multiples of 2^-24.
SMALL = 1e-4


@pytest.fixture(autouse=True)
def on_device(monkeypatch):
    """Every op of a world runs on the GPU."""
    monkeypatch.setattr(native, "run_op", partial(native.run_op, device="cuda"))


def world(name, option, dtype, **cache):
    options, shape = dict(cpu.OPTIONS[option]), WORLDS[name]
    if options.get("slopes"):
        options["slopes"] = 2.0 ** -np.linspace(1, 8, shape["heads"])
    if options.get("sinks"):
        options["sinks"] = np.linspace(-1, 3, shape["heads"])
    return cpu.Step(len(name), dtype=dtype, **shape, **options, **cache)


def compare(made, y, rows, dtype):
    """Weights are rounded to dtype, then y: each moves it by one rounding of what it rounds."""
    exact, size = (x[rows] for x in made.exact())
    keys = max(len(x) for x in made.keys) if dtype == F16 else 0
    error = np.abs(y.astype(np.float64) - exact)
    bound = 1.001 * ROUNDING[dtype] * (np.abs(exact) + size) + (SMALL + keys * 2.0**-25) * size
    wrong = ~(error <= bound)
    assert not wrong.any(), (
        f"{wrong.sum()} of {wrong.size}, first at {np.argwhere(wrong)[0]}, in rows "
        f"{np.unique(np.argwhere(wrong)[:, 0])[:20]}, worst {np.nanmax(error / bound):.3g} times "
        f"the bound, {np.isnan(error).sum()} NaN"
    )


def check(made, dtype):
    y, *_ = made.run("tiles")
    compare(made, y, slice(None), dtype)


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
@pytest.mark.parametrize("option", cpu.OPTIONS)
@pytest.mark.parametrize("name", WORLDS)
def test_attention_is_the_weighted_mean(name, option, dtype):
    """It equals softmax attention in float64 up to two roundings; nothing unwritten is read."""
    check(world(name, option, dtype), dtype)


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
@pytest.mark.parametrize("scales", [None, (0.25, 3.0)], ids=["as they are", "scaled"])
@pytest.mark.parametrize("codes", [True, False], ids=["e4m3", "same"])
@pytest.mark.parametrize("name", ["prefill", "mixed", "one group of 7", "large heads", "long"])
def test_attention_reads_what_the_cache_holds(name, codes, scales, dtype):
    """With caches in e4m3, or scaled, it is attention over what they hold times their scales."""
    check(world(name, "all", dtype, codes=codes, scales=scales), dtype)


@pytest.mark.parametrize("option", ["plain", "all"])
@pytest.mark.parametrize("name", ["prefill", "ends of tiles"])
def test_a_prompt_comes_in_chunks(name, option):
    """Computed chunk by chunk, every token sees all that came before."""
    made, at = world(name, option, BF16), 0
    caches = made.fresh_caches()
    for s, queries in enumerate(made.queries):
        for begin in range(0, len(queries), 45):
            end = min(begin + 45, len(queries))
            y, *caches = made.run("tiles", spans=[(s, begin, end)], caches=list(caches))
            compare(made, y, slice(at + begin, at + end), BF16)
        at += len(queries)


def test_sequences_share_pages():
    """Two sequences whose first pages are the same read them both."""
    made = cpu.Step(1, [(64, 20), (64, 30)], heads=4, groups=2, size=64, page=16, dtype=BF16)
    for content in (made.keys, made.values):
        content[1][:64] = content[0][:64]
    made.pages_SM[1, :4] = made.pages_SM[0, :4]
    check(made, BF16)


def test_pages_that_left_the_window_are_not_read():
    """Pages that a window has given back, whose entries point to page 0, are of no matter."""
    made = cpu.Step(2, [(200, 40)], heads=4, groups=2, size=64, page=16, dtype=BF16, window=50)
    caches = made.fresh_caches()
    gone = (200 - 50 + 1) // 16
    for cache in caches:
        cache[made.pages_SM[0, :gone]] = np.nan
    made.pages_SM[0, :gone] = 0
    y, *_ = made.run("tiles", caches=caches)
    compare(made, y, slice(None), BF16)

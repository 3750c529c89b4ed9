"""PagedAttention on CUDA, row by row, against float64, and against itself bit for bit."""

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
WORLDS = {
    "decode": dict(sequences=[(40, 1), (3, 1), (129, 1)], heads=8, groups=2, size=64, page=16),
    "one long": dict(sequences=[(1500, 1)], heads=4, groups=4, size=128, page=64),
    "many": dict(sequences=[(n * 7, 1) for n in range(50)], heads=32, groups=32, size=128, page=64),
    "prefill": dict(sequences=[(0, 300)], heads=4, groups=4, size=128, page=64),
    "mixed": dict(sequences=[(33, 9), (0, 37), (64, 1)], heads=6, groups=2, size=80, page=16),
    "one group": dict(sequences=[(700, 3), (0, 5)], heads=7, groups=1, size=96, page=48),
    "large heads": dict(sequences=[(290, 4)], heads=2, groups=1, size=256, page=64),
}
# Weights are powers of two to a few units of float32's last place: far below one rounding of y.
SMALL = 1e-5


@pytest.fixture(autouse=True)
def on_device(monkeypatch):
    """Every op of a world runs on the GPU."""
    run = native.run_op
    monkeypatch.setattr(native, "run_op", partial(run, device="cuda"))


def world(name, option, dtype, **cache):
    options = dict(cpu.OPTIONS[option])
    shape = WORLDS[name]
    if options.get("slopes"):
        options["slopes"] = 2.0 ** -np.linspace(1, 8, shape["heads"])
    if options.get("sinks"):
        options["sinks"] = np.linspace(-1, 3, shape["heads"])
    return cpu.Step(len(name), dtype=dtype, **shape, **options, **cache)


def check(made, dtype, kernel="rows"):
    y, *caches = made.run(kernel)
    for cache, whole in zip(caches, made.run("rows")[1:], strict=True):
        same = cache.view(np.uint8) == whole.view(np.uint8)
        assert same.all(), f"{(~same).sum()} bytes of a cache differ between kernels"
    exact, size = made.exact()
    error = np.abs(y.astype(np.float64) - exact)
    bound = 1.001 * ROUNDING[dtype] * np.abs(exact) + SMALL * size
    wrong = ~(error <= bound)
    assert not wrong.any(), (
        f"{wrong.sum()} of {wrong.size}, first at {np.argwhere(wrong)[0]}, worst "
        f"{np.nanmax(error / bound):.3g} times the bound, {np.isnan(error).sum()} NaN"
    )


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
@pytest.mark.parametrize("option", cpu.OPTIONS)
@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("kernel", ["rows", "decode"])
def test_attention_is_the_weighted_mean(kernel, name, option, dtype):
    """It equals softmax attention in float64 up to one rounding; nothing unwritten is read."""
    check(world(name, option, dtype), dtype, kernel)


@pytest.mark.parametrize("scales", [None, (0.25, 3.0)], ids=["as they are", "scaled"])
@pytest.mark.parametrize("codes", [True, False], ids=["e4m3", "same"])
@pytest.mark.parametrize("name", ["mixed", "one long", "prefill", "many"])
@pytest.mark.parametrize("kernel", ["rows", "decode"])
def test_attention_reads_what_the_cache_holds(kernel, name, codes, scales):
    """With caches in e4m3, or scaled, it is attention over what they hold times their scales."""
    check(world(name, "all", BF16, codes=codes, scales=scales), BF16, kernel)


@pytest.mark.parametrize("name, option", [("prefill", "all"), ("mixed", "plain")])
def test_a_token_depends_on_its_sequence_only(name, option):
    """Cut into other steps, with and without neighbours, every token gets the same bits."""
    made = world(name, option, BF16)
    whole, *_ = made.run("rows")
    parts, caches = [], made.fresh_caches()
    for s, queries in enumerate(made.queries):
        at = 0
        for size in [1, 3, 1, 260, 1000]:
            end = min(at + size, len(queries))
            if at < end:
                y, *caches = made.run("rows", spans=[(s, at, end)], caches=list(caches))
                parts.append(y)
            at = end
    assert np.array_equal(np.concatenate(parts).view(np.uint16), whole.view(np.uint16))

"""One op on the GPU by itself: which kernels there are, and what the test harness sees."""

import numpy as np
import pytest

from core import native
from core.command import ArgumentError, MachineError

pytestmark = pytest.mark.gpu


def test_devices_are_described():
    [first, *_] = native.devices()
    assert first["engine"] == "cuda" and first["ordinal"] == 0
    assert first["sm"] >= 80 and first["sm_count"] > 0
    assert 0 < first["free_bytes"] <= first["memory_bytes"]
    assert native.no_devices() == ""


def test_a_device_that_is_not_there_is_refused():
    """The sentence says how many there are."""
    x = np.ones((2, 64), np.float32)
    run = native.DeviceRun(device=b"cuda", ordinal=99)
    arrays = native._Arrays([x, np.ones(64, np.float32)], [np.zeros_like(x)])
    line = b"op n ::RMSNormalization in=x,w out=y"
    status = native.library().ingot_run_op_on(
        line, None, native.ctypes.byref(run), *arrays.described
    )
    with pytest.raises(MachineError, match="no GPU 99 that can be used, there are"):
        native.check(status)


def test_an_op_without_kernels_for_the_gpu_is_refused():
    x = np.ones((4, 4), np.float32)
    with pytest.raises(ArgumentError, match="Trilu on cuda"):
        native.run_op("op n ::Trilu in=x,- out=y", [x, None], [np.zeros_like(x)], device="cuda")


def test_a_kernel_that_is_not_there_is_refused_by_name():
    x = np.ones((2, 64), np.float32)
    with pytest.raises(ArgumentError, match="has no kernel 'none'"):
        native.run_op(
            "op n ::RMSNormalization in=x,w out=y", [x, x[0]], [np.zeros_like(x)],
            device="cuda", kernel="none",
        )  # fmt: skip


def test_the_time_of_an_op_is_positive_and_grows_with_it():
    def seconds(rows):
        x = np.ones((rows, 4096), np.float32)
        line = "op n ::RMSNormalization in=x,w out=y"
        return native.time_op(line, [x, x[0].copy()], [np.zeros_like(x)], repeat=5).seconds

    small, large = seconds(16), seconds(4096)
    assert 1e-7 < small < large < 1e-3

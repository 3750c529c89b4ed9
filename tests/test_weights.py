"""Lazy tensors against numpy, what they read, and how much they hold while they are written."""

import tracemalloc

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from safetensors.numpy import save_file

from core import weights
from core.command import PlanError
from core.tensor_file import Stored, read_header


class Counted(weights.Weight):
    """A tensor that remembers which rows were read."""

    def __init__(self, array, name="w"):
        super().__init__(name, ir.DataType.from_numpy(array.dtype), array.shape, name)
        self.array, self.reads = array, []

    def _rows(self, start, stop):
        self.reads.append((start, stop))
        return self.array[start:stop].copy()

    def read_once(self):
        return sorted(row for span in self.reads for row in range(*span)) == list(range(self.rows))


@pytest.fixture
def array():
    return np.random.default_rng(0).standard_normal((12, 8)).astype(np.float32)


def written(tensors, chunk_bytes=64 << 20):
    """What `write` gave to its sink, put together by name."""
    parts = {}

    def sink(weight, start, rows):
        have = parts.setdefault(weight.name, [])
        assert start == sum(len(part) if part.ndim else 1 for part in have)
        have.append(rows)

    weights.write(tensors, sink, chunk_bytes)
    return {name: np.concatenate(have) if have[0].ndim else have[0] for name, have in parts.items()}


MAKERS = {
    "slice(w, axis=0, 3:7)": (lambda w: weights.slice(w, 0, 3, 7), lambda a: a[3:7]),
    "slice(w, axis=1, 2:5)": (lambda w: weights.slice(w, -1, 2, 5), lambda a: a[:, 2:5]),
    "concat(w, w, axis=0)": (lambda w: weights.concat([w, w]), lambda a: np.concatenate([a, a])),
    "concat(w, w, axis=1)": (
        lambda w: weights.concat([w, w], 1), lambda a: np.concatenate([a, a], 1),
    ),
    "transpose(w)": (weights.transpose, lambda a: a.T),
    "stack(w, w)": (lambda w: weights.stack([w, w]), lambda a: np.stack([a, a])),
    "transpose(stack(w, w))": (
        lambda w: weights.transpose(weights.stack([w, w])), lambda a: np.stack([a.T, a.T]),
    ),
    "cast(w, float16)": (
        lambda w: weights.cast(w, ir.DataType.FLOAT16), lambda a: a.astype(np.float16),
    ),
    "cast(w, bfloat16)": (
        lambda w: weights.cast(w, ir.DataType.BFLOAT16), lambda a: a.astype(ml_dtypes.bfloat16),
    ),
    "add(w, 1)": (lambda w: weights.add(w, 1), lambda a: a + 1),
    "w": (lambda w: weights.rename(w, "other"), lambda a: a),
}  # fmt: skip


@pytest.mark.parametrize("recipe", MAKERS)
def test_makers_equal_numpy_row_by_row(recipe, array):
    """Whole, in part, in chunks and as bytes; the recipe says how; nothing is read before."""
    make, expected = MAKERS[recipe]
    source = Counted(array)
    weight, want = make(source), expected(array)
    assert not source.reads
    assert weight.recipe == recipe
    assert list(weight.shape) == list(want.shape)
    assert weight.nbytes == want.nbytes
    np.testing.assert_array_equal(weight.numpy(), want)
    np.testing.assert_array_equal(weight.read(1, 2), want[1:2])
    np.testing.assert_array_equal(written([weight], 40)[weight.name], want)
    assert weight.tobytes() == want.tobytes()


def test_a_weight_is_an_initializer_that_is_not_read(array):
    """onnx_ir takes it as a tensor, clones and asks for types, without reading it."""
    source = Counted(array)
    tape = ir.tape.Tape()
    value = tape.initializer(weights.rename(source, "mine"))
    y = tape.op("Identity", [value])
    graph = ir.Graph([], [y], nodes=tape.nodes, initializers=[value], opset_imports={"": 24})
    clone = ir.Model(graph, ir_version=11).clone()
    held = clone.graph.initializers["mine"].const_value
    assert isinstance(held, ir.TensorProtocol) and list(held.shape) == [12, 8]
    assert not source.reads


def test_four_bit_elements_are_packed_low_half_first():
    """The bytes of a 4-bit tensor hold two elements each, as ONNX has them."""
    weight = weights.constant(np.array([1, 2, -1, 7, 5], ml_dtypes.int4), "codes")
    assert weight.nbytes == 3
    assert weight.tobytes() == bytes([0x21, 0x7F, 0x05])


def test_a_scalar_is_one_row():
    """Rank 0 is read whole."""
    weight = weights.constant(np.float32(3), "x")
    assert weight.read(0, 1).shape == () and written([weight])["x"] == 3


def test_makers_refuse_what_does_not_fit(array):
    """Axes, ranges and shapes are judged when the tensor is described, not when it is read."""
    w, other = Counted(array), Counted(array[:, :4], "other")
    for wrong in (
        lambda: weights.slice(w, 2, 0, 1),
        lambda: weights.slice(w, 0, 5, 13),
        lambda: weights.concat([w, other]),
        lambda: weights.stack([w, other]),
        lambda: weights.concat([w, weights.cast(w, ir.DataType.FLOAT16)]),
        lambda: weights.transpose(weights.constant(np.zeros(3), "z")),
        lambda: weights.derive(w, None, [("a", ir.DataType.FLOAT, [5, 1])], "f"),
        lambda: weights.derive(w, None, [("a", ir.DataType.FLOAT, [12])], "f", rows=5),
    ):
        with pytest.raises(ValueError):
            wrong()
    with pytest.raises(IndexError):
        w.read(3, 13)


def test_a_value_that_a_dtype_cannot_hold_is_an_error():
    """float16 ends at 65504: a larger weight is told, not turned into infinity."""
    w = weights.constant(np.array([[1.0, 1e5]], np.float32), "big")
    with pytest.raises(
        PlanError, match=r"holds 100000, which float16 cannot; choose dtype=bfloat16"
    ):
        weights.cast(w, ir.DataType.FLOAT16).numpy()


def quantized(w, block=1):
    """int8 codes and a scale for each `block` rows."""

    def function(rows):
        parts = rows.astype(np.float32).reshape(-1, block * rows.shape[1])
        scale = np.abs(parts).max(1, keepdims=True) / 127
        return np.rint(parts / scale).astype(np.int8).reshape(rows.shape), scale

    F, D = w.shape
    outputs = [("codes", ir.DataType.INT8, [F, D]), ("scale", ir.DataType.FLOAT, [F // block, 1])]
    return weights.derive(w, function, outputs, "int8(…, scale=channel)", rows=block)


@pytest.mark.parametrize("block", [1, 4])
@pytest.mark.parametrize("chunk", [1, 300, 1 << 20])
def test_siblings_share_one_reading(array, block, chunk):
    """Every row of the source is read once for codes and scales, however small the chunks."""
    source = Counted(array)
    codes, scale = quantized(source, block)
    got = written([codes, scale], chunk)
    assert source.read_once()
    again = np.repeat(got["scale"], block, axis=0) * got["codes"]
    np.testing.assert_allclose(again, array, atol=got["scale"].max() / 2 + 1e-6)
    assert codes.recipe == "int8(w, scale=channel)[0]"
    assert scale.recipe == "int8(w, scale=channel)[1]"


def test_fused_siblings_share_one_reading(array):
    """Codes of q, k and v joined and their scales joined still read each source once."""
    sources = [Counted(array, name) for name in "qkv"]
    pairs = [quantized(source) for source in sources]
    codes = weights.rename(weights.concat([c for c, _ in pairs]), "codes")
    scale = weights.rename(weights.concat([s for _, s in pairs]), "scale")
    got = written([codes, scale], 500)
    assert all(source.read_once() for source in sources)
    np.testing.assert_array_equal(got["codes"][12:24], quantized(sources[1])[0].numpy())


def test_a_function_that_needs_all_rows_gets_them(array):
    """rows=None: one call with the whole tensor; the scale may be a scalar."""
    source, calls = Counted(array), []

    def function(rows):
        calls.append(rows.shape)
        return rows * 0, np.abs(rows).max()

    outputs = [("zero", ir.DataType.FLOAT, [12, 8]), ("peak", ir.DataType.FLOAT, [])]
    zero, peak = weights.derive(source, function, outputs, "peak(…)", rows=None)
    assert written([zero, peak], 64)["peak"] == np.abs(array).max()
    assert calls == [(12, 8)]


def test_a_function_that_breaks_its_word_is_named(array):
    """Another dtype than was declared is an error that names the recipe."""
    outputs = [("a", ir.DataType.FLOAT, [12, 8])]
    [wrong] = weights.derive(Counted(array), lambda rows: rows.astype(np.int8), outputs, "f(x=1)")
    with pytest.raises(ValueError, match=r"f\(w, x=1\): the function gave int8\[12, 8\]"):
        wrong.numpy()


@pytest.mark.parametrize(
    "dtype", [np.float32, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.int8]
)
def test_rows_of_a_file(tmp_path, dtype):
    """Rows read from a file equal what safetensors wrote, in every kind of dtype."""
    array = np.random.default_rng(0).standard_normal((5, 6)).astype(dtype)
    save_file({"a": np.zeros(3, np.float32), "b": array}, tmp_path / "x.safetensors")
    entries = read_header(tmp_path / "x.safetensors")
    weight = Stored("b", tmp_path / "x.safetensors", entries["b"])
    assert weight.read(2, 4).tobytes() == array[2:4].tobytes()
    assert weight.tobytes() == array.tobytes()


def test_memory_is_bounded_by_the_chunk(tmp_path):
    """Fusing, casting and quantizing 32 MB holds a few chunks of 1 MB at a time."""
    path, shape = tmp_path / "x.safetensors", (2048, 2048)
    save_file({name: np.ones(shape, np.float32) for name in "ab"}, path)
    entries = read_header(path)
    fused = weights.concat([Stored(name, path, entries[name]) for name in "ab"])
    fused = weights.cast(fused, ir.DataType.BFLOAT16)
    codes, scale = quantized(fused)
    tracemalloc.start()
    weights.write([codes, scale], lambda *_: None, 1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 << 20

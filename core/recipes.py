"""Lazy tensors: each knows its dtype, its shape and how its rows come from other tensors.

Nothing is read before rows are asked for. A tensor's recipe says in words how it is made:
`cast(concat(model.layers.0.self_attn.q_proj.weight, …, axis=0), float16)`; the names are the
checkpoint's. Rows are the entries of axis 0; a scalar has one row.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from .command import PlanError

# A finite number of another type may become infinite in these.
NARROW = (ir.DataType.FLOAT16, ir.DataType.FLOAT8E4M3FN, ir.DataType.FLOAT8E5M2)
INLINE_ELEMENTS = 8  # a constant up to this size is written out in its recipe


class Weight(ir.TensorProtocol):
    """A tensor that is read row by row when it is written, fit to be an initializer's value."""

    def __init__(
        self,
        name: str,
        dtype: ir.DataType,
        shape: Sequence[int],
        recipe: str,
        sources: tuple[Weight, ...] = (),
        whole: bool = False,
    ):
        self.name = name
        self.dtype = ir.DataType(dtype)
        self.shape = ir.Shape(shape, frozen=True)
        self.recipe = recipe
        self.sources = sources
        self.whole = whole or any(source.whole for source in sources)  # rows need all of it
        self.doc_string = None
        self.metadata_props: dict[str, str] = {}
        self.meta: dict[str, object] = {}

    @property
    def rows(self) -> int:
        return self.shape[0] if len(self.shape) else 1

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return math.ceil(self.dtype.itemsize * self.size)

    @property
    def raw(self) -> Weight:
        """No data: isinstance of a protocol evaluates every property, and would read it."""
        return self

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows from `start` up to `stop`, in the tensor's dtype. Belongs to the caller."""
        if not 0 <= start <= stop <= self.rows:
            raise IndexError(f"{self.name}: rows {start}:{stop} of {self.rows} were asked for")
        return self._rows(start, stop)

    def _rows(self, start: int, stop: int) -> np.ndarray:
        raise NotImplementedError

    def numpy(self) -> np.ndarray:
        return self.read(0, self.rows)

    def tobytes(self) -> bytes:
        """Little endian; 4-bit elements two in a byte, the first in the low half."""
        return ir.Tensor(self.numpy(), dtype=self.dtype).tobytes()

    def tofile(self, file) -> None:
        file.write(self.tobytes())

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    def __dlpack__(self, *, stream=None):
        return self.numpy().__dlpack__()

    def __dlpack_device__(self):
        return (1, 0)  # the CPU

    def __repr__(self) -> str:
        return f"Weight({self.name}: {self.dtype}{list(self.shape)} = {self.recipe})"


class Constant(Weight):
    """An array that is already there."""

    def __init__(self, array: np.ndarray, name: str):
        dtype = ir.DataType.from_numpy(array.dtype)
        if array.size <= INLINE_ELEMENTS:
            said = str(array.tolist())
        else:
            said = f"{list(array.shape)}, sha256={hashlib.sha256(array.tobytes()).hexdigest()[:16]}"
        super().__init__(name, dtype, array.shape, f"constant({array.dtype}, {said})")
        self._array = array

    def _rows(self, start, stop):
        return self._array[start:stop].copy() if self._array.ndim else self._array.copy()


class Renamed(Weight):
    """The same tensor under another name."""

    def __init__(self, source: Weight, name: str):
        super().__init__(name, source.dtype, source.shape, source.recipe, (source,))

    def _rows(self, start, stop):
        return self.sources[0].read(start, stop)


class Slice(Weight):
    """Entries from `start` up to `stop` of one axis."""

    def __init__(self, source: Weight, axis: int, start: int, stop: int):
        shape = list(source.shape)
        shape[axis] = stop - start
        recipe = f"slice({source.recipe}, axis={axis}, {start}:{stop})"
        super().__init__(source.name, source.dtype, shape, recipe, (source,))
        self.axis, self.start = axis, start

    def _rows(self, start, stop):
        [source] = self.sources
        if self.axis == 0:
            return source.read(self.start + start, self.start + stop)
        chosen = (np.s_[:],) * self.axis
        stop_column = self.start + self.shape[self.axis]
        rows = source.read(start, stop)[(*chosen, np.s_[self.start : stop_column])]
        return np.ascontiguousarray(rows)


class Concat(Weight):
    """Tensors one after the other along an axis."""

    def __init__(self, sources: Sequence[Weight], axis: int):
        first = sources[0]
        shape = list(first.shape)
        shape[axis] = sum(source.shape[axis] for source in sources)
        recipe = f"concat({', '.join(source.recipe for source in sources)}, axis={axis})"
        super().__init__(first.name, first.dtype, shape, recipe, tuple(sources))
        self.axis = axis

    def _rows(self, start, stop):
        if self.axis:
            parts = [source.read(start, stop) for source in self.sources]
            return np.concatenate(parts, axis=self.axis)
        parts, first = [], 0
        for source in self.sources:
            low, high = max(start - first, 0), min(stop - first, source.rows)
            if low < high:
                parts.append(source.read(low, high))
            first += source.rows
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else self.sources[0].read(0, 0)


class Stack(Weight):
    """Equal tensors along a new first axis."""

    def __init__(self, sources: Sequence[Weight]):
        first = sources[0]
        recipe = f"stack({', '.join(source.recipe for source in sources)})"
        shape = [len(sources), *first.shape]
        super().__init__(first.name, first.dtype, shape, recipe, tuple(sources))
        self.whole = False  # a row is one whole source

    def _rows(self, start, stop):
        array = np.empty((stop - start, *self.shape[1:]), self.dtype.numpy())
        for row, source in zip(array, self.sources[start:stop], strict=True):
            row[...] = source.numpy()
        return array


class Transpose(Weight):
    """The last two axes exchanged."""

    def __init__(self, source: Weight):
        *front, rows, columns = source.shape
        recipe = f"transpose({source.recipe})"
        shape = [*front, columns, rows]
        super().__init__(source.name, source.dtype, shape, recipe, (source,), whole=not front)

    def _rows(self, start, stop):
        [source] = self.sources
        rows = source.read(start, stop) if len(self.shape) > 2 else source.numpy()
        turned = rows.swapaxes(-1, -2)
        return np.ascontiguousarray(turned if len(self.shape) > 2 else turned[start:stop])


class Cast(Weight):
    """The nearest values of another dtype."""

    def __init__(self, source: Weight, dtype: ir.DataType):
        recipe = f"cast({source.recipe}, {dtype.numpy().name})"
        super().__init__(source.name, dtype, source.shape, recipe, (source,))

    def _rows(self, start, stop):
        [source] = self.sources
        rows = source.read(start, stop)
        with np.errstate(over="ignore", invalid="ignore"):
            cast = rows.astype(self.dtype.numpy())
        if self.dtype in NARROW:
            lost = np.isfinite(rows.astype(np.float32)) & ~np.isfinite(cast.astype(np.float32))
            if lost.any():
                worst = np.abs(rows[lost].astype(np.float32)).max()
                raise PlanError(
                    f"{source.recipe} holds {worst:g}, which {cast.dtype} cannot; "
                    "choose dtype=bfloat16 or dtype=float32"
                )
        return cast


class Add(Weight):
    """A number more, summed in float32."""

    def __init__(self, source: Weight, number: float):
        recipe = f"add({source.recipe}, {number})"
        super().__init__(source.name, source.dtype, source.shape, recipe, (source,))
        self._number = np.float32(number)

    def _rows(self, start, stop):
        rows = self.sources[0].read(start, stop).astype(np.float32)
        return (rows + self._number).astype(self.dtype.numpy())


class Derivation:
    """What siblings share: a function of a tensor's rows, and its last result.

    Siblings that are written together ask for the same rows one after the other, so that the
    source is read, and the function called, once for them all.
    """

    def __init__(self, source: Weight, function: Callable, rows: int | None, formula=None):
        self.source, self.function, self.step = source, function, rows or source.rows
        self.formula = formula  # a CodesFormula that says what the function does
        self.outputs: list[Weight] = []
        self._span: tuple[int, int] | None = None
        self._results: tuple[np.ndarray, ...] = ()

    @property
    def blocks(self) -> int:
        return max(1, self.source.rows // self.step)

    def results(self, first: int, last: int) -> tuple[np.ndarray, ...]:
        """All outputs for the blocks from `first` up to `last`."""
        if self._span != (first, last):
            self.forget()
            rows = self.source.read(first * self.step, last * self.step)
            results = self.function(rows)
            results = results if isinstance(results, tuple | list) else (results,)
            self._check(results, last - first)
            self._span, self._results = (first, last), tuple(results)
        return self._results

    def forget(self) -> None:
        self._span, self._results = None, ()

    def _check(self, results, blocks: int) -> None:
        for output, array in zip(self.outputs, results, strict=True):
            shape = tuple(output.shape)
            if shape:
                shape = (shape[0] // self.blocks * blocks, *shape[1:])
            if array.shape != shape or array.dtype != output.dtype.numpy():
                raise ValueError(
                    f"{output.recipe}: the function gave {array.dtype}{list(array.shape)}, but "
                    f"{output.dtype}{list(shape)} was declared"
                )


class Derived(Weight):
    """One output of a derivation."""

    def __init__(self, derivation: Derivation, index: int, name, dtype, shape, recipe, whole: bool):
        super().__init__(name, dtype, shape, recipe, (derivation.source,), whole)
        self.derivation, self.index = derivation, index

    def _rows(self, start, stop):
        if not len(self.shape):
            return np.array(self.derivation.results(0, 1)[self.index])
        each = self.rows // self.derivation.blocks
        first, last = start // each, -(-stop // each)
        rows = self.derivation.results(first, last)[self.index]
        return rows[start - first * each : stop - first * each].copy()

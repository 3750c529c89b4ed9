"""weights.safetensors, written in one pass over the tensors; core/weight_layout.py says where what
lies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from core import weight_layout, weights

from .sequential_hash import SequentialHash


@dataclass(frozen=True)
class WeightFile:
    """A file that has been written."""

    header: int  # bytes before the data
    header_sha256: str
    sha256: str
    tensors: dict[str, weight_layout.Placed]

    def offsets(self) -> dict[str, int]:
        """Where the bytes of each tensor begin in the file."""
        return {name: self.header + entry.offset for name, entry in self.tensors.items()}


def write(path: Path, tensors: Sequence[weights.Weight]) -> WeightFile:
    """`path` holds `tensors` in this order, each read once, a few rows at a time."""
    placed = weight_layout.placed(tensors)
    header = weight_layout.header(placed)
    homes = {entry.weight: entry for entry in placed if entry.weight is not None}
    with open(path, "wb+", buffering=0) as file:
        whole = SequentialHash(file)
        whole.put(0, header)
        for entry in placed:
            if entry.weight is None:
                whole.put(len(header) + entry.offset, bytes(entry.bytes))

        def sink(weight: weights.Weight, start: int, rows: np.ndarray) -> None:
            entry, view = homes[weight], _bytes(weight, rows)
            entry.digest.update(view)
            whole.put(len(header) + entry.offset + entry.written, view)
            entry.written += len(view)

        weights.write(tensors, sink)
        short = [entry.name for entry in homes.values() if entry.written != entry.bytes]
        assert not short, short
        return WeightFile(
            len(header),
            hashlib.sha256(header).hexdigest(),
            whole.finish(),
            {entry.name: entry for entry in homes.values()},
        )


def _bytes(weight: weights.Weight, rows: np.ndarray) -> memoryview:
    """The bytes of some rows as they lie in the file."""
    if weight.dtype in weight_layout.HALVES:
        return memoryview(ir.Tensor(rows, dtype=weight.dtype).tobytes())
    flat = np.ascontiguousarray(rows).reshape(-1)
    return memoryview(flat.view(np.uint8))

"""weights.safetensors: every tensor begins at a multiple of 256 bytes of the file, without holes.

Tensors `pad.N` of bytes fill what lies between two others, since readers of the format refuse
holes. https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir

from core import weights
from core.tensor_file import DTYPES

from .sequential_hash import SequentialHash

ALIGNMENT = 256  # bytes: what vector loads, copies and GPUs want at most
WORDS = {dtype: word for word, dtype in DTYPES.items()}
HALVES = (ir.DataType.UINT4, ir.DataType.INT4)  # two elements in a byte, stored as U8


@dataclass
class Placed:
    """One tensor of the file; `weight` is None for what fills a hole."""

    name: str
    offset: int  # in bytes, from the beginning of the data
    bytes: int
    dtype: str
    shape: list[int]
    weight: weights.Weight | None = None
    digest: object = field(default_factory=hashlib.sha256)
    written: int = 0


@dataclass(frozen=True)
class WeightFile:
    """A file that has been written."""

    header: int  # bytes before the data
    header_sha256: str
    sha256: str
    tensors: dict[str, Placed]

    def offsets(self) -> dict[str, int]:
        """Where the bytes of each tensor begin in the file."""
        return {name: self.header + entry.offset for name, entry in self.tensors.items()}


def write(path: Path, tensors: Sequence[weights.Weight]) -> WeightFile:
    """`path` holds `tensors` in this order, each read once, a few rows at a time."""
    placed = _placed(tensors)
    header = _header(placed)
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


def _placed(tensors: Sequence[weights.Weight]) -> list[Placed]:
    """The tensors with their places, and what fills the holes between them."""
    names, placed, end, pads = {tensor.name for tensor in tensors}, [], 0, 0
    for tensor in tensors:
        if hole := -end % ALIGNMENT:
            while f"pad.{pads}" in names:
                pads += 1
            placed.append(Placed(f"pad.{pads}", end, hole, "U8", [hole]))
            pads, end = pads + 1, end + hole
        dtype, shape = _stored(tensor)
        placed.append(Placed(tensor.name, end, tensor.nbytes, dtype, shape, tensor))
        end += tensor.nbytes
    return placed


def _stored(tensor: weights.Weight) -> tuple[str, list[int]]:
    """The type and shape under which the file keeps a tensor."""
    shape = list(tensor.shape)
    if tensor.dtype in HALVES:
        return "U8", [*shape[:-1], shape[-1] // 2]
    return WORDS[tensor.dtype], shape


def _header(placed: Sequence[Placed]) -> bytes:
    """The length and the JSON, filled up with spaces so that the data is aligned too."""
    table = {
        entry.name: {
            "dtype": entry.dtype,
            "shape": entry.shape,
            "data_offsets": [entry.offset, entry.offset + entry.bytes],
        }
        for entry in placed
    }
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _bytes(weight: weights.Weight, rows: np.ndarray) -> memoryview:
    """The bytes of some rows as they lie in the file."""
    if weight.dtype in HALVES:
        return memoryview(ir.Tensor(rows, dtype=weight.dtype).tobytes())
    flat = np.ascontiguousarray(rows).reshape(-1)
    return memoryview(flat.view(np.uint8))

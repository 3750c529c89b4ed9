"""The layout of weights.safetensors: every tensor begins at a multiple of 256 bytes, without holes.

Tensors `pad.N` of bytes fill what lies between two others, since readers of the format refuse
holes. https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from .recipes import Weight
from .tensor_file import DTYPES

NAME = "weights.safetensors"
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
    weight: Weight | None = None
    digest: object = field(default_factory=hashlib.sha256)
    written: int = 0


def placed(tensors: Sequence[Weight]) -> list[Placed]:
    """The tensors with their places, and what fills the holes between them."""
    names, places, end, pads = {tensor.name for tensor in tensors}, [], 0, 0
    for tensor in tensors:
        if hole := -end % ALIGNMENT:
            while f"pad.{pads}" in names:
                pads += 1
            places.append(Placed(f"pad.{pads}", end, hole, "U8", [hole]))
            pads, end = pads + 1, end + hole
        dtype, shape = _stored(tensor)
        places.append(Placed(tensor.name, end, tensor.nbytes, dtype, shape, tensor))
        end += tensor.nbytes
    return places


def _stored(tensor: Weight) -> tuple[str, list[int]]:
    """The type and shape under which the file keeps a tensor."""
    shape = list(tensor.shape)
    if tensor.dtype in HALVES:
        return "U8", [*shape[:-1], shape[-1] // 2]
    return WORDS[tensor.dtype], shape


def header(places: Sequence[Placed]) -> bytes:
    """The length and the JSON, filled up with spaces so that the data is aligned too."""
    table = {
        entry.name: {
            "dtype": entry.dtype,
            "shape": entry.shape,
            "data_offsets": [entry.offset, entry.offset + entry.bytes],
        }
        for entry in places
    }
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def file_bytes(tensors: Sequence[Weight]) -> int:
    """The size of the file that holds `tensors`."""
    places = placed(tensors)
    return len(header(places)) + sum(entry.bytes for entry in places)

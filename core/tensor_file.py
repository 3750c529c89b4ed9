"""One safetensors file: its header, judged before anything is believed, and its tensors, read late.

Format: 8 bytes little endian with the length of the header, a JSON object {name: {"dtype",
"shape", "data_offsets"}}, then the bytes. https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from .command import PlanError
from .recipes import Weight

MAX_HEADER_BYTES = 100_000_000  # what the format's own library allows
MAX_RANK = 8
DTYPES = {
    "BOOL": ir.DataType.BOOL,
    "U8": ir.DataType.UINT8,
    "I8": ir.DataType.INT8,
    "U16": ir.DataType.UINT16,
    "I16": ir.DataType.INT16,
    "U32": ir.DataType.UINT32,
    "I32": ir.DataType.INT32,
    "U64": ir.DataType.UINT64,
    "I64": ir.DataType.INT64,
    "F16": ir.DataType.FLOAT16,
    "BF16": ir.DataType.BFLOAT16,
    "F32": ir.DataType.FLOAT,
    "F64": ir.DataType.DOUBLE,
    "F8_E4M3": ir.DataType.FLOAT8E4M3FN,
    "F8_E5M2": ir.DataType.FLOAT8E5M2,
}


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies: its bytes are [begin, end) of the file."""

    dtype: ir.DataType
    shape: tuple[int, ...]
    begin: int
    end: int


class Stored(Weight):
    """A tensor in a file, of which only the rows asked for are read.

    Plain reads, not a mapping: pages of a mapping would count as this process's memory.
    """

    def __init__(self, name: str, path: Path, entry: Entry):
        super().__init__(name, entry.dtype, entry.shape, name)
        self.path, self._begin = path, entry.begin

    def _rows(self, start, stop):
        shape = (stop - start, *self.shape[1:]) if len(self.shape) else ()
        array = np.empty(shape, self.dtype.numpy())
        view = memoryview(array.reshape(-1).view(np.uint8))
        done, place = 0, self._begin + start * (self.nbytes // max(1, self.rows))
        with open(self.path, "rb", buffering=0) as file:
            file.seek(place)
            while done < len(view):
                count = file.readinto(view[done:])
                if not count:
                    raise PlanError(
                        f"{self.path} ended while {self.name} was read, at byte {place + done:,}; "
                        "it has changed since the build began"
                    )
                done += count
        return array


def read_header(path: Path) -> dict[str, Entry]:
    """The tensors of a file.

    Raises:
        PlanError: the file is damaged, cut short, or holds what cannot be read.
    """
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
                raise PlanError(_no_header(path, size, length))
            text = file.read(length)
    except OSError as error:
        raise PlanError(f"{path} cannot be read: {error.strerror}") from error
    entries = dict(_entries(path, _parsed(path, text), 8 + length))
    _check_ranges(path, entries, 8 + length, size)
    return entries


def _no_header(path: Path, size: int, length: int) -> str:
    if size < 8:
        return f"{path} has {size} bytes, too few for a safetensors file; download it again"
    if length > MAX_HEADER_BYTES:
        return (
            f"{path}: its header would be {length:,} bytes, at most {MAX_HEADER_BYTES:,} are "
            "allowed; it is no safetensors file, or damaged: download it again"
        )
    return (
        f"{path}: its header is {length:,} bytes, but the file has only {size:,}; "
        "it was cut short: download it again"
    )


def _parsed(path: Path, text: bytes) -> dict:
    def unique(pairs):
        table = dict(pairs)
        if len(table) < len(pairs):
            names = [name for name, _ in pairs]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise PlanError(f"{path}: its header names {', '.join(twice)} twice; download it again")
        return table

    try:
        header = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{path}: its header is not JSON ({error}); download it again") from error
    if not isinstance(header, dict):
        raise PlanError(f"{path}: its header is not a JSON object; download it again")
    header.pop("__metadata__", None)
    return header


def _entries(path: Path, header: dict, data: int) -> Iterator[tuple[str, Entry]]:
    for name, said in header.items():
        said = said if isinstance(said, dict) else {}
        shape, offsets = said.get("shape"), said.get("data_offsets")
        placed = _counts(offsets) and len(offsets) == 2
        if not (placed and _counts(shape) and len(shape) <= MAX_RANK):
            raise PlanError(
                f"{path}: the header says {json.dumps(said)[:200]} of {name}, which is no shape "
                "and place; download it again"
            )
        if said.get("dtype") not in DTYPES:
            raise PlanError(
                f"{path}: {name} has dtype {said.get('dtype')}, which cannot be read "
                f"(known: {', '.join(DTYPES)})"
            )
        dtype = DTYPES[said["dtype"]]
        need, have = math.prod(shape) * dtype.itemsize, offsets[1] - offsets[0]
        if need != have:
            raise PlanError(
                f"{path}: {name} is {said['dtype']} {shape}, {int(need):,} bytes, but the header "
                f"gives it {have:,}; download it again"
            )
        yield name, Entry(dtype, tuple(shape), data + offsets[0], data + offsets[1])


def _counts(numbers) -> bool:
    return isinstance(numbers, list) and all(type(n) is int and 0 <= n < 1 << 62 for n in numbers)


def _check_ranges(path: Path, entries: dict[str, Entry], data: int, size: int) -> None:
    """The tensors lie one after the other, and end where the file ends."""
    end, before = data, ""
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin < end:
            raise PlanError(f"{path}: {before} and {name} overlap; download it again")
        end, before = max(end, entry.end), name
    if size < end:
        raise PlanError(
            f"{path} was cut short: its header describes {end:,} bytes, the file has {size:,}; "
            "download it again"
        )
    if size > end:
        raise PlanError(
            f"{path} has {size - end:,} bytes more than its header describes ({size:,}, not "
            f"{end:,}); download it again"
        )

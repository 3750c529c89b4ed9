"""Random weights that are said in plan.txt instead of being written: an engine makes them itself.

A weight that is nothing but rows of random matrices, one below the other, is those rows' numbers;
one that quantization made of such rows is its formula over them. Others are written as bytes.

    weight NAME bf16 256,64 random=SEED:OFFSET:ROWS:COLUMNS:SCALE,…
    weight NAME f8e4m3 256,64 random=… made=codes:bf16:f8e4m3:64:f32:0

Element (row, column) of a part is number OFFSET + row · COLUMNS + column of the sequence SEED (see
ingot_random in ingot.h), or 1 where SCALE is `ones`. `made` says which part of the quantization
this is, the type of the random numbers, of the codes, the columns that share a scale, the type of
scales, and whether there are zero points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from .op_line import dtype_word
from .random_checkpoint import Random
from .recipes import Concat, Derived, Renamed, Slice, Weight

PARTS = ("codes", "scales", "zero_points")  # the outputs of a quantization, in order
HALVES = (ir.DataType.INT4, ir.DataType.UINT4)  # two share a byte
FLOATS = ("f32", "f16", "bf16")
ENGINES = ("cuda",)  # that make weights


@dataclass(frozen=True)
class CodesFormula:
    """What a function of a weight's rows gives: codes, their scales and perhaps zero points.

    f8e4m3 as plugins/quant/fp8_codes.py says, with one scale a row; integers as groups.py does.
    """

    codes: ir.DataType  # FLOAT8E4M3FN, INT8, INT4 or UINT4
    group: int  # columns that share a scale
    scale: ir.DataType  # of scales
    zero_points: bool = False


@dataclass(frozen=True)
class Rows:
    """Rows of one random matrix."""

    seed: int
    offset: int  # of the first number
    rows: int
    columns: int
    scale: float | None  # None: ones

    def word(self) -> str:
        scale = "ones" if self.scale is None else str(np.float32(self.scale))
        return f"{self.seed}:{self.offset}:{self.rows}:{self.columns}:{scale}"

    def cut(self, start: int, stop: int) -> Rows:
        offset = self.offset + start * self.columns
        return replace(self, offset=offset, rows=stop - start)


@dataclass(frozen=True)
class MadeWeight:
    """What stands behind a weight's type and sizes in plan.txt."""

    parts: tuple[Rows, ...]
    source: str  # the type of the random numbers
    formula: CodesFormula | None = None
    part: str = ""  # of the formula's outputs

    def words(self) -> str:
        said = f"random={','.join(rows.word() for rows in self.parts)}"
        if self.formula is None:
            return said
        codes, scale = dtype_word(self.formula.codes), dtype_word(self.formula.scale)
        form = f"{codes}:{self.formula.group}:{scale}:{int(self.formula.zero_points)}"
        return f"{said} made={self.part}:{self.source}:{form}"


def split(weights: list[Weight], engine: str) -> tuple[list[Weight], dict[str, MadeWeight]]:
    """The weights whose bytes `engine` reads, and by name those that it makes."""
    if engine not in ENGINES:
        return list(weights), {}
    found = {weight.name: made_of(weight) for weight in weights}
    made = {name: made for name, made in found.items() if made is not None}
    return [weight for weight in weights if weight.name not in made], made


def made_of(weight: Weight) -> MadeWeight | None:
    """How the weight is made; None if there is no such description of it."""
    match weight:
        case Random():
            rows = Rows(weight.seed, 0, weight.rows, weight.columns, weight.scale)
            word = dtype_word(weight.dtype)
            return MadeWeight((rows,), word) if word in FLOATS else None
        case Renamed():
            return made_of(weight.sources[0])
        case Slice() if weight.axis == 0:
            whole = made_of(weight.sources[0])
            return whole and _cut(whole, weight.start, weight.start + weight.rows)
        case Concat() if weight.axis == 0:
            return _joined([made_of(source) for source in weight.sources])
        case Derived():
            return _quantized(weight)
    return None


def _quantized(weight: Derived) -> MadeWeight | None:
    source, formula = made_of(weight.derivation.source), weight.derivation.formula
    if source is None or source.formula is not None or formula is None:
        return None
    part = PARTS[weight.index]
    if formula.codes in HALVES:  # a byte must not belong to two parts
        groups = sum(rows.rows * (rows.columns // formula.group) for rows in source.parts)
        if (groups if part == "zero_points" else formula.group) % 2:
            return None
    return MadeWeight(source.parts, source.source, formula, part)


def _cut(made: MadeWeight, start: int, stop: int) -> MadeWeight | None:
    parts, first = [], 0
    for rows in made.parts:
        low, high = max(start - first, 0), min(stop - first, rows.rows)
        if low < high:
            parts.append(rows.cut(low, high))
        first += rows.rows
    halves = made.part == "zero_points" and made.formula.codes in HALVES
    return None if halves else replace(made, parts=tuple(parts))


def _joined(each: list[MadeWeight | None]) -> MadeWeight | None:
    first = each[0]
    if first is None:
        return None
    for made in each:
        if made is None or replace(made, parts=first.parts) != first:
            return None
    return replace(first, parts=tuple(rows for made in each for rows in made.parts))

"""The op rows of the compiled half and of plugins' libraries: signatures, ONNX schemas, reference.

A row is what the C++ source of an op says about it (kernels/include/ingot_op.h). T tokens stand in
a shape as the word `T`; a type `X:f32|bf16` ties every argument that says X.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from . import native
from .command import ConfigError
from .op_line import DTYPES

TENSORS = {
    "f32": "float", "u8": "uint8", "i8": "int8", "i32": "int32", "i64": "int64", "bool": "bool",
    "f16": "float16", "bf16": "bfloat16", "f8e4m3": "float8e4m3fn", "f8e5m2": "float8e5m2",
    "u4": "uint4", "i4": "int4",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Argument:
    """An input or output."""

    name: str
    shape: str  # words, or "..."
    type: str  # "f32|bf16", "X:f32|bf16", or of an output "=attribute"
    role: str = "activation"  # activation weight state step host
    optional: bool = False
    variadic: bool = False
    alias: int = -1  # of an output: the input whose memory it may take over

    @property
    def letter(self) -> str:
        """What ties its type to others': `X` of `X:f32|bf16`."""
        head, colon, _ = self.type.partition(":")
        return head if colon or (head not in DTYPES and "|" not in head) else ""

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The words of the types that it may have; empty where its letter or attribute decides."""
        words = self.type.partition(":")[2] or self.type
        return tuple(word for word in words.split("|") if word in DTYPES)


@dataclass(frozen=True, eq=False)
class Attribute:
    name: str
    type: str  # int float string ints floats dtype
    default: str | None = None  # as text; None: it must be given


@dataclass(frozen=True, eq=False)
class Kernel:
    name: str
    device: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Row:
    """One op."""

    domain: str
    name: str
    version: int
    doc: str
    inputs: tuple[Argument, ...]
    outputs: tuple[Argument, ...]
    attributes: tuple[Attribute, ...]
    kernels: tuple[Kernel, ...]
    library: str | None = None  # None: built in
    # Arguments of which CUDA takes fewer types, and which; None: Ingot has no kernel for it there.
    cuda: Mapping[str, tuple[str, ...]] | None = None

    @property
    def operator(self) -> str:
        return f"{self.domain or 'ai.onnx'}::{self.name}"

    def input(self, place: int) -> Argument | None:
        """The argument at `place`; the last repeats if it is variadic."""
        return _argument(self.inputs, place)

    def output(self, place: int) -> Argument | None:
        return _argument(self.outputs, place)


class Rows:
    """All rows that this process knows: the built-in ones and those of registered libraries."""

    def __init__(self):
        self._rows = _table(tuple(_registered))

    def row(self, domain: str, name: str) -> Row | None:
        return self._rows.get(("" if domain == "ai.onnx" else domain, name))

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())


# Like the registry of onnx that it is published in, this belongs to the process.
_registered: list[str] = []


def register(libraries: Iterable[str] = ()) -> Rows:
    """The rows, those of `libraries` included; from now on onnx's checker knows them too.

    Raises:
        ConfigError: two libraries have an op of one name.
    """
    from .op_schemas import publish

    _registered[:] = [str(library) for library in libraries]
    rows = Rows()
    publish(row for row in rows if row.domain)
    return rows


@lru_cache(maxsize=16)
def _table(libraries: tuple[str, ...]) -> dict[tuple[str, str], Row]:
    rows = {(o["domain"], o["name"]): _row(o) for o in native.op_table()["ops"]}
    built_in = set(rows)
    for library in libraries:
        for entry in native.op_table(library)["ops"]:
            key = (entry["domain"], entry["name"])
            if key in built_in:
                continue
            if key in rows:
                raise ConfigError(
                    f"{library} and {rows[key].library} both have the op {'::'.join(key)}; choose "
                    "plugins of which one brings it"
                )
            rows[key] = _row(entry, library)
    return rows


def _row(entry: dict, library: str | None = None) -> Row:
    return Row(
        entry["domain"],
        entry["name"],
        entry["version"],
        entry.get("doc", ""),
        tuple(Argument(**arg) for arg in entry["inputs"]),
        tuple(Argument(**arg) for arg in entry["outputs"]),
        tuple(Attribute(**attribute) for attribute in entry["attributes"]),
        tuple(Kernel(k["name"], k["device"], tuple(k["flags"])) for k in entry["kernels"]),
        library,
        _narrower(entry["cuda"]) if "cuda" in entry else None,
    )


def _narrower(types: str) -> dict[str, tuple[str, ...]]:
    """{"x": ("f16", "bf16")} of "x=f16|bf16"."""
    pairs = (word.split("=") for word in types.split())
    return {name: tuple(words.split("|")) for name, words in pairs}


def _argument(arguments: tuple[Argument, ...], place: int) -> Argument | None:
    if place < len(arguments):
        return arguments[place]
    return arguments[-1] if arguments and arguments[-1].variadic else None

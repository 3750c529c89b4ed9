"""The compiled half, loaded with ctypes; its structs and signatures are in c_api.py.

The library is `core/_native/libingot.so`, beside this file in a wheel and in the installed
distribution when this file is an editable install's source.
"""

from __future__ import annotations

import ctypes
import json
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import ml_dtypes
import numpy as np

from . import DISTRIBUTION, cuda_libraries
from .c_api import SIGNATURES, Array, DeviceRun
from .c_api import Event as Event
from .c_api import Options as Options
from .c_api import Request as Request
from .command import ArgumentError, MachineError, PlanError, UserError

ABI = 1
NAME = "libingot.so"

# onnx.TensorProto.DataType by the word that rows and plan.txt use; 4-bit types count elements.
DTYPES: dict[str, tuple[int, type]] = {
    "f32": (1, np.float32),
    "u8": (2, np.uint8),
    "i8": (3, np.int8),
    "i32": (6, np.int32),
    "i64": (7, np.int64),
    "bool": (9, np.bool_),
    "f16": (10, np.float16),
    "bf16": (16, ml_dtypes.bfloat16),
    "f8e4m3": (17, ml_dtypes.float8_e4m3fn),
    "f8e5m2": (19, ml_dtypes.float8_e5m2),
    "u4": (21, ml_dtypes.uint4),
    "i4": (22, ml_dtypes.int4),
}
WORDS = {np.dtype(kind): word for word, (_, kind) in DTYPES.items()}
CODES = {code: np.dtype(kind) for code, kind in DTYPES.values()}
PACKED = {np.dtype(ml_dtypes.uint4), np.dtype(ml_dtypes.int4)}  # two in a byte, low half first


@cache
def library() -> ctypes.CDLL:
    """The loaded library with typed functions.

    Raises:
        MachineError: it is not there, cannot be loaded, or belongs to another version.
    """
    path = _find()
    cuda_libraries.name_folders()
    try:
        handle = ctypes.CDLL(str(path))
    except OSError as error:
        raise MachineError(f"{path} cannot be loaded: {error}; reinstall {DISTRIBUTION}") from error
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(handle, name)
        function.restype, function.argtypes = result, arguments
    if (found := handle.ingot_abi()) != ABI:
        raise MachineError(
            f"{path} speaks version {found} of the C API, this package version {ABI}; "
            f"reinstall {DISTRIBUTION}"
        )
    return handle


def _find() -> Path:
    beside = Path(__file__).parent / "_native" / NAME
    if beside.exists():
        return beside
    from importlib.metadata import PackageNotFoundError, distribution

    places = [beside]
    with suppress(PackageNotFoundError):
        places.append(Path(str(distribution(DISTRIBUTION).locate_file(f"core/_native/{NAME}"))))
    for place in places:
        if place.exists():
            return place
    raise MachineError(
        f"the compiled runtime {NAME} is not installed (looked at "
        f"{', '.join(map(str, places))}); run `pip install .` in the source tree"
    )


def check(status: int) -> None:
    """Raises the library's last error as an exception of core.command if `status` is not 0."""
    if status:
        sentence = library().ingot_last_error().decode("utf-8", "replace")
        kinds = {2: ArgumentError, 3: PlanError, 4: MachineError}
        raise kinds.get(status, UserError)(sentence)


def text(pointer: int | None) -> str:
    """The string at `pointer`, which the library allocated and which is freed here."""
    if not pointer:
        check(5)
    try:
        return ctypes.string_at(pointer).decode(errors="surrogateescape")  # paths are bytes
    finally:
        library().ingot_free(pointer)


@cache
def op_table(op_library: str | None = None) -> dict:
    """The op rows: {"ops": [{"domain", "name", "inputs", …}]}, with those of `op_library`."""
    path = op_library.encode() if op_library else None
    return json.loads(text(library().ingot_op_table(path)))


def devices() -> list[dict]:
    """The accelerators that engines can use here: engine, ordinal, name, sm, memory_bytes, …"""
    return _devices()["devices"]


def no_devices() -> str:
    """Why `devices` is empty, and what to do; "" if it is not."""
    return _devices()["why"]


@cache
def _devices() -> dict:
    return json.loads(text(library().ingot_devices()))


def run_op(
    line: str,
    inputs: list[np.ndarray | None],
    outputs: list[np.ndarray],
    kernel: str | None = None,
    op_library: str | None = None,
    threads: int = 2,
    device: str = "cpu",
    tactic: int = 0,
) -> list[np.ndarray]:
    """Runs the op that `line` (plan.txt's grammar) names on `inputs` and fills `outputs`.

    An output that the op updates in place (a cache) must be the same array as its input. On
    `device` "cuda", other outputs are NaN (integers: -1) before the op runs.

    Raises:
        ValueError: shapes, dtypes or attributes do not fit the op's row.
        MachineError: this machine has no such device.
        UserError: on a device, the kernel fails, changes an input, or writes outside its outputs.
    """
    arrays = _Arrays(inputs, outputs)
    if device != "cpu":
        _on_device(line, arrays, op_library, device=device, kernel=kernel, tactic=tactic)
        return arrays.results()
    check(
        library().ingot_run_op(
            line.encode(), _optional(op_library), _optional(kernel), threads, *arrays.described
        )
    )
    return arrays.results()


@dataclass(frozen=True)
class OpTime:
    """How long one call of an op takes on a device."""

    seconds: float  # the median, of calls in a captured graph
    kernel: str
    tactics: int  # how many the kernel has for these sizes


def time_op(
    line: str,
    inputs: list[np.ndarray | None],
    outputs: list[np.ndarray],
    kernel: str | None = None,
    op_library: str | None = None,
    device: str = "cuda",
    tactic: int = 0,
    repeat: int = 20,
) -> OpTime:
    """Runs as `run_op` does, then takes `repeat` times of a graph of 32 calls or more.

    The calls go round copies of all tensors, together 256 MiB where 64 copies suffice for that, so
    that no weight is found in the device's cache.
    """
    arrays = _Arrays(inputs, outputs)
    run = _on_device(
        line, arrays, op_library, device=device, kernel=kernel, tactic=tactic, repeat=repeat
    )
    return OpTime(run.seconds, run.chosen.decode(), run.tactics)


def _on_device(line: str, arrays: _Arrays, op_library: str | None, **options) -> DeviceRun:
    given = {key: _optional(v) if key in ("device", "kernel") else v for key, v in options.items()}
    run = DeviceRun(**given)
    check(
        library().ingot_run_op_on(
            line.encode(), _optional(op_library), ctypes.byref(run), *arrays.described
        )
    )
    return run


class _Arrays:
    """Inputs and outputs of one op as the library takes them."""

    def __init__(self, inputs: list[np.ndarray | None], outputs: list[np.ndarray]):
        held = [_pack(array) for array in inputs]
        self._held, self._outputs = held, outputs
        self._results = [
            held[i]
            if (i := next((j for j, x in enumerate(inputs) if x is output), None)) is not None
            else _pack(output)
            for output in outputs
        ]
        ins = (Array * max(1, len(inputs)))(*map(_describe, inputs, held))
        outs = (Array * max(1, len(outputs)))(*map(_describe, outputs, self._results))
        self.described = (ins, len(inputs), outs, len(outputs))

    def results(self) -> list[np.ndarray]:
        return [
            _unpack(data, like) for data, like in zip(self._results, self._outputs, strict=True)
        ]


def infer_op(
    line: str,
    inputs: list[tuple[str, tuple[int, ...], np.ndarray | None] | None],
    n_outputs: int,
    op_library: str | None = None,
) -> list[tuple[str, tuple[int, ...]]]:
    """(dtype word, shape) of each output of `line` for inputs (dtype word, shape, data or None)."""
    given = [entry or _ABSENT for entry in inputs]
    kept = [_pack(data) if data is not None else None for _, _, data in given]
    ins = (Array * max(1, len(inputs)))()
    for target, given, data in zip(ins, inputs, kept, strict=False):
        word, shape, _ = given or _ABSENT
        target.dtype, target.rank = (DTYPES[word][0] if given else 0), len(shape)
        target.shape[: len(shape)] = shape
        target.data = data.ctypes.data if data is not None else None
    outs = (Array * max(1, n_outputs))()
    check(
        library().ingot_infer_op(
            line.encode(), _optional(op_library), ins, len(inputs), outs, n_outputs
        )
    )
    return [(WORDS[CODES[o.dtype]], tuple(o.shape[: o.rank])) for o in outs[:n_outputs]]


def random_fill(seed: int, first: int, array: np.ndarray, scale: float) -> None:
    """Fills a contiguous float array with elements first, first + 1, … of the random tensor `seed`.

    Each is uniform in ±`scale` and depends on `seed` and its index alone.
    """
    if not array.flags.c_contiguous:
        raise ValueError("random_fill needs a contiguous array")
    code = DTYPES[WORDS[array.dtype]][0]
    check(library().ingot_random(seed, first, array.size, scale, code, array.ctypes.data))


_ABSENT = ("f32", (), None)


def _optional(value: str | None) -> bytes | None:
    return value.encode() if value else None


def _pack(array: np.ndarray | None) -> np.ndarray | None:
    """`array` as the library sees it: contiguous, 4-bit elements two in a byte."""
    if array is None:
        return None
    if array.dtype not in PACKED:
        return array if array.flags.c_contiguous else np.ascontiguousarray(array)
    codes = array.reshape(-1).view(np.uint8) & 15
    codes = np.append(codes, np.zeros(codes.size % 2, np.uint8))
    return codes[0::2] | codes[1::2] << 4


def _unpack(data: np.ndarray, like: np.ndarray) -> np.ndarray:
    if like.dtype not in PACKED:
        return data
    codes = np.stack([data & 15, data >> 4], axis=1).reshape(-1)[: like.size]
    if like.dtype == np.dtype(ml_dtypes.int4):
        codes = (codes.astype(np.int8) ^ 8) - 8
    return codes.astype(like.dtype).reshape(like.shape)


def _describe(array: np.ndarray | None, data: np.ndarray | None) -> Array:
    if array is None or data is None:
        return Array()
    if array.ndim > 8:
        raise ValueError(f"an array of rank {array.ndim} was given; ops take at most rank 8")
    described = Array(data.ctypes.data, dtype=DTYPES[WORDS[array.dtype]][0], rank=array.ndim)
    described.shape[: array.ndim] = array.shape
    return described

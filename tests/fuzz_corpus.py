"""Seed inputs for every fuzz target, cut from small engines that were really built.

python tests/fuzz_corpus.py ENGINES OUT

ENGINES as tests/small_engines.py writes them; the seeds are OUT/<target>/<sum>.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from standard_cases import CASES, Given
from standard_refusals import REFUSALS

from core.native import WORDS
from core.op_line import op_line
from core.ops import Rows


def safetensors_of(weights: bytes, count: int) -> bytes:
    """The `count` smallest tensors of a safetensors file, as a file of their own."""
    (length,) = struct.unpack("<Q", weights[:8])
    header, data = json.loads(weights[8 : 8 + length]), weights[8 + length :]
    header.pop("__metadata__", None)
    tensors = sorted(
        header.items(), key=lambda entry: entry[1]["data_offsets"][1] - entry[1]["data_offsets"][0]
    )
    kept, content = {}, b""
    for name, entry in tensors[:count]:
        begin, end = entry["data_offsets"]
        kept[name] = entry | {"data_offsets": [len(content), len(content) + end - begin]}
        content += data[begin:end]
    text = json.dumps(kept).encode()
    return struct.pack("<Q", len(text)) + text + content


def nodes_of(plan: str) -> Iterator[str]:
    """Every op of a plan with its inputs at T=5, S=3, N=2, Q=4, M=7, P=6, as fuzz_node reads it."""
    sizes = dict(T=5, S=3, N=2, Q=4, M=7, P=6)

    def numbers(dims: str) -> str:
        return (
            dims if dims == "scalar" else ",".join(str(eval(d, {}, sizes)) for d in dims.split(","))
        )

    tensors = {"-": "- -"}
    for line in plan.splitlines():
        words = line.split(" ")
        pairs = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        if words[0] == "state":
            tensors[words[1]] = f"{pairs['dtype']} {numbers(pairs['dims'])}"
        elif words[0] == "const":
            count = "scalar" if words[3] == "scalar" else words[3]
            tensors[words[1]] = f"{words[2]} {count} {words[4]}"
        elif words[0] in ("weight", "field", "value", "output"):
            tensors[words[1]] = f"{words[2]} {numbers(words[3])}"
    for line in plan.splitlines():
        if line.startswith("op "):
            names = line.split(" ")[3].removeprefix("in=").split(",")
            yield "\n".join([line, *(tensors[name] for name in names)])


def made(plan: str) -> str:
    """The plan with weights that are described: one row after another, codes with scales of 16."""

    def described(line: str) -> str:
        words = line.split(" ")
        sizes = [int(size) for size in words[3].split(",") if size != "scalar"]
        rows, columns = (sizes[0] if sizes else 1), math.prod(sizes[1:])
        said = f"{line} random=7:1:1:{columns}:ones,7:0:{rows - 1}:{columns}:0.5"
        if words[2] in ("f32", "f16", "bf16"):
            return said
        group = columns if words[2] == "f8e4m3" else 16
        return f"{said} made=codes:bf16:{words[2]}:{group}:f32:{int(words[2] == 'u4')}"

    known = ("f32", "f16", "bf16", "f8e4m3", "i8", "i4", "u4")
    return "".join(
        (described(line) if line.startswith("weight ") and line.split(" ")[2] in known else line)
        + "\n"
        for line in plan.splitlines()
    )


def single_ops() -> Iterator[str]:
    """The uses and the wrong uses of standard ops that tests/test_ops_standard.py has, as nodes."""
    rows = {row.name: row for row in Rows() if row.domain == ""}
    random = np.random.default_rng(0)
    for case in (*CASES, *(refused[0] for refused in REFUSALS)):
        names = ["-" if given is None else f"x{i}" for i, given in enumerate(case.inputs)]
        lines = [
            op_line(
                rows[case.op], "n", names, [f"y{i}" for i in range(case.outputs)], case.attributes
            )
        ]
        for given in case.inputs:
            if given is None:
                lines.append("- -")
                continue
            array = given.array((case.words or ("f32",))[0], random)
            host = ",".join(map(str, array.ravel().tolist())) if isinstance(given, Given) else ""
            dims = ",".join(map(str, array.shape)) or "scalar"
            lines.append(f"{WORDS[array.dtype]} {dims} {host}".rstrip())
        yield "\n".join(lines)


def steps() -> Iterator[bytes]:
    """Messages as kernels/runtime/step.h has them: a prompt, a decode, both with everything."""

    def message(sequences, ids, rows, samplings=(), updates=(), copies=()) -> bytes:
        tokens, longest = sum(s[1] for s in sequences), max((s[1] for s in sequences), default=0)
        head = (0x50544749, 4, 7, 0, tokens, len(sequences), len(rows), longest)
        text = struct.pack("<IIQ10i", *head, len(samplings), len(updates), len(copies), 0, 0)
        text += b"".join(
            struct.pack("<QiiffiiffffII", 99, slot, 5, 0.5, 0.9, -1, 0, 0, 1, 0, 0, 0, 3)
            for slot in samplings
        )
        text += b"".join(struct.pack("<iiii", *update) for update in updates)
        text += b"".join(struct.pack("<iii", *copy) for copy in copies)
        for part in (*zip(*sequences, strict=True), ids, rows):
            text += struct.pack(f"<{len(part)}i", *part)
        return text

    pages = [(group, 1, column, 1 + column) for group in (0, 1) for column in (0, 1)]
    yield message([(1, 5, 0, 0, 1)], [3, 1, 4, 1, 5], [4], [1], pages)
    yield message([(1, 1, 5, 0, 1)], [-1], [0])
    mixed = [(2, 1, 5, 0, 2), (0, 3, 0, 0, 0)]
    pages = [(0, 2, 1, 6), (1, 2, 1, 5), (0, 0, 0, 3), (1, 0, 0, 2)]
    yield message(mixed, [-1, 11, 12, 13], [0], [0], pages, [(0, 4, 6), (1, 3, 5)])


def manifest_of(engine: Path) -> Iterator[bytes]:
    """engine.json as it is, without its seal, and for the files that fuzz_manifest has."""
    text = (engine / "engine.json").read_bytes()
    yield text
    yield text.split(b"\n", 1)[1]
    document = json.loads(text)
    del document["sha256"]
    weights = b"\2\0\0\0\0\0\0\0{}"
    sums = {"rank0/plan.txt": b"plan", "rank0/weights.safetensors": weights}
    document["files"] = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sums.items()
    }
    document["files"]["rank0/weights.safetensors"]["header_sha256"] = hashlib.sha256(
        weights
    ).hexdigest()
    wanted = ("format", "format_version", "ingot", "engine", "ranks", "model", "end_ids", "limits")
    kept = {key: document[key] for key in (*wanted, "cache_groups", "files")}
    kept["ranks"] = 1
    yield json.dumps(kept).encode()[1:]


def seeds(engines: Path) -> Iterator[tuple[str, bytes]]:
    """(target, input)."""
    for engine in sorted(path.parent for path in engines.glob("*/engine.json")):
        rank = engine / "rank0"
        plan = (rank / "plan.txt").read_text()
        for target in ("fuzz_plan", "fuzz_program"):
            yield target, plan.encode()
            yield target, made(plan).encode()
        for node in nodes_of(plan):
            yield "fuzz_node", node.encode()
        for count in (1, 6):
            part = safetensors_of((rank / "weights.safetensors").read_bytes(), count)
            yield "fuzz_safetensors", part
        yield "fuzz_tokens", (rank / "tokens.bin").read_bytes()
        for manifest in manifest_of(engine):
            yield "fuzz_manifest", manifest
        yield "fuzz_json", (engine / "engine.json").read_bytes()
    for node in single_ops():
        yield "fuzz_node", node.encode()
    for step in steps():
        yield "fuzz_step", step


def write(engines: Path, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    for target, text in seeds(engines):
        (out / target).mkdir(parents=True, exist_ok=True)
        (out / target / hashlib.sha256(text).hexdigest()[:16]).write_bytes(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))

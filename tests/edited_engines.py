"""Engine folders with small changes in them, under seals and sums that fit: opened and used.

    python edited_engines.py ENGINE FIRST COUNT

prints a line for each seed: `ok`, or the sentence with which the folder was refused. Anything else
that comes out of it, or a signal, is a defect. tests/fuzz looks at each reader by itself.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import sys
import tempfile
from pathlib import Path

from core import Engine, Sampling, manifest, show
from core.command import UserError

FILES = {
    "plan": "rank0/plan.txt",
    "tokens": "rank0/tokens.bin",
    "weights": "rank0/weights.safetensors",
}
NUMBERS = (0, 1, -1, 2, 7, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63), 10**30)
WORDS = (
    b"",
    b"-",
    b"T",
    b"2*T",
    b"4*T+1",
    b"P",
    b"scalar",
    b"nan",
    b"1e400",
    *map(b"%d".__mod__, NUMBERS),
)
VALUES = (*NUMBERS, None, True, 1.5, "", "x", "../x", [], {}, [0], {"a": 1})
OPAQUE = ("provenance", "config", "tensors", "passes")  # changed as a whole only


def edited(engine: Path, draw: random.Random) -> tuple[str | None, bytes, dict]:
    """(file, its new content, the manifest's facts); no file where only the facts changed."""
    facts = json.loads((engine / "engine.json").read_bytes())
    del facts["sha256"]
    what = draw.choice(["facts", "facts", *FILES])
    if what == "facts":
        for _ in range(draw.choice([1, 1, 2])):
            _edit_facts(facts, draw)
        return None, b"", facts
    name = FILES[what]
    content = (engine / name).read_bytes()
    content = {"plan": _edit_words, "tokens": _edit_bytes, "weights": _edit_header}[what](
        content, draw
    )
    header = 8 + int.from_bytes(content[:8], "little")
    entry = facts["files"][name]
    entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    entry["header_sha256"] = hashlib.sha256(content[:header]).hexdigest()
    return name, content, facts


def _edit_facts(facts: dict, draw: random.Random) -> None:
    places = []

    def walk(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list) and key not in OPAQUE:
                walk(node[key])

    walk(facts)
    node, key = draw.choice(places)
    if isinstance(node, dict) and draw.random() < 0.3:
        del node[key]
    else:
        node[key] = draw.choice(VALUES)


def _edit_words(text: bytes, draw: random.Random) -> bytes:
    lines = text.split(b"\n")
    i, j = draw.randrange(len(lines)), draw.randrange(len(lines))
    kind = draw.randrange(5)
    if kind == 0:
        lines[i], lines[j] = lines[j], lines[i]
    elif kind == 1:
        lines[i:i] = [lines[j]]
    elif kind == 2:
        del lines[i]
    else:
        words = re.split(rb"([ ,=:@*+])", lines[i])
        others = WORDS if kind == 3 else re.split(rb"[ ,=:]", lines[j])
        words[draw.randrange(0, len(words), 2)] = draw.choice(others)
        lines[i] = b"".join(words)
    return b"\n".join(lines)


def _edit_bytes(content: bytes, draw: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(draw.choice([1, 2, 5])):
        data[draw.randrange(draw.choice([64, len(data)]))] = draw.choice([0, 1, 128, 255])
    return bytes(data[: draw.choice([len(data), draw.randrange(len(data))])])


def _edit_header(content: bytes, draw: random.Random) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].rstrip().replace(b"},", b"},\n")
    header = _edit_words(header, draw).replace(b"\n", b"")
    if draw.random() < 0.5:
        header = header[:length].ljust(length)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def outcome(folder: Path) -> str:
    """`ok`, or what is said against the folder by those who open it and those who show it."""
    said = []
    try:
        show.show(folder, verify=True)
    except UserError as error:
        said.append(str(error))
    try:
        with Engine(folder, threads=1) as engine:
            engine.generate([[1, 5, 9], [1, 5]], Sampling(max_tokens=3, ignore_eos=True))
            engine.logits([1, 2, 3])
    except UserError as error:
        said.append(str(error))
    return " / ".join(said).replace("\n", " ") or "ok"


def main(engine: Path, first: int, count: int) -> None:
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "engine"
        shutil.copytree(engine, folder)
        for seed in range(first, first + count):
            print(seed, end=" ", flush=True)
            name, content, facts = edited(engine, random.Random(seed))
            if name:
                (folder / name).write_bytes(content)
            (folder / "engine.json").write_bytes(manifest.sealed(facts))
            print(outcome(folder), flush=True)
            if name:
                shutil.copyfile(engine / name, folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

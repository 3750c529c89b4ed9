"""tokens.bin: the bytes of every token, so that the runtime itself streams whole characters.

"INGOTTOK", u32 version, u32 count, count + 1 u64 offsets, count u8 flags (1: special, no text), the
bytes; little endian. What a token's bytes are follows from the decoder that tokenizer.json names:
byte-level BPE writes bytes as letters; SentencePiece writes a space as `▁` and bytes as `<0xE2>`.
https://huggingface.co/docs/tokenizers/api/decoders
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from core.checkpoint import read_json
from core.command import PlanError

NAME = "tokenizer.json"
MAGIC, VERSION = b"INGOTTOK", 1
BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
DECODERS = ("ByteLevel", "ByteFallback", "Replace", "Metaspace", "Fuse", "Strip", "Sequence")
NO_TOKENIZER = f"keep {NAME} beside config.json, as transformers' save_pretrained writes it"


def write(path: Path, tokenizer: Path) -> None:
    """`path` holds the bytes of every token of `tokenizer`, a tokenizer.json.

    Raises:
        PlanError: it is no such file, or its decoder is of another kind.
    """
    told = read_json(tokenizer, NO_TOKENIZER)
    try:
        tokens = table(told, tokenizer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PlanError(f"{tokenizer} cannot be understood: {error!r}; {NO_TOKENIZER}") from error
    offsets, flags, blob = [0], bytearray(), bytearray()
    for text in tokens:
        flags.append(text is None)
        blob += text or b""
        offsets.append(len(blob))
    head = MAGIC + struct.pack("<II", VERSION, len(tokens))
    path.write_bytes(head + struct.pack(f"<{len(offsets)}Q", *offsets) + bytes(flags) + bytes(blob))


def table(told: Mapping[str, Any], where: Path) -> list[bytes | None]:
    """The bytes of each token by id; None for one that is special, or no token at all."""
    to_bytes = _decoder(told.get("decoder"), where)
    vocabulary = _vocabulary(told["model"])
    added = {entry["id"]: entry for entry in told.get("added_tokens") or []}
    count = max([*vocabulary.values(), *added], default=-1) + 1
    found: list[bytes | None] = [None] * count
    for token, number in vocabulary.items():
        found[number] = to_bytes(token)
    for number, entry in added.items():  # never split, never decoded
        found[number] = None if entry.get("special") else entry["content"].encode()
    return found


def _vocabulary(model: Mapping[str, Any]) -> dict[str, int]:
    """The id of every token: a table (BPE), or a list of tokens and scores (Unigram)."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, Mapping):
        return dict(vocabulary)
    return {token: number for number, (token, _) in enumerate(vocabulary)}


def _decoder(decoder: Mapping[str, Any] | None, where: Path) -> Callable[[str], bytes]:
    """What turns a token into its bytes."""
    steps = list(_steps(decoder))
    kinds = [step["type"] for step in steps]
    strange = [kind for kind in kinds if kind not in DECODERS]
    if strange or not steps:
        raise PlanError(
            f"{where}: its decoder is {strange[0] if strange else 'missing'}; the bytes of tokens "
            f"are known for {', '.join(DECODERS)}; take a byte-level BPE or SentencePiece"
        )
    if "ByteLevel" in kinds:
        letters = byte_letters()
        return lambda token: _of_letters(token, letters)
    pairs = [pair for step in steps if (pair := _replaced(step))]
    fallback = "ByteFallback" in kinds

    def to_bytes(token: str) -> bytes:
        if fallback and (match := BYTE.fullmatch(token)):
            return bytes([int(match[1], 16)])
        for old, new in pairs:
            token = token.replace(old, new)
        return token.encode()

    return to_bytes


def _steps(decoder: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    if decoder is None:
        return
    if decoder["type"] == "Sequence":
        for part in decoder["decoders"]:
            yield from _steps(part)
    else:
        yield decoder


def _replaced(step: Mapping[str, Any]) -> tuple[str, str] | None:
    """(old, new) of a step that exchanges text in every token.

    Strip and Fuse are not such: they work on the beginning of a text, and answers go on from one.
    """
    if step["type"] == "Replace":
        return step["pattern"]["String"], step["content"]
    return (step["replacement"], " ") if step["type"] == "Metaspace" else None


def _of_letters(token: str, letters: Mapping[str, int]) -> bytes:
    """The bytes that a byte-level token spells; one that does not is its own text."""
    if all(letter in letters for letter in token):
        return bytes(letters[letter] for letter in token)
    return token.encode()


def byte_letters() -> dict[str, int]:
    """GPT-2's letter for every byte: its own where it is printable, else the next from 256 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), 256)]
    letters = {chr(byte): byte for byte in plain}
    others = [byte for byte in range(256) if byte not in set(plain)]
    return letters | {chr(256 + place): byte for place, byte in enumerate(others)}

"""A model's folder in Hugging Face's layout: config.json, and safetensors whose headers are read.

Nothing in a checkpoint is executed: no pickle, no code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from . import hub
from .command import PlanError
from .random_checkpoint import RandomCheckpoint
from .recipes import Weight
from .tensor_file import Entry, Stored, read_header

__all__ = ["Checkpoint", "RandomCheckpoint", "Weight", "open_checkpoint"]

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
# Copied into the engine folder: what turns text into ids and back, and when generation ends.
COPIED = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json",
    "generation_config.json",
)  # fmt: skip


def open_checkpoint(
    checkpoint: str, config: Mapping[str, Any] | None, seed: int
) -> Checkpoint | RandomCheckpoint:
    """The checkpoint that `checkpoint=` names, with every header read and judged.

    `config` is the config.json of checkpoint=random, whose weights depend on `seed`.

    Raises:
        PlanError: it is not there, not in this layout, or damaged.
    """
    if checkpoint == "random":
        if config is None:
            raise PlanError("checkpoint=random needs the sizes of a model: add model.size=…")
        return RandomCheckpoint(config, seed)
    folder = Path(os.path.expanduser(checkpoint))
    if not folder.exists() and hub.is_name(checkpoint):
        folder = hub.download(checkpoint)
    return Checkpoint(folder)


class Checkpoint:
    """An opened folder. Weights are lazy and carry the checkpoint's names."""

    def __init__(self, folder: Path):
        self.folder = folder
        if not folder.is_dir():
            raise PlanError(_not_a_folder(folder))
        self.config = read_json(
            folder / "config.json", "checkpoint= takes a folder in Hugging Face's layout"
        )
        self._tensors = _tensors(folder, _shards(folder))

    def names(self) -> set[str]:
        return set(self._tensors)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def tensor(self, name: str, shape: Sequence[int] | None = None) -> Weight:
        """The tensor, not read yet. `shape` is what the model expects.

        Raises:
            PlanError: there is none, or it has another shape.
        """
        if name not in self._tensors:
            raise PlanError(f"{self.folder}: the checkpoint has no tensor {name}")
        path, entry = self._tensors[name]
        if shape is not None and tuple(shape) != entry.shape:
            raise PlanError(
                f"{path}: {name} has shape {list(entry.shape)}, but config.json and the model's "
                f"description say {list(shape)}"
            )
        return Stored(name, path, entry)

    @cached_property
    def generation(self) -> dict[str, Any]:
        """generation_config.json, empty where there is none."""
        path = self.folder / "generation_config.json"
        return read_json(path, "repair or remove it") if path.exists() else {}

    @property
    def files(self) -> list[Path]:
        return [self.folder / name for name in COPIED if (self.folder / name).is_file()]


def read_json(path: Path, advice: str) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        PlanError: there is no such file, or it is not an object; `advice` says what to do.
    """
    if not path.is_file():
        raise PlanError(f"{path} is missing; {advice}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{path} is not JSON: {error}; {advice}") from error
    if not isinstance(value, dict):
        raise PlanError(f"{path} holds a {type(value).__name__}, not an object; {advice}")
    return value


def _not_a_folder(folder: Path) -> str:
    found = "is a file, not a folder" if folder.exists() else "does not exist"
    return (
        f"checkpoint={folder} {found}; give the folder that holds config.json and "
        "model.safetensors, a hub name such as meta-llama/Llama-2-7b-hf, or `random`"
    )


def _shards(folder: Path) -> dict[Path, set[str]]:
    """The files that make the model, each with the tensors that the index promises in it."""
    single, index = folder / SINGLE, folder / INDEX
    if single.is_file() and index.is_file():
        raise PlanError(f"{folder} has both {SINGLE} and {INDEX}; remove the one that is stale")
    if single.is_file():
        return {single: set()}
    if not index.is_file():
        raise PlanError(_no_tensors(folder))
    entries = read_json(index, "download it again").get("weight_map")
    if not isinstance(entries, dict) or not entries:
        raise PlanError(f"{index} has no table `weight_map`; download it again")
    shards: dict[Path, set[str]] = {}
    for name, file in entries.items():
        plain = isinstance(file, str) and file == Path(file).name
        if not plain or not file.endswith(".safetensors"):
            raise PlanError(
                f"{index} says that {name} is in {file!r}, which is no safetensors file beside it"
            )
        shards.setdefault(folder / file, set()).add(name)
    missing = [path.name for path in shards if not path.is_file()]
    if missing:
        raise PlanError(
            f"{folder} lacks {len(missing)} of {len(shards)} shards that {INDEX} names: "
            f"{', '.join(sorted(missing))}; download them"
        )
    return shards


def _no_tensors(folder: Path) -> str:
    """What to do about a folder without model.safetensors."""
    pickles = sorted(p.name for end in ("bin", "pth", "pt") for p in folder.glob(f"*.{end}"))
    if pickles:
        return (
            f"{folder} has no {SINGLE}, only {', '.join(pickles[:3])}, which could run code when "
            "read; convert it once, where you trust it, with torch and transformers: python -c "
            f"\"from transformers import AutoModelForCausalLM as M; M.from_pretrained('{folder}', "
            f"torch_dtype='auto').save_pretrained('{folder}-safetensors')\" and copy the tokenizer "
            "files"
        )
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    if others:
        return (
            f"{folder} has neither {SINGLE} nor {INDEX}, only {', '.join(others[:3])}; rename it "
            f"to {SINGLE}, or download the index"
        )
    return f"{folder} has neither {SINGLE} nor {INDEX}; download the weights"


def _tensors(folder: Path, shards: Mapping[Path, set[str]]) -> dict[str, tuple[Path, Entry]]:
    """Every tensor of the files. All of what is wrong with the index is told at once."""
    tensors: dict[str, tuple[Path, Entry]] = {}
    wrong = []
    for path, promised in sorted(shards.items()):
        entries = read_header(path)
        absent = sorted(promised - entries.keys())
        wrong += [f"{INDEX} says that {name} is in {path.name}, where it is not" for name in absent]
        for name, entry in entries.items():
            if name in tensors:
                wrong.append(f"{name} is both in {tensors[name][0].name} and in {path.name}")
            tensors[name] = (path, entry)
    if wrong:
        raise PlanError("\n".join(f"{folder}: {sentence}; download it again" for sentence in wrong))
    return tensors

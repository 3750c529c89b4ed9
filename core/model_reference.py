"""The page that lists the presets of models: what each covers, and how it differs from Llama."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

TABLES = ("norm", "embedding", "attention", "positions", "feed_forward", "experts", "block", "head")
HEAD = """# Models

Made of the presets in `conf/model`. Without `model=`, or with `model=auto`, config.json of the
checkpoint chooses: the preset whose `model_type` it says. What a preset leaves out is as in Llama;
`=` marks what depends on config.json or on the layer. [Add an architecture](add-a-model.md) says
how to write one.

| preset | covers | model_type | unlike Llama | sizes for checkpoint=random |
|---|---|---|---|---|
"""


def page(presets: Iterable[Path]) -> str:
    """Markdown, one line a preset of the plugin `decoder`, in order of names."""
    return HEAD + "".join(f"{_line(path)}\n" for path in sorted(presets) if path.stem != "decoder")


def _line(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    preset = yaml.safe_load(text)
    _, _, covers = text.splitlines()[0].partition(f"model={path.stem}")
    kinds = preset["matches"]["model_type"]
    kinds = ", ".join(kinds if isinstance(kinds, list) else [kinds])
    special = ", ".join(_special(preset)) or "nothing"
    sizes = ", ".join(str(size) for size in preset["sizes"])
    cells = (f"`{path.stem}`", covers.strip(), kinds, special, sizes)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _special(preset: Mapping[str, Any]) -> Iterator[str]:
    for table in TABLES:
        for key, value in (preset.get(table) or {}).items():
            if isinstance(value, str) and value.startswith("="):
                yield f"{table}.{key} ="
            else:
                yield f"{table}.{key} {str(value).lower() if isinstance(value, bool) else value}"
    tensors = preset.get("tensors") or {}
    for key, says in (
        ("qkv", "q, k, v in one tensor"),
        ("gate_up", "gate and up in one tensor"),
        ("attention_post", "norms behind attention"),
        ("ffn_post", "norms behind feed forward"),
        ("embedding_norm", "embedding norm"),
        ("transposed", "transposed weights"),
    ):
        if tensors.get(key):
            yield says

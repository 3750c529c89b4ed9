"""Small engines of many kinds, with text: for the sanitized tests and as seeds of the fuzz targets.

python tests/small_engines.py OUT      writes OUT/<kind> anew for every kind, and prints the folders
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import tokenizers
import yaml
from safetensors.numpy import save_file

ROOT = Path(__file__).parent.parent
DEFAULTS = ("model=llama2", "dtype=bfloat16", "max_tokens=32", "max_sequences=4")
KINDS = {
    "none": [],
    "float32": ["dtype=float32", "max_tokens=7"],
    "fp8": ["quant=fp8"],
    "window": ["model=mistral", "quant=fp8", "quant.cache=fp8"],
    "features": ["features=[embeddings,hidden]"],
    "ranks": ["parallel=tensor", "parallel.ranks=2"],
    "int8": ["quant=int8_wo", "quant.group=16"],
    "int4": ["quant=int4_wo", "quant.group=16"],
}


def kinds() -> dict[str, list[str]]:
    """Those whose choices this tree has."""

    def known(override: str) -> bool:
        key, _, value = override.partition("=")
        return key not in ("quant", "parallel") or (ROOT / "conf" / key / f"{value}.yaml").exists()

    return {kind: choices for kind, choices in KINDS.items() if all(map(known, choices))}


def write_checkpoint(folder: Path, preset: str) -> None:
    """Random weights of the preset's smallest size, and a tokenizer of the 256 bytes."""
    folder.mkdir(parents=True)
    description = yaml.safe_load((ROOT / "conf" / "model" / f"{preset}.yaml").read_text())
    config = description["sizes"]["tiny"]
    if "sliding_window" in config:
        config["sliding_window"] = 24
    (folder / "config.json").write_text(json.dumps(config))
    width, hidden = config["hidden_size"], config["intermediate_size"]
    head = width // config["num_attention_heads"]
    shapes = {
        "model.embed_tokens": (config["vocab_size"], width),
        "lm_head": (config["vocab_size"], width),
        "model.norm": (width,),
    }
    for layer in range(config["num_hidden_layers"]):
        name, cached = f"model.layers.{layer}", config["num_key_value_heads"] * head
        shapes |= {f"{name}.self_attn.{part}_proj": (width, width) for part in "qo"}
        shapes |= {f"{name}.self_attn.{part}_proj": (cached, width) for part in "kv"}
        shapes |= {f"{name}.mlp.{part}_proj": (hidden, width) for part in ("gate", "up")}
        shapes |= {f"{name}.mlp.down_proj": (width, hidden)}
        shapes |= {f"{name}.{part}_layernorm": (width,) for part in ("input", "post_attention")}
    random = np.random.default_rng(0)
    tensors = {
        f"{name}.weight": random.standard_normal(shape, dtype=np.float32)
        * (shape[-1] ** -0.5 if len(shape) == 2 else 0.3)
        for name, shape in shapes.items()
    }
    save_file(tensors, folder / "model.safetensors")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    model = tokenizers.models.BPE({letter: i for i, letter in enumerate(alphabet)}, [])
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))


def build(out: Path) -> list[Path]:
    """The engine folders, one of every kind."""
    for folder in ("checkpoints", *kinds()):
        shutil.rmtree(out / folder, ignore_errors=True)
    for preset in ("llama2", "mistral"):
        write_checkpoint(out / "checkpoints" / preset, preset)
    folders = []
    for kind, choices in kinds().items():
        given = dict(choice.split("=") for choice in (*DEFAULTS, *choices))
        folders.append(out / kind)
        given |= {"checkpoint": out / "checkpoints" / given["model"], "out": folders[-1]}
        command = [sys.executable, "-m", "core.build", *(f"{k}={v}" for k, v in given.items())]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
    return folders


if __name__ == "__main__":
    print(":".join(map(str, build(Path(sys.argv[1]).resolve()))))

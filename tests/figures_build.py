"""Memory and reads of a build:  python tests/figures_build.py [size=7b] [none fp8 …]

A bfloat16 checkpoint of Llama 2's shape in two sparse files, which take no disk, becomes an engine
on disk, which does: 13.5 GB for size=7b and quant=none (TMPDIR says where; all is removed at the
end). For each quant: the most anonymous memory that the build had, sampled from /proc (a mapped
file's pages are not in it), beside its largest tensor; and the bytes that it read beyond those that
core.plan reads of the same, over the bytes of the checkpoint.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from conftest import ROOT

from core.manifest import read

SAMPLES = 0.02  # seconds between two
TOKENIZER = ROOT / "models" / "tiny-llama" / "tokenizer.json"


def tensors(config: dict) -> Iterator[tuple[str, list[int]]]:
    """Name and shape of each tensor of a Llama checkpoint."""
    width, hidden = config["hidden_size"], config["intermediate_size"]
    head = width // config["num_attention_heads"]
    groups = config.get("num_key_value_heads", config["num_attention_heads"])
    yield "model.embed_tokens.weight", [config["vocab_size"], width]
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        for part, rows in (("q", width), ("k", groups * head), ("v", groups * head), ("o", width)):
            yield f"{name}.self_attn.{part}_proj.weight", [rows, width]
        for part in ("gate", "up"):
            yield f"{name}.mlp.{part}_proj.weight", [hidden, width]
        yield f"{name}.mlp.down_proj.weight", [width, hidden]
        for part in ("input", "post_attention"):
            yield f"{name}.{part}_layernorm.weight", [width]
    yield "model.norm.weight", [width]
    yield "lm_head.weight", [config["vocab_size"], width]


def write_checkpoint(folder: Path, size: str) -> int:
    """A checkpoint of zeros; its bytes."""
    config = yaml.safe_load((ROOT / "conf/model/llama2.yaml").read_text())["sizes"][size]
    (folder / "config.json").write_text(json.dumps({**config, "torch_dtype": "bfloat16"}))
    shutil.copy(TOKENIZER, folder)
    listed = list(tensors(config))
    half, index, total = len(listed) // 2, {}, 0
    for number, part in enumerate((listed[:half], listed[half:]), 1):
        file, header, end = f"model-{number:05}-of-00002.safetensors", {}, 0
        for name, shape in part:
            begin, end = end, end + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
            index[name] = file
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(folder / file, "wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            out.truncate(8 + len(text) + end)
        total += end
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return total


def run(name: str, *arguments: str) -> tuple[int, int, float]:
    """The most anonymous bytes of core.<name>, the bytes it read, and its seconds."""
    begun, command = time.perf_counter(), [sys.executable, "-m", f"core.{name}", *arguments]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        most = reads = 0
        while process.poll() is None:
            proc = Path(f"/proc/{process.pid}")
            try:
                fields = dict(line.split(":", 1) for line in proc.joinpath("status").open())
                most = max(most, 1024 * int(fields.get("RssAnon", "0").split()[0]))
                io = dict(line.split(":", 1) for line in proc.joinpath("io").open())
                reads = int(io["rchar"])
            except (OSError, ValueError):  # it has just ended
                break
            time.sleep(SAMPLES)
        if process.wait():
            said.seek(0)
            raise SystemExit(said.read())
    return most, reads, time.perf_counter() - begun


def figures(folder: Path, quant: str, total: int):
    """Prints the lines of one quantization."""
    out = folder / "engine"
    words = ["model=llama2", f"quant={quant}", f"checkpoint={folder / 'checkpoint'}"]
    _, before, _ = run("plan", *words)
    most, reads, seconds = run("build", *words, f"out={out}")
    held = read(out)["tensors"]["rank0"].values()
    largest = max(tensor["bytes"] for tensor in held)
    written = sum(tensor["bytes"] for tensor in held)
    shutil.rmtree(out)
    most, largest = most / 2**20, largest / 2**20
    print(
        f"quant={quant}: {most:,.0f} MiB anonymous at most, {most - largest:,.0f} MiB beyond the "
        f"largest tensor of {largest:,.0f} MiB; {total / 1e9:.2f} GB of checkpoint read "
        f"{(reads - before) / total:.4f} times, {written / 1e9:.2f} GB written, "
        f"in {seconds:.0f} s",
        flush=True,
    )


def main():
    words = sys.argv[1:] or ["none", "fp8"]
    sizes = [word.removeprefix("size=") for word in words if word.startswith("size=")] or ["7b"]
    quants = [word for word in words if not word.startswith("size=")] or ["none", "fp8"]
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "checkpoint").mkdir()
            total = write_checkpoint(folder / "checkpoint", size)
            for quant in quants:
                figures(folder, quant, total)


if __name__ == "__main__":
    main()

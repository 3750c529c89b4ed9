"""Beside llama.cpp, one sequence:  python tests/figures_llama_cpp.py PYTHON [group=32 …]

PYTHON is one that has llama.cpp, compiled for this machine, and gguf:
    python -m venv llama && CMAKE_ARGS=-DGGML_NATIVE=ON llama/bin/pip install llama-cpp-python gguf
A model of TinyLlama's size with random weights, in Q4_0 there and quant=int4_wo here, turn by turn
in this run with all processors, the best of each: others may use the machine meanwhile. Two lines
for each group: as both have it by themselves, with the head in Q6_K there and in bfloat16 here; and
with the head in 4 bits on both sides.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from conftest import ROOT, command
from figures_cpu import generate

from core import Engine

SIZE, RUNS, PROMPT, TOKENS = "1.1b", 5, 16, 48
SIDE = Path(__file__).parent / "llama_cpp_side.py"
HEADS = {"Q6_K": [], "Q4_0": ["quant.skip=[]"]}


def side(python: str, *words: str) -> str:
    done = subprocess.run([python, SIDE, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def main():
    python, *rest = sys.argv[1:]
    groups = [int(word.removeprefix("group=")) for word in rest] or [32, 64]
    sizes = yaml.safe_load((ROOT / "conf/model/llama2.yaml").read_text())["sizes"][SIZE]
    print(f"{platform.machine()}, {os.cpu_count()} processors; {TOKENS} tokens after {PROMPT}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for head, extra in HEADS.items():
            model = folder / f"{head}.gguf"
            side(python, "write", str(model), json.dumps(sizes), head)
            for group in groups:
                out = folder / f"{head}-{group}"
                words = ["model=llama2", f"model.size={SIZE}", "checkpoint=random", f"out={out}"]
                done = command("build", *words, "quant=int4_wo", f"quant.group={group}", *extra)
                assert done.returncode == 0, done.stderr
                ours, theirs = [], []
                with Engine(out) as engine:
                    for _ in range(RUNS):
                        theirs.append(
                            float(side(python, "time", str(model), str(PROMPT), str(TOKENS)))
                        )
                        ours.append(generate(engine, 1, PROMPT, TOKENS)[0])
                print(
                    f"group {group}, head {head}: llama.cpp {1 / min(theirs):6.1f} tokens/s "
                    f"({model.stat().st_size / 1e6:.0f} MB), ingot {1 / min(ours):6.1f} tokens/s, "
                    f"{min(theirs) / min(ours):.2f} x, load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()

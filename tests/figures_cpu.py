"""Speed of the CPU engine beside what the machine can read:  python tests/figures_cpu.py [scheme …]

A model of TinyLlama's size with random weights, greedy, end tokens ignored, all processors. For
each scheme: time of a token of one sequence and of 16, and of a prompt of 512. Bytes are those of
the weights that a step reads, against the read rate measured in the same run, before, between and
after: the best of each, since others may use the machine meanwhile. Next to it stands what a step
would take whose ops all took the time of their quickest call.
"""

import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from conftest import command

from core import Engine, Sampling
from core.machine_rate import read_rate
from core.manifest import read

SIZE, RUNS, TOKENS, PROMPT, TOGETHER = "1.1b", 4, 24, 512, 16
SCHEMES = {
    "bf16": ["quant=none"],
    "fp8": ["quant=fp8"],
    "int8": ["quant=int8_wo"],
    "int4": ["quant=int4_wo"],
    "int4 zero points": ["quant=int4_wo", "quant.zero_point=true"],
    "int4 all": ["quant=int4_wo", "quant.skip=[]"],
}


def generate(engine, count: int, prompt: int, tokens: int):
    """Seconds of a token after the first, and to the first, of prompts that no page is kept of."""
    rng = np.random.default_rng(time.perf_counter_ns())
    prompts = rng.integers(3, 32000, (count, prompt)).tolist()
    outputs = engine.generate(prompts, Sampling(max_tokens=tokens, ignore_eos=True))
    last = outputs[0]
    token = (last.total_s - last.first_token_s) / max(1, tokens - 1)
    return token, last.first_token_s - last.queued_s


def weights_read(folder: Path) -> tuple[int, int]:
    """Bytes of weights that a step of one token reads, and how many weights products have."""
    facts = read(folder)
    tensors = facts["tensors"]["rank0"]
    tensors = {name: t for name, t in tensors.items() if not name.startswith("embedding")}
    weights = sum(
        int(np.prod(t["shape"])) for t in tensors.values()
        if len(t["shape"]) == 2 and t["shape"][1] > 512
    )  # fmt: skip
    return sum(t["bytes"] for t in tensors.values()), weights


def figures(name: str, folder: Path):
    """Prints the line of one scheme."""
    bytes_, weights = weights_read(folder)
    rates, ones, manys, prompts = [], [], [], []
    with Engine(folder, profile=True, max_sequences=TOGETHER) as engine:
        for _ in range(RUNS):
            rates.append(read_rate(os.cpu_count()))
            ones.append(generate(engine, 1, 16, TOKENS)[0])
        rates.append(read_rate(os.cpu_count()))
        one = sum(op["shortest"] for op in engine.statistics()["ops"])
        for _ in range(RUNS):
            manys.append(generate(engine, TOGETHER, 16, TOKENS)[0])
            prompts.append(generate(engine, 1, PROMPT, 1)[1])
    rate = max(rates)
    head = 32000 * 2048
    flop = 2 * PROMPT * (weights - head) + 2 * head
    print(
        f"{name:16}  {bytes_ / 1e6:7.0f} MB  {1e3 * min(ones):7.1f} ms  "
        f"{bytes_ / min(ones) / 1e9:5.1f} GB/s  {100 * bytes_ / min(ones) / rate:4.0f} %  "
        f"[ops at their best {1e3 * one:6.1f} ms {100 * bytes_ / one / rate:4.0f} %]  "
        f"read {rate / 1e9:5.1f} GB/s  16: {1e3 * min(manys):6.1f} ms "
        f"{TOGETHER * min(ones) / min(manys):5.1f} x  "
        f"prefill {flop / min(prompts) / 1e9:5.0f} GFLOP/s  load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def main():
    print(f"{platform.machine()}, {os.cpu_count()} processors, {time.ctime()}")
    for name in sys.argv[1:] or SCHEMES:
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            out = Path(folder) / "engine"
            words = ["model=llama2", f"model.size={SIZE}", "checkpoint=random", f"out={out}"]
            done = command("build", *words, *SCHEMES[name])
            assert done.returncode == 0, done.stderr
            figures(name, out)


if __name__ == "__main__":
    main()

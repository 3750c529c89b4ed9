"""Speed of the built-in model beside transformers' generate:  python tests/figures.py

Both in this run, greedy, end tokens ignored, all processors. Prints medians of `RUNS` runs.
"""

import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import transformers
from conftest import ROOT, command

from core import Engine, Sampling

RUNS, PROMPT, TOKENS = 5, 32, 256
FLIGHT = 32


def median(measure) -> float:
    measure()
    return statistics.median(measure() for _ in range(RUNS))


def of_transformers(checkpoint, dtype) -> float:
    """Tokens per second of one sequence."""
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype).eval()
    ids = torch.tensor(prompts(1))

    def measure():
        begun = time.perf_counter()
        with torch.no_grad():
            out = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False,
                max_new_tokens=TOKENS, min_new_tokens=TOKENS,
            )  # fmt: skip
        assert out.shape[1] == PROMPT + TOKENS
        return TOKENS / (time.perf_counter() - begun)

    return median(measure)


def of_engine(folder, count: int) -> float:
    """Tokens per second of `count` sequences in flight."""
    sampling = Sampling(max_tokens=TOKENS, ignore_eos=True)
    with Engine(folder) as engine:

        def measure():
            begun = time.perf_counter()
            outputs = engine.generate(prompts(count), sampling)
            assert all(len(output.token_ids) == TOKENS for output in outputs)
            return count * TOKENS / (time.perf_counter() - begun)

        return median(measure)


def prompts(count: int) -> list[list[int]]:
    return np.random.default_rng(0).integers(3, 4096, (count, PROMPT)).tolist()


def main():
    checkpoint = ROOT / "models" / "tiny-llama"
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
          f"torch {version('torch')}, transformers {version('transformers')}, "
          f"prompts of {PROMPT}, {TOKENS} tokens each")  # fmt: skip
    theirs = {str(d).removeprefix("torch."): of_transformers(checkpoint, d)
              for d in (torch.float32, torch.bfloat16)}  # fmt: skip
    best = max(theirs.values())
    for name, rate in theirs.items():
        print(f"transformers, {name}, one sequence: {rate:8.0f} tokens/s")
    for arguments in (["dtype=float32"], [], ["quant=fp8"]):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "engine"
            given = ["model=llama2", f"checkpoint={checkpoint}", f"out={out}", *arguments]
            done = command("build", *given)
            assert done.returncode == 0, done.stderr
            for count in (1, FLIGHT):
                rate = of_engine(out, count)
                what = " ".join(arguments) or "bfloat16"
                times = f"{rate / best:.1f} x"
                print(f"ingot, {what}, {count} in flight: {rate:8.0f} tokens/s, {times}")


if __name__ == "__main__":
    main()

"""Measure the speed of an engine:  python -m core.bench engine=engines/llama2 concurrency=[1,8,32]

For each number of sequences in flight: time to first token, time between tokens, tokens a second,
each beside the least that the machine could take (core/step_cost.py over core/machine_rate.py).

A repeat runs one batch for a single token and one for `output_tokens`, both with new random
prompts. The time between tokens is what the second took more, over the tokens more; so prefill
does not count in it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import hydra

from . import command
from .command import ConfigError
from .values import flag, integer

FORMAT, VERSION = "ingot-bench", 1
MOST_IN_FLIGHT, MOST_TOKENS = 1 << 16, 1 << 24


def bench(cfg) -> dict[str, Any]:
    """The results for the engine and the batches that `cfg` (conf/use/bench.yaml) names."""
    import numpy as np
    from omegaconf import OmegaConf

    from . import __version__, machine_rate, manifest, step_cost
    from .runtime import Engine

    folder = Path(os.path.expanduser(str(cfg.engine)))
    facts = manifest.read(folder)
    cost = step_cost.of(folder, facts)
    draw = np.random.default_rng(integer("seed", cfg.seed, 0, 2**63 - 1))
    with Engine(
        folder, threads=cfg.threads, cache_bytes=cfg.cache_bytes, kernels=cfg.kernels
    ) as engine:
        _check_fits(cfg, engine.facts["limits"])
        threads, dtype = engine.facts["threads"], _word(facts["model"]["dtype"])
        reads, products, measured = [], [], []
        for count in cfg.concurrency:
            reads.append(machine_rate.read_rate(threads))
            products.append(machine_rate.product_rate(threads, dtype, cfg.kernels))
            measured.append(_measured(engine, count, cfg, draw))
        reads.append(machine_rate.read_rate(threads))
        products.append(machine_rate.product_rate(threads, dtype, cfg.kernels))
        rates = {"read": max(reads), "product": max(products)}
        budget = engine.facts["limits"]["token_budget"]
        return {
            "format": FORMAT,
            "version": VERSION,
            "ingot": __version__,
            "command": ["python", "-m", "core.bench", *sys.argv[1:]],
            "config": OmegaConf.to_container(cfg, resolve=True),
            "hardware": manifest.hardware(),
            "tools": manifest.tools(),
            "engine": {
                "folder": str(folder.resolve()),
                "built": facts["config"],
                "model": facts["model"],
                "ranks": facts["ranks"],
                "threads": threads,
                "kernels": engine.facts["kernels"],
                "weight_bytes_a_step": cost.weight_bytes,
            },
            "machine": {
                "read_bytes_per_second": rates["read"],
                "operations_per_second": rates["product"],
                "product": f"ingot::Linear of {dtype}",
                "read_samples": reads,
                "product_samples": products,
            },
            "rows": [_row(samples, cfg, cost, rates, budget) for samples in measured],
        }


def _word(dtype: str) -> str:
    return {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}[dtype]


def _check_config(cfg) -> None:
    command.require(cfg, "engine", "the folder that core.build wrote")
    counts = list(cfg.concurrency) if not isinstance(cfg.concurrency, int | str) else []
    if not counts:
        raise ConfigError(f"concurrency={cfg.concurrency}: write a list of numbers: [1,8,32]")
    for count in counts:
        integer("concurrency", count, 1, MOST_IN_FLIGHT)
    if len(set(counts)) < len(counts):
        raise ConfigError(f"concurrency={counts}: a number is there twice")
    integer("prompt_tokens", cfg.prompt_tokens, 1, MOST_TOKENS)
    integer("output_tokens", cfg.output_tokens, 2, MOST_TOKENS)
    integer("repeats", cfg.repeats, 1, 10**6)
    integer("warmup", cfg.warmup, 0, 10**6)
    flag("compare_anyway", cfg.compare_anyway)


def _check_fits(cfg, limits: dict[str, int]) -> None:
    """What the engine was built for holds every batch."""
    most = limits["sequences_in_flight"]
    if too_many := [count for count in cfg.concurrency if count > most]:
        raise ConfigError(
            f"concurrency={too_many[0]}: this engine holds at most {most} sequences; give fewer, "
            "or build it with a larger max_sequences"
        )
    whole = cfg.prompt_tokens + cfg.output_tokens
    if whole > limits["sequence_length"]:
        raise ConfigError(
            f"prompt_tokens={cfg.prompt_tokens} and output_tokens={cfg.output_tokens} are {whole} "
            f"tokens; a sequence of this engine holds {limits['sequence_length']}"
        )


def _measured(engine, count: int, cfg, draw) -> dict[str, Any]:
    """The samples of one row: seconds, by repeat; and of first tokens, by repeat and sequence."""
    first, between, whole = [], [], []
    before = engine.statistics()
    for repeat in range(cfg.warmup + cfg.repeats):
        short_s, outputs = _batch(engine, count, cfg.prompt_tokens, 1, draw)
        long_s, _ = _batch(engine, count, cfg.prompt_tokens, cfg.output_tokens, draw)
        if repeat >= cfg.warmup:
            first.append([output.first_token_s for output in outputs])
            between.append((long_s - short_s) / (cfg.output_tokens - 1))
            whole.append(long_s)
    after = engine.statistics()
    return {
        "concurrency": count,
        "first": first,
        "between": between,
        "whole": whole,
        "preemptions": after["preemptions"] - before["preemptions"],
        "cached_tokens": after["cached_tokens"] - before["cached_tokens"],
    }


def _batch(engine, count: int, prompt_tokens: int, output_tokens: int, draw) -> tuple[float, list]:
    """Seconds for `count` random prompts to be answered, and the answers."""
    from .sampling import Sampling

    prompts = draw.integers(0, engine.vocab, (count, prompt_tokens)).tolist()
    sampling = Sampling(max_tokens=output_tokens, ignore_eos=True)
    started = time.perf_counter()
    outputs = engine.generate(prompts, sampling)
    return time.perf_counter() - started, outputs


def _row(samples: dict[str, Any], cfg, cost, rates: dict[str, float], budget: int) -> dict:
    """Medians and 90th percentiles of one row, with limits and the share of them reached."""
    import numpy as np

    count, prompt, outputs = samples["concurrency"], cfg.prompt_tokens, cfg.output_tokens

    def prefill_s(sequences: int) -> float:
        """The least until the last of so many prompts has its first token."""
        steps = -(-sequences * prompt // budget)
        read = steps * cost.weight_bytes / rates["read"]
        return max(read, sequences * cost.prefill_operations(prompt) / rates["product"])

    length = prompt + outputs / 2  # in the middle of the answer
    read_s = cost.decode_bytes(count, length) / rates["read"]
    product_s = cost.decode_operations(count, length) / rates["product"]
    between_limit = max(read_s, product_s)
    first_limit = float(np.median([prefill_s(i + 1) for i in range(count)]))
    whole_limit = prefill_s(count) + (outputs - 1) * between_limit
    throughput = [count * outputs / seconds for seconds in samples["whole"]]
    return {
        "concurrency": count,
        "prompt_tokens": prompt,
        "output_tokens": outputs,
        "first_token_s": _seconds(np.ravel(samples["first"]), first_limit),
        "between_tokens_s": {
            **_seconds(samples["between"], between_limit),
            "limited_by": "reading" if read_s >= product_s else "products",
            "bytes_a_step": cost.decode_bytes(count, length),
            "operations_a_step": cost.decode_operations(count, length),
        },
        "tokens_per_second": {
            "median": float(np.median(throughput)),
            "p10": float(np.percentile(throughput, 10)),
            "limit": count * outputs / whole_limit,
            "share": float(np.median(throughput)) * whole_limit / (count * outputs),
            "samples": throughput,
        },
        "preemptions": samples["preemptions"],
        "cached_tokens": samples["cached_tokens"],
    }


def _seconds(samples, limit: float) -> dict[str, Any]:
    import numpy as np

    median = float(np.median(samples))
    return {
        "median": median,
        "p90": float(np.percentile(samples, 90)),
        "limit": limit,
        "share": limit / median if median > 0 else 0.0,
        "samples": [float(sample) for sample in samples],
    }


@hydra.main(version_base="1.3", config_path="pkg://conf.use", config_name="bench")
def _hydra_main(cfg):
    from . import bench_page

    _check_config(cfg)
    other = bench_page.read(cfg.compare) if cfg.compare is not None else None
    results = bench(cfg)
    print(bench_page.text(results))
    if cfg.json is not None:
        command.write("json", cfg.json, json.dumps(results, indent=1) + "\n")
    if cfg.plot is not None:
        command.write("plot", cfg.plot, bench_page.plot(results))
    if other is not None:
        print("\n" + bench_page.compared(results, other, cfg.compare_anyway))


def main() -> None:
    command.run(_hydra_main)


if __name__ == "__main__":
    from core.bench import main

    main()

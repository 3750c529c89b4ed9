"""Measure the speed of an engine:  python -m core.bench engine=engines/llama2 workloads=[1x128/64]

For each workload, so many requests at once: time to first token, time between tokens, tokens a
second, each beside the least that the machine could take (core/step_cost.py over
core/machine_rate.py).

A repeat runs one batch for a single token and one for all of its tokens, both with new random
prompts. The time between tokens is what the second took more, over the tokens more; so prefill
does not count in it. More requests than the engine holds in flight wait for one another: they are
one long run, of which tokens a second are told.
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
from .values import flag, integer
from .workload import Workload, check_fits, workloads

FORMAT, VERSION = "ingot-bench", 2


def bench(cfg) -> dict[str, Any]:
    """The results for the engine and the workloads that `cfg` (conf/use/bench.yaml) names."""
    import numpy as np
    from omegaconf import OmegaConf

    from . import __version__, bench_limits, machine_rate, manifest, op_times, step_cost

    folder = Path(os.path.expanduser(str(cfg.engine)))
    facts, rows = manifest.read(folder), workloads(cfg.workloads)
    cost = step_cost.of(folder, facts)
    draw = np.random.default_rng(integer("seed", cfg.seed, 0, 2**63 - 1))
    opened = time.perf_counter()
    with _engine(folder, cfg) as engine:
        opening_s = time.perf_counter() - opened
        limits = engine.facts["limits"]
        check_fits(rows, limits)
        threads, dtype = engine.facts["threads"], _word(facts["model"]["dtype"])
        device = "cuda" if engine.facts["engine"] == "cuda" else None
        codes = cost.codes if device and cost.codes == "f8e4m3" else dtype
        rates = machine_rate.Rates(threads, dtype, codes, cfg.kernels, device, cfg.device)
        reads, products, measured = [], [], []
        for row in rows:
            if device is None or not reads:  # a CPU may be shared with others, who come and go
                reads.append(rates.read())
                products.append(rates.operations())
            measured.append(_measured(engine, row, cfg, draw))
        reads.append(rates.read())
        products.append(rates.operations())
        best = bench_limits.Best(
            cost, max(reads), max(products), limits["token_budget"], limits["sequences_in_flight"]
        )
        told = engine.facts
    ops = []
    if flag("profile", cfg.profile):
        with _engine(folder, cfg, profile=True) as engine:
            ops = [op_times.of_a_step(engine, row, draw) for row in rows]
    return {
        "format": FORMAT,
        "version": VERSION,
        "ingot": __version__,
        "command": ["python", "-m", "core.bench", *sys.argv[1:]],
        "config": OmegaConf.to_container(cfg, resolve=True),
        "hardware": {**manifest.hardware(), "device": _device(device, cfg.device)},
        "tools": manifest.tools(),
        "engine": {
            "folder": str(folder.resolve()),
            "name": told["engine"],
            "built": facts["config"],
            "model": facts["model"],
            "ranks": facts["ranks"],
            "threads": threads,
            "kernels": told["kernels"],
            "lag": told["lag"],
            "limits": limits,
            "memory": told["memory"],
            "random_weights": any(
                "made" in t for r in facts["tensors"].values() for t in r.values()
            ),
            "opening_s": opening_s,
            "weight_bytes_a_step": cost.weight_bytes,
        },
        "machine": {
            "read_bytes_per_second": best.read,
            "operations_per_second": best.product,
            "product": rates.product,
            "read_samples": reads,
            "product_samples": products,
        },
        "rows": [_row(samples, best) for samples in measured],
        "ops": ops,
    }


def _engine(folder: Path, cfg, profile: bool = False):
    from .runtime import Engine

    return Engine(
        folder, threads=cfg.threads, cache_bytes=cfg.cache_bytes, kernels=cfg.kernels,
        cache_fraction=cfg.cache_fraction, device=cfg.device, tune=cfg.tune, graphs=cfg.graphs,
        lag=cfg.lag, profile=profile,
    )  # fmt: skip


def _device(device: str | None, ordinal: int) -> str | None:
    """The name of the GPU that the engine ran on."""
    from . import native

    return native.devices()[ordinal]["name"] if device else None


def _word(dtype: str) -> str:
    return {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}[dtype]


def _check_config(cfg) -> None:
    command.require(cfg, "engine", "the folder that core.build wrote")
    workloads(cfg.workloads)
    integer("repeats", cfg.repeats, 1, 10**6)
    integer("warmup", cfg.warmup, 0, 10**6)
    flag("profile", cfg.profile)
    flag("compare_anyway", cfg.compare_anyway)


def _measured(engine, row: Workload, cfg, draw) -> dict[str, Any]:
    """The samples of one row: seconds, by repeat; and of first tokens, by repeat and sequence."""
    first, between, whole = [], [], []
    before = engine.statistics()
    together = row.requests <= engine.facts["limits"]["sequences_in_flight"]
    for repeat in range(cfg.warmup + cfg.repeats if together else 1):
        short_s, outputs = _batch(engine, row, 1, draw) if together else (0.0, [])
        long_s = short_s
        if row.output_tokens > 1 or not together:
            long_s, _ = _batch(engine, row, row.output_tokens, draw)
        if repeat >= cfg.warmup or not together:
            first.append([output.first_token_s for output in outputs])
            between.append((long_s - short_s) / max(1, row.output_tokens - 1))
            whole.append(long_s)
    after = engine.statistics()
    return {
        "workload": row,
        "first": first if together else None,
        "between": between if together and row.output_tokens > 1 else None,
        "whole": whole,
        "preemptions": after["preemptions"] - before["preemptions"],
        "cached_tokens": after["cached_tokens"] - before["cached_tokens"],
    }


def _batch(engine, row: Workload, output_tokens: int, draw) -> tuple[float, list]:
    """Seconds for the row's random prompts to be answered, and the answers."""
    from .sampling import Sampling

    prompts = draw.integers(0, engine.vocab, (row.requests, row.prompt_tokens)).tolist()
    sampling = Sampling(max_tokens=output_tokens, ignore_eos=True, reuse=False)
    started = time.perf_counter()
    outputs = engine.generate(prompts, sampling)
    return time.perf_counter() - started, outputs


def _row(samples: dict[str, Any], best) -> dict:
    """Medians and 90th percentiles of one row, with limits and the share of them reached."""
    import numpy as np

    row = samples["workload"]
    count, step = row.requests, best.step(row)
    tokens = count * row.output_tokens
    throughput = [tokens / seconds for seconds in samples["whole"]]
    limit = tokens / best.whole_s(row)
    first, between = samples["first"], samples["between"]
    return {
        "workload": str(row),
        "concurrency": count,
        "prompt_tokens": row.prompt_tokens,
        "output_tokens": row.output_tokens,
        "first_token_s": first and _seconds(np.ravel(first), best.first_token_s(row)),
        "between_tokens_s": between and {
            **_seconds(between, step.seconds),
            "limited_by": step.limited_by,
            "bytes_a_step": step.bytes,
            "operations_a_step": step.operations,
        },
        "tokens_per_second": {
            "median": float(np.median(throughput)),
            "p10": float(np.percentile(throughput, 10)),
            "limit": limit,
            "share": float(np.median(throughput)) / limit,
            "samples": throughput,
        },
        "preemptions": samples["preemptions"],
        "cached_tokens": samples["cached_tokens"],
    }  # fmt: skip


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

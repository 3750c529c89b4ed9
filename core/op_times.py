"""Seconds of every op of an engine, for a prompt and for the tokens after it.

The runtime counts where it is opened with `profile`; `statistics()["ops"]` lists for every op of
the plan its name, its operator, the seconds spent in it and how often it was called.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

PROMPT, ANSWER = 128, 32  # tokens, where the engine's sequences are long enough
MOST, SECONDS = 7, 3.0  # repeats, of which the median counts; no more after so many seconds


@dataclass(frozen=True)
class OpTime:
    """One op of the plan."""

    name: str
    op: str
    seconds: float
    calls: int


@dataclass(frozen=True)
class OpTimes:
    """Of one sequence, medians of repeats after one that warmed the engine up."""

    prompt_tokens: int
    answer_tokens: int
    prompt: list[OpTime]
    answer: list[OpTime]
    threads: int
    kernels: str
    repeats: int


def measured(folder: Path, threads: int, kernels: str) -> OpTimes | None:
    """The times of the engine in `folder`, on random tokens; None if its ops are not timed."""
    import numpy as np

    from .runtime import Engine
    from .sampling import Sampling

    with Engine(folder, threads=threads, kernels=kernels, profile=True) as engine:
        longest = engine.facts["limits"]["sequence_length"]
        prompt = max(1, min(PROMPT, longest // 2))
        answer = max(1, min(ANSWER, longest - prompt - 1))
        draw = np.random.default_rng(0)

        def run(tokens: int) -> list[dict[str, Any]]:
            """The counts so far, after a new prompt and `tokens` tokens."""
            ids = draw.integers(0, engine.vocab, prompt).tolist()
            engine.generate([ids], Sampling(max_tokens=tokens, ignore_eos=True))
            return engine.statistics().get("ops", [])

        if not (before := run(answer)):
            return None
        prompts, answers, ends = [], [], time.perf_counter() + SECONDS
        while len(prompts) < MOST and (not prompts or time.perf_counter() < ends):
            short = run(1)
            whole = run(1 + answer)
            prompts.append(_difference(before, short))
            answers.append(_without(_difference(short, whole), prompts[-1]))
            before = whole
        return OpTimes(
            prompt, answer, _medians(prompts), _medians(answers),
            engine.facts["threads"], engine.facts["kernels"], len(prompts),
        )  # fmt: skip


def of_a_step(engine, row, draw) -> dict[str, Any]:
    """Seconds of the ops of a step in which every sequence of a workload gets one token.

    `engine` was opened with `profile`. Ops of equal layers are one entry: how many there are in a
    step, the kernel that the first runs, and the seconds of them all.
    """
    from .sampling import Sampling

    count = min(row.requests, engine.facts["limits"]["sequences_in_flight"])
    steps = max(1, min(ANSWER, row.output_tokens - 1))

    def run(tokens: int) -> list[dict[str, Any]]:
        prompts = draw.integers(0, engine.vocab, (count, row.prompt_tokens)).tolist()
        sampling = Sampling(max_tokens=tokens, ignore_eos=True, reuse=False)
        engine.generate(prompts, sampling)
        return engine.statistics().get("ops", [])

    before, short, whole = run(1 + steps), run(1), run(1 + steps)
    answer = _without(_difference(short, whole), _difference(before, short))
    alike: dict[tuple, dict[str, Any]] = {}
    for op, told in zip(answer, whole, strict=True):
        name = re.sub(r"\d+", "#", op.name)
        entry = alike.setdefault(
            (name, op.op, told["kernel"]),
            {"name": name, "op": op.op, "kernel": told["kernel"], "count": 0, "seconds": 0.0},
        )
        entry["count"] += 1
        entry["seconds"] += op.seconds / steps
    ops = sorted(alike.values(), key=lambda entry: -entry["seconds"])
    return {"workload": str(row), "sequences": count, "ops": ops}


def _difference(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[OpTime]:
    """What was spent between two moments; ops are listed in the order of the plan."""
    return [
        OpTime(b["name"], b["op"], b["seconds"] - a["seconds"], b["calls"] - a["calls"])
        for a, b in zip(before, after, strict=True)
    ]


def _medians(repeats: list[list[OpTime]]) -> list[OpTime]:
    """Every op with the median of its seconds."""
    return [
        replace(ops[0], seconds=median(op.seconds for op in ops))
        for ops in zip(*repeats, strict=True)
    ]


def _without(both: list[OpTime], prompt: list[OpTime]) -> list[OpTime]:
    """A request's times without those of an equally long prompt."""
    return [
        OpTime(x.name, x.op, max(0.0, x.seconds - y.seconds), max(0, x.calls - y.calls))
        for x, y in zip(both, prompt, strict=True)
    ]

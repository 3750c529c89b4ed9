"""Measure an engine:  python -m core.eval engine=engines/llama2 text=heldout.txt

Perplexity: the text is cut into windows of `window` tokens; every token of a window but its first
is predicted from those before it in the same window. With `against`, a reference predicts the same
tokens: how often both think the same token the most probable, and KL(reference || engine).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import hydra

from . import command
from .command import ConfigError, UserError
from .values import integer, number

ALONE = ("perplexity",)  # gates that need no reference
LEAST = ("agreement",)  # gates that are a least, not a most
MOST_TOKENS = 1 << 40


class GateError(UserError):
    """A threshold that was asked for is missed."""


def evaluate(cfg) -> dict[str, Any]:
    """What the engine `cfg.engine` makes of the file `cfg.text` (conf/use/eval.yaml)."""
    text = _judged(cfg)
    from . import reference
    from .runtime import Engine

    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(Engine(cfg.engine, threads=cfg.threads, kernels=cfg.kernels))
        other = None
        if cfg.against is not None:
            other = stack.enter_context(
                reference.opened(str(cfg.against), engine, cfg.threads, cfg.kernels)
            )
        ids = engine.encode(text)[: cfg.tokens]
        started = time.perf_counter()
        found = compared(engine, other, ids, cfg.window, progress=sys.stderr.isatty())
    seconds = time.perf_counter() - started
    against = None if cfg.against is None else str(cfg.against)
    said = {"tokens": found.count, "window": cfg.window, "against": against, "seconds": seconds}
    return {**found.results(), **said}


def compared(engine, other, ids: list[int], window: int, progress: bool = False):
    """The predictions of `engine`, and of `other` if there is one, added up over all windows.

    Raises:
        ConfigError: there are fewer than two tokens.
    """
    import numpy as np

    from .divergence import Divergence

    found = Divergence()
    for start in range(0, len(ids), window):
        part = ids[start : start + window]
        if len(part) < 2:
            continue
        reference_LV = None if other is None else other.logits(part)[:-1]
        found.add(engine.logits(part)[:-1], np.array(part[1:]), reference_LV)
        if progress:
            print(f"\r{start + len(part)} of {len(ids)} tokens", end="", file=sys.stderr)
    if progress:
        print(file=sys.stderr)
    if not found.count:
        raise ConfigError("the text has fewer than two tokens; nothing can be predicted")
    return found


def perplexity(engine, ids: list[int], window: int) -> tuple[float, int]:
    """exp(mean negative log-likelihood) of `ids` in windows of `window`, and how many were scored.

    Raises:
        ConfigError: there are fewer than two tokens.
    """
    found = compared(engine, None, ids, window)
    return found.results()["perplexity"], found.count


def check_gates(results: dict[str, Any], gates: dict[str, float | None]) -> None:
    """Raises a GateError with a sentence for every gate that is missed; NaN misses each."""
    missed = []
    for name, limit in gates.items():
        if limit is None:
            continue
        value, least = results[name], name in LEAST
        if not (value >= limit if least else value <= limit):
            said = "at least" if least else "at most"
            missed.append(
                f"gate.{name} is missed: {name} is {value:.6g}, {said} {limit:g} is asked"
            )
    if missed:
        raise GateError("\n".join(missed))


def _judged(cfg) -> str:
    """The text, after every value of `cfg` has been judged."""
    command.require(cfg, "engine", "the folder that core.build wrote")
    command.require(cfg, "text", "a UTF-8 file that the model was not trained on")
    if not isinstance(cfg.window, int) or cfg.window < 2:
        raise ConfigError(f"window={cfg.window}: a window is a number of tokens, at least 2")
    if cfg.tokens is not None:
        integer("tokens", cfg.tokens, 2, MOST_TOKENS)
    for name, limit in cfg.gate.items():
        if limit is None:
            continue
        if not math.isfinite(number(f"gate.{name}", limit)) or limit < 0:
            raise ConfigError(f"gate.{name}={limit}: a gate is a number, 0 or more")
        if cfg.against is None and name not in ALONE:
            raise ConfigError(
                f"gate.{name} judges the distance from a reference; add against=…, an engine "
                "folder or a checkpoint"
            )
    try:
        return Path(os.path.expanduser(cfg.text)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"text={cfg.text} cannot be read: {why}") from error


def page(results: dict[str, Any]) -> str:
    """The results in a few lines."""
    rate = results["tokens"] / results["seconds"]
    lines = [
        f"perplexity {results['perplexity']:.4f} over {results['tokens']} tokens "
        f"(windows of {results['window']}; {rate:.0f} tokens/s)"
    ]
    if results["against"] is not None:
        lines += [
            f"against {results['against']}: perplexity {results['reference_perplexity']:.4f}, "
            f"ratio {results['ratio']:.5f}",
            f"KL(reference || engine) {results['kl']:.3e} nats a token, at most "
            f"{results['max_kl']:.3e}",
            f"the most probable token is the same for {results['agreement']:.3%} of the tokens",
        ]
    return "\n".join(lines)


def _record(cfg, results: dict[str, Any]) -> str:
    """The results as JSON, with what they were measured on."""
    from omegaconf import OmegaConf

    from . import __version__, manifest

    told = {
        "format": "ingot-eval",
        "version": 1,
        "ingot": __version__,
        "command": ["python", "-m", "core.eval", *sys.argv[1:]],
        "config": OmegaConf.to_container(cfg, resolve=True),
        "hardware": manifest.hardware(),
        "tools": manifest.tools(),
    }
    return json.dumps({**told, "results": results}, indent=1) + "\n"


@hydra.main(version_base="1.3", config_path="pkg://conf.use", config_name="eval")
def _hydra_main(cfg):
    results = evaluate(cfg)
    print(page(results))
    if cfg.json is not None:
        command.write("json", cfg.json, _record(cfg, results))
    check_gates(results, dict(cfg.gate))


def main() -> None:
    command.run(_hydra_main)


if __name__ == "__main__":
    from core.eval import main

    main()

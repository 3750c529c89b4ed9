"""Measure an engine:  python -m core.eval engine=engines/llama2 text=heldout.txt

Perplexity: the text is cut into windows of `window` tokens; every token of a window but its first
is predicted from those before it in the same window.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import hydra

from . import command
from .command import ConfigError


def evaluate(cfg) -> dict:
    """Perplexity of the engine `cfg.engine` on the file `cfg.text` (conf/use/eval.yaml)."""
    command.require(cfg, "engine", "the folder that core.build wrote")
    command.require(cfg, "text", "a UTF-8 file that the model was not trained on")
    if not isinstance(cfg.window, int) or cfg.window < 2:
        raise ConfigError(f"window={cfg.window}: a window is a number of tokens, at least 2")
    try:
        text = Path(os.path.expanduser(cfg.text)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"text={cfg.text} cannot be read: {why}") from error
    from .runtime import Engine

    with Engine(cfg.engine, threads=cfg.threads, kernels=cfg.kernels) as engine:
        ids = engine.encode(text)
        started = time.perf_counter()
        value, count = perplexity(engine, ids, cfg.window, progress=sys.stderr.isatty())
    seconds = time.perf_counter() - started
    return {"perplexity": value, "tokens": count, "window": cfg.window, "seconds": seconds}


def perplexity(engine, ids: list[int], window: int, progress: bool = False) -> tuple[float, int]:
    """exp(mean negative log-likelihood) of `ids` in windows of `window`, and how many were scored.

    Raises:
        ConfigError: there are fewer than two tokens.
    """
    import numpy as np

    total, count = 0.0, 0
    for start in range(0, len(ids), window):
        part = ids[start : start + window]
        if len(part) < 2:
            continue
        logits_LV = engine.logits(part)[:-1].astype(np.float64)
        chosen_L = logits_LV[np.arange(len(part) - 1), part[1:]]
        peak_L = logits_LV.max(axis=1)
        sum_L = np.exp(logits_LV - peak_L[:, None]).sum(axis=1)
        total += float((np.log(sum_L) + peak_L - chosen_L).sum())
        count += len(part) - 1
        if progress:
            print(f"\r{start + len(part)} of {len(ids)} tokens", end="", file=sys.stderr)
    if progress:
        print(file=sys.stderr)
    if not count:
        raise ConfigError("the text has fewer than two tokens; nothing can be predicted")
    return float(np.exp(total / count)), count


@hydra.main(version_base="1.3", config_path="pkg://conf.use", config_name="eval")
def _hydra_main(cfg):
    result = evaluate(cfg)
    rate = result["tokens"] / result["seconds"]
    print(
        f"perplexity {result['perplexity']:.4f} over {result['tokens']} tokens "
        f"(windows of {result['window']}; {rate:.0f} tokens/s)"
    )


def main() -> None:
    command.run(_hydra_main)


if __name__ == "__main__":
    from core.eval import main

    main()

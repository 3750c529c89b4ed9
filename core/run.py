"""Run an engine:  python -m core.run engine=engines/llama2 prompt="def f(" temperature=0.8 seed=7

One prompt streams to standard output as it is generated. `prompts=file` runs one prompt per line,
all in flight together, and prints them in order. `ids=[1,532]` is a prompt of token ids, and prints
ids: engines of random weights have no tokenizer. The report goes to standard error.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import fields
from pathlib import Path

import hydra
from omegaconf import OmegaConf

from . import command
from .command import ConfigError


def run(cfg) -> None:
    """Generate for the prompt or prompts that `cfg` (conf/use/run.yaml) names."""
    command.require(cfg, "engine", "the folder that core.build wrote")
    if sum(cfg[key] is not None for key in ("prompt", "prompts", "ids")) != 1:
        raise ConfigError(
            'give either prompt="…", prompts=FILE (one prompt per line) or ids=[1,532] (tokens)'
        )
    if cfg.ids is not None and cfg.chat:
        raise ConfigError("chat=true makes a chat of a text; give prompt=… or prompts=… with it")
    if cfg.system is not None and not cfg.chat:
        raise ConfigError("system=… is a message of a chat; add chat=true")
    from .runtime import Engine

    prompts = None if cfg.prompts is None else read_prompts(str(cfg.prompts))
    sampling = _sampling(cfg)
    started = time.perf_counter()
    with Engine(
        cfg.engine,
        threads=cfg.threads,
        cache_bytes=cfg.cache_bytes,
        kernels=cfg.kernels,
        policy=cfg.policy,
        lag=cfg.lag,
        cache_fraction=cfg.cache_fraction,
        device=cfg.device,
        tune=cfg.tune,
        graphs=cfg.graphs,
    ) as engine:
        opened = time.perf_counter()
        if cfg.chat:
            prompts = _chats(engine, prompts or [cfg.prompt], cfg.system)
        if cfg.ids is not None:
            outputs = _tokens(engine, _plain(cfg.ids), sampling)
        elif cfg.chat and len(prompts) == 1 and sampling.n == 1:
            outputs = [_one(engine, prompts[0], sampling)]
        elif prompts or sampling.n != 1:
            outputs = _all(engine, prompts or [cfg.prompt], sampling)
        else:
            outputs = [_one(engine, cfg.prompt, sampling)]
        _print_logprobs(engine, outputs)
        _report(outputs, opened - started, time.perf_counter() - opened)


def read_prompts(path: str) -> list[str]:
    """The lines of `path` that are not blank. Only a newline ends a line, with or without a
    carriage return: prompts may hold what else Unicode calls a line break.

    Raises:
        ConfigError: the file cannot be read, is not UTF-8, or holds no prompt.
    """
    try:
        text = Path(os.path.expanduser(path)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"prompts={path} cannot be read: {why}") from error
    prompts = [line for line in text.split("\n") if line.strip()]
    if not prompts:
        raise ConfigError(f"prompts={path} holds no prompt; write one per line")
    return prompts


def _sampling(cfg):
    from .sampling import Sampling

    values = {f.name: _plain(cfg[f.name]) for f in fields(Sampling) if f.name in cfg}
    for name in ("stop", "bad_words"):
        one = values[name]
        values[name] = [one] if isinstance(one, str) else one or []
    values["logit_bias"] = values["logit_bias"] or {}
    return Sampling(**values)


def _plain(value):
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _chats(engine, prompts: list[str], system: str | None) -> list[list[int]]:
    """Each prompt as what a user says first, in the words of the checkpoint's template."""
    from . import chat

    before = [] if system is None else [{"role": "system", "content": system}]
    said = [[*before, {"role": "user", "content": prompt}] for prompt in prompts]
    return [chat.prompt_ids(engine, messages) for messages in said]


def _one(engine, prompt: str | list[int], sampling):
    """Prints a text with what follows it, or of a chat the answer."""
    generation = engine.submit(prompt, sampling)
    try:
        print(prompt if isinstance(prompt, str) else "", end="", flush=True)
        for piece in generation:
            print(piece, end="", flush=True)
        print()
    except KeyboardInterrupt:
        generation.cancel()
        print()
        raise
    return generation.output


def _tokens(engine, ids, sampling) -> list:
    """A prompt of token ids; prints the ids of each answer in a line."""
    if not isinstance(ids, list):
        raise ConfigError(f"ids={ids}: write a list of token ids, for example ids=[1,532]")
    outputs = engine.generate([ids], sampling)
    for choice in outputs[0].choices:
        print(*choice.token_ids)
    return outputs


def _all(engine, prompts: list, sampling) -> list:
    outputs = engine.generate(prompts, sampling)
    texts = [text if isinstance(text, str) else engine.decode(text) for text in prompts]
    for prompt, output in zip(texts, outputs, strict=True):
        for number, choice in enumerate(output.choices, 1):
            score = "" if choice.score is None else f", score {choice.score:.4f}"
            which = f" ({number} of {sampling.n}{score})" if sampling.n > 1 else ""
            print(f"--- {prompt}{which}\n{choice.text}")
    return outputs


def _print_logprobs(engine, outputs: list) -> None:
    """A line per token: its text and log-probability, then the best ones at its place."""
    for output in outputs:
        _print_scores(
            engine, output.prompt_ids[1:], output.prompt_logprobs, output.prompt_top_logprobs
        )
        for choice in output.choices:
            _print_scores(engine, choice.token_ids, choice.logprobs, choice.top_logprobs)


def _print_scores(engine, tokens: list[int], logprobs: list | None, tops: list | None) -> None:
    if logprobs is None:
        return
    for token, logprob, top in zip(tokens, logprobs, tops or [{}] * len(tokens), strict=True):
        others = "".join(f"  {engine.decode([t])!r} {value:.3f}" for t, value in top.items())
        print(f"{engine.decode([token])!r:16} {logprob:8.3f}{others}", file=sys.stderr)


def _report(outputs: list, open_s: float, run_s: float) -> None:
    prompt = sum(len(output.prompt_ids) for output in outputs)
    generated = sum(len(choice.token_ids) for output in outputs for choice in output.choices)
    first = sorted(output.first_token_s for output in outputs)[len(outputs) // 2]
    reasons = sorted({choice.finish_reason for output in outputs for choice in output.choices})
    print(
        f"[{len(outputs)} {'prompt' if len(outputs) == 1 else 'prompts'} of {prompt} tokens, "
        f"{generated} generated ({', '.join(reasons)}); opened in {open_s:.2f} s, "
        f"first token after {first * 1000:.1f} ms, {generated / run_s:.0f} tokens/s]",
        file=sys.stderr,
    )


@hydra.main(version_base="1.3", config_path="pkg://conf.use", config_name="run")
def _hydra_main(cfg):
    run(cfg)


def main() -> None:
    command.run(_hydra_main)


if __name__ == "__main__":
    from core.run import main

    main()

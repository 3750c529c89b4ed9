"""How tokens are chosen, and its translation into the C API's request."""

from __future__ import annotations

import ctypes
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import native, values
from .command import ArgumentError


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next tokens are chosen. The defaults are greedy."""

    max_tokens: int = 64
    min_tokens: int = 0  # end tokens and stop strings are ignored before
    temperature: float = 0.0  # 0: the most probable token
    top_p: float = 1.0  # the smallest set of tokens whose probabilities reach this
    top_k: int = 0  # the k most probable tokens; 0: all
    seed: int | None = None  # equal seeds, equal tokens; None: drawn for each request
    stop: Sequence[str] = ()  # the text ends before the first of these
    stop_ids: Sequence[int] = ()  # tokens that end the text, besides the model's own
    logprobs: int | None = None  # 0: of the chosen token; n: and of the n best, at most 64
    ignore_eos: bool = False
    priority: int = 0  # higher first


def request_struct(ids: list[int], sampling: Sampling, logits_LV: np.ndarray | None):
    """The C struct, and what must stay alive until it was submitted.

    Raises:
        ArgumentError: a value is no number, or does not fit its C type. Ranges are for the
            runtime to judge.
    """
    for name in ("temperature", "top_p"):
        values.number(name, getattr(sampling, name))
    for name in ("max_tokens", "min_tokens", "top_k", "priority"):
        values.integer(name, getattr(sampling, name), -(2**31), 2**31 - 1)
    seed = secrets.randbits(64) if sampling.seed is None else sampling.seed
    values.integer("seed", seed, 0, 2**64 - 1)
    logprobs = -1 if sampling.logprobs is None else sampling.logprobs
    if sampling.logprobs is not None:
        values.integer("logprobs", logprobs, 0, 64)
    for name in ("stop", "stop_ids"):
        if not isinstance(getattr(sampling, name), list | tuple):
            raise ArgumentError(f"{name} is {getattr(sampling, name)!r}; give a list")
    stops = [values.text("stop", text).encode() for text in sampling.stop]
    if any(b"\0" in text for text in stops):
        raise ArgumentError("a stop string holds a NUL character, which no text can contain")
    for token in sampling.stop_ids:
        values.integer("stop_ids", token, 0, 2**31 - 1)
    ids_C = (ctypes.c_int32 * max(1, len(ids)))(*ids)
    stop_ids_C = (ctypes.c_int32 * max(1, len(sampling.stop_ids)))(*sampling.stop_ids)
    stops_C = (ctypes.c_char_p * max(1, len(stops)))(*stops)
    request = native.Request(
        ids=ids_C,
        n_ids=len(ids),
        max_tokens=sampling.max_tokens,
        min_tokens=sampling.min_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        seed=seed,
        logprobs=logprobs,
        ignore_eos=int(values.flag("ignore_eos", sampling.ignore_eos)),
        stop_ids=stop_ids_C,
        n_stop_ids=len(sampling.stop_ids),
        stops=stops_C,
        n_stops=len(stops),
        priority=sampling.priority,
    )
    if logits_LV is not None:
        request.logits = logits_LV.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    return request, (ids_C, stop_ids_C, stops_C, stops)

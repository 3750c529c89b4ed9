"""How tokens are chosen, and its translation into the C API's request."""

from __future__ import annotations

import ctypes
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from . import native, values
from .bad_words import BadWords
from .command import ArgumentError
from .embedded_prompt import EmbeddedPrompt
from .prompt_rows import INTEGERS, PromptRows

EARLY_STOPPING = (False, True, "never")  # by IngotRequest.early_stopping
PENALTIES = ("repetition_penalty", "presence_penalty", "frequency_penalty")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next tokens are chosen. The defaults are greedy.

    The model's logits are changed in the order of transformers' generate: logit_bias,
    repetition_penalty, presence_penalty and frequency_penalty, no_repeat_ngram_size, bad_words,
    min_tokens; then temperature, top_k, top_p and min_p decide what may be drawn.
    Log-probabilities are those of the logits before any of this.
    """

    max_tokens: int = 64
    min_tokens: int = 0  # before, no end token and no stop_ids are drawn; stop is ignored
    temperature: float = 0.0  # 0: the most probable token
    top_p: float = 1.0  # the smallest set of tokens whose probabilities reach this
    top_k: int = 0  # the k most probable tokens; 0: all
    min_p: float = 0.0  # tokens at least this many times as probable as the best; 0: all
    seed: int | None = None  # equal seeds, equal tokens; None: drawn for each request
    stop: Sequence[str] = ()  # the text ends before the first of these
    stop_ids: Sequence[int] = ()  # tokens that end the text, besides the model's own
    logprobs: int | None = None  # 0: of the chosen token; n: and of the n best, at most 64
    ignore_eos: bool = False
    priority: int = 0  # higher first
    repetition_penalty: float = 1.0  # divides logits of tokens of prompt and answer; 1: none
    presence_penalty: float = 0.0  # -2 to 2: taken from the logit of every generated token
    frequency_penalty: float = 0.0  # -2 to 2: taken as often as the token was generated
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # added, by token
    bad_words: Sequence[str | Sequence[int]] = ()  # texts and token sequences never completed
    no_repeat_ngram_size: int = 0  # no n tokens in a row come twice, prompt included; 0: they may
    prompt_logprobs: int | None = None  # 0: of each prompt token; n: and of the n best, at most 64
    n: int = 1  # texts, each with noise of its own; the prompt is computed once
    best_of: int | None = None  # texts that are sampled, of which the n best per token are told
    beam_width: int = 1  # above 1: beam search, of which the n best texts are told
    length_penalty: float = 1.0  # of beam search: scores are divided by tokens ** length_penalty
    early_stopping: bool | str = (
        False  # of beam search: False | True | "never", as transformers has it
    )
    reuse: bool = True  # finds the cache's pages of other requests, and leaves its own for them
    salt: str | None = None  # only requests of the same salt find each other's pages

    def orders(self) -> bool:
        """Whether its texts come in the order of their scores."""
        return self.beam_width > 1 or (self.best_of is not None and self.best_of > self.n)


def prompt_rows(ids: list[int], sampling: Sampling) -> PromptRows:
    """Arrays for what `sampling` asks of the prompt `ids`.

    Raises:
        ArgumentError: prompt_logprobs is out of range.
    """
    if sampling.prompt_logprobs is None:
        return PromptRows()
    best = values.integer("prompt_logprobs", sampling.prompt_logprobs, 0, 64)
    return PromptRows.of_logprobs(len(ids), best)


def request_struct(ids: list[int], sampling: Sampling, rows: PromptRows, bad_words: BadWords):
    """The C struct, and what must stay alive until it was submitted.

    Raises:
        ArgumentError: a value is no number, or does not fit its C type. Ranges are for the
            runtime to judge.
    """
    check_choices(sampling)
    for name in ("temperature", "top_p", "min_p", "length_penalty", *PENALTIES):
        values.number(name, getattr(sampling, name))
    if sampling.repetition_penalty == 0:
        raise ArgumentError("repetition_penalty is 0; it must be above 0; 1 means none")
    for name in ("max_tokens", "min_tokens", "top_k", "priority", "no_repeat_ngram_size"):
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
    salt = _salt(sampling.salt)
    bias_ids_C, bias_values_C = _bias(sampling.logit_bias)
    bad_tokens, bad_lengths = bad_words.arrays(sampling.bad_words)
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
        bias_ids=bias_ids_C,
        bias_values=bias_values_C,
        n_bias=len(sampling.logit_bias),
        no_repeat_ngram_size=sampling.no_repeat_ngram_size,
        n_bad_words=len(bad_lengths),
        bad_words=bad_tokens.ctypes.data_as(INTEGERS),
        bad_word_lengths=bad_lengths.ctypes.data_as(INTEGERS),
        min_p=sampling.min_p,
        n=sampling.n,
        best_of=sampling.best_of or 0,
        beam_width=sampling.beam_width,
        early_stopping=EARLY_STOPPING.index(sampling.early_stopping),
        length_penalty=sampling.length_penalty,
        no_reuse=int(not values.flag("reuse", sampling.reuse)),
        salt=salt,
        **{name: getattr(sampling, name) for name in PENALTIES},
    )
    rows.enter(request)
    if isinstance(ids, EmbeddedPrompt):
        ids.enter(request)
    return request, (
        ids_C,
        stop_ids_C,
        stops_C,
        stops,
        bias_ids_C,
        bias_values_C,
        bad_tokens,
        bad_lengths,
        salt,
    )


def check_choices(sampling: Sampling) -> None:
    """n, best_of and beam_width are counts, early_stopping is one of its words.

    Raises:
        ArgumentError: they are not. How many the engine can run is for the runtime to judge.
    """
    for name in ("n", "best_of", "beam_width"):
        if (count := getattr(sampling, name)) is not None or name != "best_of":
            values.integer(name, count, 1, 2**31 - 1)
    if not any(sampling.early_stopping is word for word in (False, True)) and (
        sampling.early_stopping != "never"
    ):
        raise ArgumentError(
            f'early_stopping is {sampling.early_stopping!r}; it must be False, True or "never"'
        )


def _salt(salt: str | None) -> bytes | None:
    if salt is None:
        return None
    if "\0" in values.text("salt", salt):
        raise ArgumentError("salt holds a NUL character")
    return salt.encode()


def _bias(logit_bias: Mapping[int, float]):
    if not isinstance(logit_bias, Mapping):
        raise ArgumentError(f"logit_bias is {logit_bias!r}; give a dict of tokens and numbers")
    for token, bias in logit_bias.items():
        values.integer("logit_bias", token, 0, 2**31 - 1, "; it is a token")
        values.number(f"logit_bias of token {token}", bias)
    count = max(1, len(logit_bias))
    return (ctypes.c_int32 * count)(*logit_bias), (ctypes.c_float * count)(*logit_bias.values())

"""The Python API over the C++ runtime: open an engine folder, generate, stream, ask for logits.

    from core import Engine, Sampling
    with Engine("engines/llama2") as engine:
        for piece in engine.stream("def f(", Sampling(max_tokens=32)):
            print(piece, end="", flush=True)

One thread polls the runtime and hands events to the generations they belong to; every method may
be called from any thread.
"""

from __future__ import annotations

import ctypes
import json
import operator
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from . import native, values
from .bad_words import BadWords
from .command import ArgumentError, PlanError, UserError
from .embedded_prompt import EmbeddedPrompt
from .generation import FINISH, FINISH_REASONS, TOKEN, Generation, Output
from .options import folder, options_struct
from .prompt_rows import PromptRows
from .sampling import Sampling, prompt_rows, request_struct

EVENTS_A_POLL = 256


class Engine:
    """An open engine folder. Close it, or use it in a `with` statement.

    Arguments of 0 or None leave the choice to the runtime.

    Raises:
        PlanError: the folder is incomplete, edited, or of another version.
        MachineError: this machine cannot run it.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        threads: int = 0,  # CPU threads
        cache_bytes: int | None = None,  # memory for keys and values
        max_sequences: int = 0,  # in flight together
        token_budget: int = 0,  # tokens of one step
        kernels: str = "auto",  # auto | batch_invariant | avx512 | avx2 | portable | naive
        verify: bool = False,  # compare the checksum of every weight first
        profile: bool = False,  # take the time of every op: statistics()["ops"]
        policy: str = "max_utilization",  # max_utilization | guaranteed_no_evict
        lag: int | None = None,  # 0 to 2: steps scheduled ahead of the one that runs
        cache_fraction: float | None = None,  # GPU: of the free memory, where cache_bytes is None
        device: int = 0,  # GPU: which
        tune: str = "time",  # GPU: never | time | bake tactics of products that are not known
        graphs: bool = True,  # GPU: steps may be captured
    ):
        self._handle, self._lock = None, threading.Lock()
        self.directory = folder(directory)
        options = options_struct(
            threads,
            cache_bytes,
            max_sequences,
            token_budget,
            kernels,
            verify,
            profile,
            policy,
            lag,
            cache_fraction,
            device,
            tune,
            graphs,
        )
        handle = ctypes.c_void_p()
        native.check(
            native.library().ingot_open(
                os.fsencode(self.directory), ctypes.byref(options), ctypes.byref(handle)
            )
        )
        self.directory = self.directory.absolute()  # it stays the same when the process moves
        self._handle = handle
        self.facts = json.loads(native.text(native.library().ingot_describe(handle)))
        self.vocab: int = self.facts["vocab"]
        self._tokenizer, self._bad_words = None, BadWords(lambda: self.tokenizer)
        self._running: dict[int, Generation] = {}
        self._closing = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="ingot-poll", daemon=True)
        self._poller.start()

    def generate(
        self,
        prompts: str | Sequence[str | Sequence[int]],
        sampling: Sampling | Sequence[Sampling] | None = None,
    ) -> list[Output]:
        """One output per prompt, in order; all prompts are in flight together.

        `prompts`: a string, or a list of strings, lists of token ids, and float arrays [L, D] of
        vectors instead of ids (features=[embeddings]). `sampling`: one for all, or one per prompt.

        Raises:
            ArgumentError: a prompt or a sampling value is out of range; nothing was generated.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        samplings = [sampling] * len(prompts) if _is_one(sampling) else list(sampling)
        if len(samplings) != len(prompts):
            raise ArgumentError(
                f"{len(prompts)} prompts were given, but {len(samplings)} samplings"
            )
        generations = []
        try:
            for prompt, one in zip(prompts, samplings, strict=True):
                generations.append(self.submit(prompt, one))
            return [generation.result() for generation in generations]
        except BaseException:
            for generation in generations:
                generation.cancel()
            raise

    def stream(
        self, prompt: str | Sequence[int], sampling: Sampling | None = None
    ) -> Iterator[str]:
        """Yields the text piece by piece; leaving the loop early cancels the request.

        Raises:
            ArgumentError: n is above 1: submit() the request and take its pieces().
        """
        if sampling is not None and sampling.n != 1:
            raise ArgumentError(
                f"n is {sampling.n!r}, and stream yields one text; submit() it and take pieces()"
            )
        generation = self.submit(prompt, sampling)
        try:
            yield from generation
        finally:
            if not generation._done:
                generation.cancel()

    def submit(self, prompt: str | Sequence[int], sampling: Sampling | None = None) -> Generation:
        """Starts a request and returns at once."""
        return self._submit(self._ids(prompt), sampling or Sampling())

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """float32 [L, V]: the scores of the next token after each of the L tokens `ids`."""
        ids = self._ids(ids)
        logits_LV = np.zeros((len(ids), self.vocab), np.float32)
        self._submit(ids, Sampling(max_tokens=0), PromptRows(logits_LV)).result()
        return logits_LV

    def hidden(self, ids: Sequence[int]) -> np.ndarray:
        """float32 [L, D]: the last hidden states, which the head reads, of the L tokens `ids`.

        Raises:
            ArgumentError: the engine was not built with features=[hidden].
        """
        ids = self._ids(ids)
        hidden_LD = np.zeros((len(ids), max(1, self.facts["hidden"])), np.float32)
        self._submit(ids, Sampling(max_tokens=0), PromptRows(hidden_LD=hidden_LD)).result()
        return hidden_LD

    def encode(self, text: str) -> list[int]:
        """Token ids, with the special tokens that the checkpoint's tokenizer adds."""
        return self.tokenizer.encode(values.text("the text", text)).ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids` without special tokens."""
        return self.tokenizer.decode(self._ids(ids))

    @property
    def tokenizer(self):
        """The checkpoint's tokenizer (tokenizers.Tokenizer)."""
        if self._tokenizer is None:
            path = self.directory / "tokenizer.json"
            if not path.exists():
                if not self.directory.exists():
                    raise PlanError(
                        f"{self.directory} was moved or removed after it was opened, before its "
                        "tokenizer was read; open the engine again"
                    )
                raise PlanError(
                    f"{self.directory} has no tokenizer.json, so it takes no text: "
                    "give token ids, or build from a checkpoint with a tokenizer"
                )
            from tokenizers import Tokenizer

            try:
                self._tokenizer = Tokenizer.from_file(str(path))
            except Exception as error:  # tokenizers has no exception of its own
                raise PlanError(
                    f"{path} cannot be read: {error}; build from a checkpoint whose tokenizer "
                    "transformers reads"
                ) from error
        return self._tokenizer

    def statistics(self) -> dict:
        """Counters: steps, tokens, free pages, running and waiting requests, preemptions.

        With `profile`, ops: each op's name, op, calls, seconds of all calls, of the shortest.
        """
        return json.loads(native.text(native.library().ingot_statistics(self._open_handle())))

    def close(self) -> None:
        """Cancels what is running and frees the engine. Closing twice is no error."""
        with self._lock:
            handle, self._handle = self._handle, None
            running, self._running = list(self._running.values()), {}
        if handle is None:
            return
        self._closing.set()
        self._poller.join()
        for generation in running:
            sentence = "the engine was closed while this request was running"
            generation._events.put(UserError(sentence))
        native.library().ingot_close(handle)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __del__(self):
        if getattr(self, "_handle", None) is not None:
            self.close()

    def _ids(self, prompt: str | Sequence[int]) -> list[int]:
        if isinstance(prompt, str):
            return self.encode(prompt)
        if isinstance(prompt, np.ndarray) and prompt.ndim > 1:
            return EmbeddedPrompt(prompt, self.facts["embeddings"])
        try:
            ids = [operator.index(token) for token in prompt]
        except TypeError:
            raise ArgumentError(
                f"a prompt is {prompt!r:.80}; give a text, or a list of token ids"
            ) from None
        for place, token in enumerate(ids):
            if not 0 <= token < self.vocab:
                raise ArgumentError(
                    f"token {place} of the prompt is {token}; "
                    f"this engine knows 0 to {self.vocab - 1}"
                )
        return ids

    def _submit(self, ids: list[int], sampling: Sampling, rows=None) -> Generation:
        rows = rows or prompt_rows(ids, sampling)
        request, keep = request_struct(ids, sampling, rows, self._bad_words)
        identity = ctypes.c_uint64()
        with self._lock:  # the first event may come before submit returns
            native.check(
                native.library().ingot_submit(
                    self._open_handle(), ctypes.byref(request), ctypes.byref(identity)
                )
            )
            generation = Generation(self, ids, sampling, rows)
            generation.id = identity.value
            generation._keep = keep
            self._running[identity.value] = generation
        return generation

    def _cancel(self, identity: int) -> None:
        with self._lock:
            if identity in self._running and self._handle is not None:
                native.check(native.library().ingot_cancel(self._handle, identity))

    def _open_handle(self):
        if self._handle is None:
            raise UserError(f"the engine {self.directory} is closed")
        return self._handle

    def _poll(self) -> None:
        library, handle = native.library(), self._handle
        events = (native.Event * EVENTS_A_POLL)()
        while not self._closing.is_set():
            count = library.ingot_poll(handle, events, EVENTS_A_POLL, 0.05)
            if count < 0:
                return self._fail(library.ingot_last_error().decode("utf-8", "replace"))
            if count:
                with self._lock:
                    for event in events[:count]:
                        self._hand_over(event)
        return None

    def _hand_over(self, event: native.Event) -> None:
        generation = self._running.get(event.request)
        if generation is None:
            return
        text = ctypes.string_at(event.text, event.text_bytes).decode() if event.text_bytes else ""
        if event.kind == TOKEN:
            top = {event.top_ids[i]: event.top_logprobs[i] for i in range(event.n_top)}
            token = (event.token, event.logprob, top)
            generation._events.put((TOKEN, event.index, text, token))
            return
        failed = FINISH_REASONS[event.finish] == "error"
        generation.to_come -= 1
        if failed or generation.to_come == 0:
            del self._running[event.request]
        if failed:
            generation._events.put(UserError(text))
            return
        times = (event.queued_s, event.first_token_s, event.total_s)
        end = (event.finish, event.score, event.cached_tokens, *times)
        generation._events.put((FINISH, event.index, text, end))

    def _fail(self, sentence: str) -> None:
        with self._lock:
            for generation in self._running.values():
                generation._events.put(UserError(sentence))
            self._running.clear()


def _is_one(sampling) -> bool:
    return sampling is None or isinstance(sampling, Sampling)

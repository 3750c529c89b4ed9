"""A request that runs: its pieces of text as they become certain, and what became of it."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .prompt_rows import PromptRows
from .sampling import Sampling

if TYPE_CHECKING:
    from .runtime import Engine

TOKEN, FINISH = 1, 2  # IngotEventKind
FINISH_REASONS = {1: "stop", 2: "length", 3: "cancelled", 4: "error"}  # IngotFinish


@dataclass
class Output:
    """What became of one prompt."""

    prompt_ids: list[int]
    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: str = ""  # stop | length | cancelled
    logprobs: list[float] | None = None  # natural logarithms, one per token
    top_logprobs: list[dict[int, float]] | None = None  # of the best tokens at each place
    prompt_logprobs: list[float] | None = None  # one per prompt token after the first
    prompt_top_logprobs: list[dict[int, float]] | None = None  # of the best tokens in their places
    cached_tokens: int = 0  # of the prompt, found in the cache
    queued_s: float = 0.0  # from submit to the first step
    first_token_s: float = 0.0  # from submit to the first token
    total_s: float = 0.0  # from submit to the end


class Generation:
    """A submitted request: iterate over its pieces of text, or wait for its result."""

    def __init__(self, engine: Engine, prompt_ids: list[int], sampling: Sampling, rows: PromptRows):
        self._engine, self._events, self._done = engine, queue.SimpleQueue(), False
        self.id, self._rows = 0, rows
        self.output = Output(prompt_ids)
        if sampling.logprobs is not None:
            self.output.logprobs = []
            self.output.top_logprobs = [] if sampling.logprobs else None

    def __iter__(self) -> Iterator[str]:
        """Pieces of text as they become certain: whole characters, never part of a stop string.

        Raises:
            UserError: the engine failed while it worked on this request.
        """
        while not self._done:
            piece = self._next()
            if piece:
                yield piece

    def result(self) -> Output:
        """Waits for the end; the same object as `output`, complete."""
        for _ in self:
            pass
        return self.output

    def cancel(self) -> None:
        """Ends the request before the next step; its iteration then ends as "cancelled"."""
        self._engine._cancel(self.id)

    def _next(self) -> str:
        event = self._events.get()
        if isinstance(event, Exception):
            self._done = True
            raise event
        kind, text, values = event
        output = self.output
        output.text += text
        if kind == TOKEN:
            token, logprob, top = values
            output.token_ids.append(token)
            if output.logprobs is not None:
                output.logprobs.append(logprob)
            if output.top_logprobs is not None:
                output.top_logprobs.append(top)
            return text
        self._done = True
        finish, output.cached_tokens, output.queued_s, output.first_token_s, output.total_s = values
        output.finish_reason = FINISH_REASONS[finish]
        complete = output.finish_reason != "cancelled" or output.token_ids
        if self._rows.logprobs_L is not None and complete:
            output.prompt_logprobs = self._rows.logprobs()
            if self._rows.top_ids_LC.shape[1]:
                output.prompt_top_logprobs = self._rows.top_logprobs()
        return text

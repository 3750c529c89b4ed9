"""A request that runs: pieces of its texts as they become certain, and what became of it."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .command import ArgumentError
from .output import Choice, Output
from .prompt_rows import PromptRows
from .sampling import Sampling

if TYPE_CHECKING:
    from .runtime import Engine

TOKEN, FINISH = 1, 2  # IngotEventKind
FINISH_REASONS = {1: "stop", 2: "length", 3: "cancelled", 4: "error"}  # IngotFinish


class Generation:
    """A submitted request: iterate over its pieces of text, or wait for its result."""

    def __init__(self, engine: Engine, prompt_ids: list[int], sampling: Sampling, rows: PromptRows):
        self._engine, self._events, self._done = engine, queue.SimpleQueue(), False
        self.id, self._rows = 0, rows
        self._running = self.to_come = (
            sampling.n
        )  # texts that have not ended, here and in the engine
        logprobs, top = sampling.logprobs is not None, bool(sampling.logprobs)
        self.output = Output(
            prompt_ids,
            [
                Choice(logprobs=[] if logprobs else None, top_logprobs=[] if top else None)
                for _ in range(sampling.n)
            ],
        )
        self._ordered = sampling.orders()

    def __iter__(self) -> Iterator[str]:
        """Pieces of text as they become certain: whole characters, never part of a stop string.

        Raises:
            ArgumentError: there are several texts; take pieces().
            UserError: the engine failed while it worked on this request.
        """
        if len(self.output.choices) > 1:
            raise ArgumentError(
                f"n is {len(self.output.choices)}, so there is not one text to iterate over; "
                "take pieces(), which says of which text each piece is, or result()"
            )
        return (piece for _, piece in self.pieces())

    def pieces(self) -> Iterator[tuple[int, str]]:
        """(which choice, piece of its text), in the order in which they become certain.

        Where choices are put in order (best_of, beam search), all come when the last has ended.

        Raises:
            UserError: the engine failed while it worked on this request.
        """
        while not self._done:
            index, piece = self._next()
            if piece:
                yield index, piece

    def result(self) -> Output:
        """Waits for the end; the same object as `output`, complete."""
        for _ in self.pieces():
            pass
        return self.output

    def cancel(self) -> None:
        """Ends the request before the next step; its iteration then ends as "cancelled"."""
        self._engine._cancel(self.id)

    def _next(self) -> tuple[int, str]:
        event = self._events.get()
        if isinstance(event, Exception):
            self._done = True
            raise event
        kind, index, text, values = event
        choice = self.output.choices[index]
        choice.text += text
        if kind == TOKEN:
            token, logprob, top = values
            choice.token_ids.append(token)
            if choice.logprobs is not None:
                choice.logprobs.append(logprob)
            if choice.top_logprobs is not None:
                choice.top_logprobs.append(top)
            return index, text
        self._finish(choice, *values)
        return index, text

    def _finish(self, choice: Choice, finish: int, score: float, cached: int, *times) -> None:
        output = self.output
        choice.finish_reason = FINISH_REASONS[finish]
        if self._ordered:
            choice.score = score
        output.cached_tokens = cached
        output.queued_s, output.first_token_s, output.total_s = times
        self._running -= 1
        self._done = self._running == 0
        if not self._done:
            return
        complete = output.finish_reason != "cancelled" or output.token_ids
        if self._rows.logprobs_L is not None and complete:
            output.prompt_logprobs = self._rows.logprobs()
            if self._rows.top_ids_LC.shape[1]:
                output.prompt_top_logprobs = self._rows.top_logprobs()

"""Arrays that the runtime fills with what the model says of a request's own prompt."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np

from . import native

FLOATS, INTEGERS = ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_int32)


@dataclass(frozen=True, eq=False)
class PromptRows:
    """None for what was not asked for. Complete when the request's first token is there."""

    logits_LV: np.ndarray | None = None  # of the token after each of the L prompt tokens
    hidden_LD: np.ndarray | None = None  # what the head reads for each of them
    logprobs_L: np.ndarray | None = None  # of each prompt token after the first: L - 1 of them
    top_ids_LC: np.ndarray | None = None  # the C best tokens at these places, best first
    top_logprobs_LC: np.ndarray | None = None

    @staticmethod
    def of_logprobs(length: int, best: int) -> PromptRows:
        """Places for what a prompt of `length` tokens was given, and the `best` best instead."""
        places = max(0, length - 1)
        return PromptRows(
            logprobs_L=np.zeros(places, np.float32),
            top_ids_LC=np.full((places, best), -1, np.int32),
            top_logprobs_LC=np.zeros((places, best), np.float32),
        )

    def enter(self, request: native.Request) -> None:
        """`request` points at the arrays, which must stay alive until its last event."""
        if self.logits_LV is not None:
            request.logits = self.logits_LV.ctypes.data_as(FLOATS)
        if self.hidden_LD is not None:
            request.hidden = self.hidden_LD.ctypes.data_as(FLOATS)
        if self.logprobs_L is not None:
            request.prompt_logprobs = self.logprobs_L.ctypes.data_as(FLOATS)
            request.n_prompt_top = self.top_ids_LC.shape[1]
            request.prompt_top_ids = self.top_ids_LC.ctypes.data_as(INTEGERS)
            request.prompt_top_logprobs = self.top_logprobs_LC.ctypes.data_as(FLOATS)

    def logprobs(self) -> list[float]:
        """Natural logarithms, one for each prompt token after the first."""
        return self.logprobs_L.tolist()

    def top_logprobs(self) -> list[dict[int, float]]:
        """The best tokens at each of these places with their log-probabilities, best first."""
        rows = zip(self.top_ids_LC.tolist(), self.top_logprobs_LC.tolist(), strict=True)
        return [
            {token: value for token, value in zip(ids, row, strict=True) if token >= 0}
            for ids, row in rows
        ]

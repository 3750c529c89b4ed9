"""What became of a prompt: one text, or the several that its request asked for."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Choice:
    """One of the texts of a request."""

    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: str = ""  # stop | length | cancelled
    logprobs: list[float] | None = None  # natural logarithms, one per token
    top_logprobs: list[dict[int, float]] | None = None  # of the best tokens at each place
    score: float | None = None  # what best_of and beam search order by; None: nothing was ordered


@dataclass
class Output:
    """What became of one prompt. Its own text is that of the first choice, the best if any is."""

    prompt_ids: list[int]
    choices: list[Choice] = field(default_factory=lambda: [Choice()])  # Sampling.n of them
    prompt_logprobs: list[float] | None = None  # one per prompt token after the first
    prompt_top_logprobs: list[dict[int, float]] | None = None  # of the best tokens in their places
    cached_tokens: int = 0  # of the prompt, found in the cache
    queued_s: float = 0.0  # from submit to the first step
    first_token_s: float = 0.0  # from submit to the first token
    total_s: float = 0.0  # from submit to the end

    @property
    def token_ids(self) -> list[int]:
        """Of the first choice."""
        return self.choices[0].token_ids

    @property
    def text(self) -> str:
        """Of the first choice."""
        return self.choices[0].text

    @property
    def finish_reason(self) -> str:
        """Of the first choice: stop | length | cancelled."""
        return self.choices[0].finish_reason

    @property
    def logprobs(self) -> list[float] | None:
        """Of the first choice: natural logarithms, one per token."""
        return self.choices[0].logprobs

    @property
    def top_logprobs(self) -> list[dict[int, float]] | None:
        """Of the first choice: the best tokens at each place."""
        return self.choices[0].top_logprobs

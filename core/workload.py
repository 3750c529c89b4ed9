"""What core.bench runs: so many requests at once, of so many tokens in and out: `8x512/256`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .command import ConfigError

FORM = re.compile(r"([1-9][0-9]*)x([1-9][0-9]*)/([1-9][0-9]*)")
MOST_REQUESTS, MOST_TOKENS = 1 << 16, 1 << 24


@dataclass(frozen=True)
class Workload:
    """Prompts are random, so none is a part of another; answers end by their length only."""

    requests: int
    prompt_tokens: int  # of each
    output_tokens: int  # of each; 1: only prompts are computed

    def __str__(self) -> str:
        return f"{self.requests}x{self.prompt_tokens}/{self.output_tokens}"


def workloads(given: Sequence[str]) -> list[Workload]:
    """The rows that a list in a config names.

    Raises:
        ConfigError: it is no list, or an entry is written otherwise, too large, or there twice.
    """
    entries = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else []
    if not entries:
        raise ConfigError(f"workloads={given}: write a list of rows: [1x128/256,8x512/256]")
    found = [_workload(entry) for entry in entries]
    for row in found:
        if found.count(row) > 1:
            raise ConfigError(f"workloads: {row} is there twice")
    return found


def check_fits(rows: Sequence[Workload], limits: dict[str, int]) -> None:
    """What the engine was built for holds every sequence."""
    longest = limits["sequence_length"]
    for row in rows:
        if (whole := row.prompt_tokens + row.output_tokens) > longest:
            raise ConfigError(
                f"workloads: {row} are {whole} tokens a sequence, and one of this engine holds "
                f"{longest}; give shorter ones, or build it with a larger max_length"
            )


def _workload(entry) -> Workload:
    form = FORM.fullmatch(str(entry))
    if form is None:
        raise ConfigError(
            f"workloads: {entry!r} is not REQUESTSxPROMPT/OUTPUT, such as 8x512/256: eight "
            "requests at once, each of 512 tokens in and 256 out"
        )
    row = Workload(*map(int, form.groups()))
    if row.requests > MOST_REQUESTS or max(row.prompt_tokens, row.output_tokens) > MOST_TOKENS:
        raise ConfigError(
            f"workloads: {row} is too large; there are at most {MOST_REQUESTS} requests of "
            f"{MOST_TOKENS} tokens"
        )
    return row

"""How long a sequence may be: what the config asks against what the checkpoint covers."""

from __future__ import annotations

from collections.abc import Iterator

from core.resolution import MOST

from .config import read_config
from .positions import covered_length


def conflicts(description, plan) -> Iterator[str]:
    """A sentence where plan.max_length cannot be had."""
    config = read_config(plan.sizes, description)
    covered = covered_length(config)
    if covered is not None and covered > MOST["max_length"] and plan.max_length is None:
        yield (
            f"config.json says max_position_embeddings for {covered:,} tokens, at most "
            f"{MOST['max_length']:,} can be served; choose max_length=…"
        )
    elif covered is None:
        if plan.max_length is None:
            yield (
                "config.json does not say max_position_embeddings, a number of tokens; say how "
                "long a sequence may become with max_length=…"
            )
    elif plan.max_length is not None and plan.max_length > covered:
        yield (
            f"max_length={plan.max_length}: the checkpoint's positions cover {covered:,} tokens "
            f"(config.json); choose max_length={covered} or less"
        )


def max_length(plan, config) -> int:
    """Tokens of the longest sequence, where `conflicts` has nothing to say."""
    return plan.max_length if plan.max_length is not None else covered_length(config)

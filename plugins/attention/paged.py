"""attention=paged: each ingot::Attention becomes ingot::PagedAttention, over a pool of pages.

Woosuk Kwon et al., "Efficient Memory Management for Large Language Model Serving with
PagedAttention", arXiv:2309.06180, section 4. T tokens, S sequences, P pages, W tokens per page,
M pages per sequence, G key/value heads, K head size.
"""

from __future__ import annotations

from typing import ClassVar

from core import hookimpl, plugin
from core.command import ConfigError

LARGEST_PAGE = 1024  # tokens


@plugin
class Paged:
    api: ClassVar[int] = 1
    page: int | None = None  # tokens; None: the engine's own

    def __post_init__(self):
        if self.page is not None and not 1 <= self.page <= LARGEST_PAGE:
            raise ConfigError(
                f"attention.page={self.page}: it must be from 1 to {LARGEST_PAGE} tokens, or null"
            )

    @hookimpl
    def passes(self, plan):
        from .cache_groups import PagedAttention

        return [PagedAttention(plan.page if self.page is None else self.page)]

"""A prompt that is vectors instead of token ids. L tokens of it, D width of the embedding table."""

from __future__ import annotations

import numpy as np

from . import native
from .command import ArgumentError
from .prompt_rows import FLOATS

NO_ID = -2


class EmbeddedPrompt(list):
    """The ids of such a prompt: NO_ID for each of its vectors."""

    def __init__(self, vectors_LD: np.ndarray, width: int):
        """`width`: what the engine reads, 0 if it reads ids only, which is for the runtime to say.

        Raises:
            ArgumentError: the vectors have another width or type, or are not finite.
        """
        if vectors_LD.ndim != 2 or (width and vectors_LD.shape[1] != width):
            raise ArgumentError(
                f"embeddings have the shape {list(vectors_LD.shape)}; give [L, {width or 'D'}]"
            )
        if not np.issubdtype(vectors_LD.dtype, np.floating):
            raise ArgumentError(f"embeddings are of type {vectors_LD.dtype}; give floating point")
        super().__init__([NO_ID] * len(vectors_LD))
        self.vectors_LD = np.ascontiguousarray(vectors_LD, np.float32)
        if not np.isfinite(self.vectors_LD).all():
            place = np.argwhere(~np.isfinite(self.vectors_LD))[0].tolist()
            raise ArgumentError(f"embeddings{place} is {self.vectors_LD[tuple(place)]}; not finite")

    def enter(self, request: native.Request) -> None:
        """`request` has the vectors instead of ids; it is submitted while this object lives."""
        request.ids = None
        request.embeddings = self.vectors_LD.ctypes.data_as(FLOATS)

"""The hash of a file whose parts are written in any order, taken while it is written.

What follows the bytes that are hashed already is hashed as it comes. What was written ahead of
them, such as the scales beside the codes of a weight, is read back when its turn comes: a few
bytes, that the system still holds.
"""

from __future__ import annotations

import hashlib
import os
from typing import BinaryIO

PIECE = 1 << 22  # bytes that are read back at a time


class SequentialHash:
    """Writes parts of `file`, and keeps the hash of all from its beginning."""

    def __init__(self, file: BinaryIO):
        self._file, self._digest = file, hashlib.sha256()
        self._hashed = 0  # bytes from the beginning
        self._ahead: dict[int, int] = {}  # parts behind these: begin, end

    def put(self, offset: int, part: bytes | memoryview) -> None:
        """`part` stands at `offset`. No byte is written twice."""
        view, done = memoryview(part), 0
        while done < len(view):
            done += os.pwrite(self._file.fileno(), view[done:], offset + done)
        self._catch_up()
        if offset == self._hashed:
            self._digest.update(view)
            self._hashed += len(view)
        elif len(view):
            self._ahead[offset] = offset + len(view)

    def finish(self) -> str:
        """The hash of the file, which is complete."""
        self._catch_up()
        assert not self._ahead, "the file has a hole"
        return self._digest.hexdigest()

    def _catch_up(self) -> None:
        while self._hashed in self._ahead:
            end = self._ahead.pop(self._hashed)
            while self._hashed < end:
                count = min(PIECE, end - self._hashed)
                piece = os.pread(self._file.fileno(), count, self._hashed)
                assert piece, "the file has been cut while it was written"
                self._digest.update(piece)
                self._hashed += len(piece)

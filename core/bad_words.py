"""Bad words as the runtime takes them: token sequences, one behind the other."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Sequence

import numpy as np

from . import values
from .command import ArgumentError

MOST = 2**31 - 1
KEPT = 8  # lists of words whose tokens are remembered, the last asked for


class BadWords:
    """Turns words into token sequences, and remembers the last few lists.

    A text becomes the tokens that encode it, alone and behind a space, without special tokens.
    """

    def __init__(self, tokenizer: Callable):
        """`tokenizer()`: the engine's tokenizers.Tokenizer; not called where all are tokens."""
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._kept: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}

    def arrays(self, words: Sequence[str | Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """int32 (tokens, lengths): word i is the next lengths[i] of the tokens.

        Raises:
            ArgumentError: `words` is no list of texts and lists of tokens, or one of them is empty.
        """
        if not isinstance(words, list | tuple):
            raise ArgumentError(f"bad_words is {words!r}; give a list of texts and lists of tokens")
        key = tuple(
            word if isinstance(word, str) else _tokens(i, word) for i, word in enumerate(words)
        )
        with self._lock:
            kept = self._kept.pop(key, None) or self._translate(key)
            self._kept[key] = kept  # at the end: the last asked for
            while len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        return kept

    def _translate(self, words: tuple[str | tuple[int, ...], ...]) -> tuple[np.ndarray, np.ndarray]:
        sequences = dict.fromkeys(word for word in words if not isinstance(word, str))
        texts = [values.text("bad_words", word) for word in words if isinstance(word, str)]
        if texts:
            alone = self._encode(texts)
            for text, tokens in zip(texts, alone, strict=True):
                if not tokens:
                    raise ArgumentError(f"bad_words holds {text!r}, which has no tokens")
            spaced = self._encode([f" {text}" for text in texts if not text[:1].isspace()])
            sequences.update(dict.fromkeys([*alone, *spaced]))
        lengths = np.fromiter(map(len, sequences), np.int32, len(sequences))
        tokens = (token for sequence in sequences for token in sequence)
        return np.fromiter(tokens, np.int32, int(lengths.sum())), lengths

    def _encode(self, texts: list[str]) -> list[tuple[int, ...]]:
        encodings = self._tokenizer().encode_batch(texts, add_special_tokens=False)
        return [tuple(encoding.ids) for encoding in encodings]


def _tokens(place: int, word: Sequence[int]) -> tuple[int, ...]:
    try:
        tokens = tuple(map(operator.index, word))
    except TypeError:
        raise ArgumentError(
            f"bad_words[{place}] is {word!r}; give a text or a list of tokens"
        ) from None
    if not tokens:
        raise ArgumentError(f"bad_words[{place}] is empty; give at least one token")
    if min(tokens) < 0 or max(tokens) > MOST:
        raise ArgumentError(f"bad_words[{place}] is {word!r}; tokens are from 0 to {MOST}")
    return tokens

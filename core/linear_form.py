"""Sizes as linear forms in words: `256`, `T`, `4*T`, `T+1`, `2*T+3*S+1`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ORDER = "TSNQMP"  # words of a step stand first, in this order
TERM = re.compile(r"([+-]?)(?:(\d+)\*)?(?:([A-Za-z_]\w*)|(\d+))")


@dataclass(frozen=True)
class LinearForm:
    """constant + the sum of factor * word; no factor is 0."""

    constant: int = 0
    factors: tuple[tuple[str, int], ...] = ()  # (word, factor), in order

    @classmethod
    def of(cls, constant: int, factors: Mapping[str, int]) -> LinearForm:
        kept = ((word, factor) for word, factor in factors.items() if factor)
        return cls(constant, tuple(sorted(kept, key=lambda pair: _place(pair[0]))))

    @classmethod
    def parse(cls, text: str) -> LinearForm:
        """The form that `text` writes.

        Raises:
            ValueError: it is none.
        """
        constant, factors, at = 0, {}, 0
        for match in TERM.finditer(text):
            sign, times, word, number = match.groups()
            if match.start() != at or (at > 0 and not sign) or (times and number):
                break
            at, factor = match.end(), (-1 if sign == "-" else 1) * int(times or 1)
            if word:
                factors[word] = factors.get(word, 0) + factor
            else:
                constant += factor * int(number)
        if at != len(text) or not text:
            raise ValueError(f"{text!r} is no linear form such as 4*T+1")
        return cls.of(constant, factors)

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(word for word, _ in self.factors)

    def at(self, sizes: Mapping[str, int]) -> int:
        """Its value where each word has its size."""
        return self.constant + sum(factor * sizes[word] for word, factor in self.factors)

    def __str__(self) -> str:
        terms = [word if factor == 1 else f"{factor}*{word}" for word, factor in self.factors]
        if self.constant or not terms:
            terms.append(str(self.constant))
        return "+".join(terms).replace("+-", "-")


class Fit:
    """Finds forms in `words` from their values at `bindings`.

    The first binding is the base; each of the next changes one word; the last changes all, and
    is a check.
    """

    def __init__(self, words: Sequence[str]):
        self.words = tuple(words)
        primes = _primes(1009, 3 * len(self.words))
        base, other, far = (primes[i::3] for i in range(3))
        self.bindings = [dict(zip(self.words, base, strict=True))]
        for word, size in zip(self.words, other, strict=True):
            self.bindings.append({**self.bindings[0], word: size})
        if self.words:
            self.bindings.append(dict(zip(self.words, far, strict=True)))
        self._found: dict[tuple[int, ...], LinearForm | None] = {}

    def form(self, values: tuple[int, ...]) -> LinearForm | None:
        """The form with these values at the bindings, or None if it is not linear."""
        if values not in self._found:
            self._found[values] = self._fitted(values)
        return self._found[values]

    def _fitted(self, values: tuple[int, ...]) -> LinearForm | None:
        base, constant, factors = self.bindings[0], values[0], {}
        for word, binding, value in zip(self.words, self.bindings[1:], values[1:], strict=False):
            factor, rest = divmod(value - values[0], binding[word] - base[word])
            if rest:
                return None
            factors[word] = factor
            constant -= factor * base[word]
        form = LinearForm.of(constant, factors)
        return form if form.at(self.bindings[-1]) == values[-1] else None


def _place(word: str) -> tuple[int, str]:
    return (ORDER.find(word) if len(word) == 1 and word in ORDER else len(ORDER), word)


def _primes(least: int, count: int) -> list[int]:
    found: list[int] = []
    number = least
    while len(found) < count:
        if all(number % divisor for divisor in range(2, int(number**0.5) + 1)):
            found.append(number)
        number += 1
    return found

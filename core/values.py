"""Values given to the Python API or by a command, each judged by its name."""

from __future__ import annotations

from .command import ArgumentError

MOST = 3.4e38  # what a float32 holds


def integer(name: str, value: int, low: int, high: int, meaning: str = "") -> int:
    """`value`, which is an integer in the range.

    Raises:
        ArgumentError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ArgumentError(
            f"{name} is {value!r}; it must be an integer from {low} to {high}{meaning}"
        )
    return value


def number(name: str, value: float) -> float:
    """`value`, which is a number that a float32 can hold, or NaN.

    Raises:
        ArgumentError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > MOST:
        raise ArgumentError(f"{name} is {value!r}; it must be a finite number")
    return value


def flag(name: str, value: bool) -> bool:
    """`value`, which is true or false.

    Raises:
        ArgumentError: it is not.
    """
    if not isinstance(value, bool):
        raise ArgumentError(f"{name} is {value!r}; it must be true or false")
    return value


def text(name: str, value: str) -> str:
    """`value`, which is Unicode: what a terminal hands over need not be.

    Raises:
        ArgumentError: it is not.
    """
    if not isinstance(value, str):
        raise ArgumentError(f"{name} is {value!r}; it must be a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(f"{name} is no Unicode at character {error.start}: {value!r}") from None
    return value

"""Numbers of bytes as people write them: `1073741824`, `24GiB`, `80GB`."""

from __future__ import annotations

import re

from .command import ConfigError

UNITS = {"": 1, "B": 1}
UNITS |= {f"{prefix}iB": 1 << 10 * power for power, prefix in enumerate("KMGT", 1)}
UNITS |= {f"{prefix}B": 10 ** (3 * power) for power, prefix in enumerate("KMGT", 1)}
MOST = 1 << 62


def parse(key: str, value: int | str | None) -> int | None:
    """The number of bytes that `key=value` says; None for null.

    Raises:
        ConfigError: it is no such number, or none of at least 1.
    """
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,20}(?:\.\d{1,9})?) ?([KMGT]?i?B|)", str(value))
    found = round(float(match[1]) * UNITS[match[2]]) if match and match[2] in UNITS else 0
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    if not 0 < found <= MOST:
        raise ConfigError(
            f"{key}={value}: it must be a number of bytes, at least 1: 512MiB, 24GiB, 80GB"
        )
    return found

"""Tables of rotary positions and slopes of ALiBi.

Rotary: Su et al., "RoFormer", arXiv:2104.09864. Scalings as config.json names them: linear (Chen et
al., arXiv:2306.15595), dynamic (NTK-aware, its base by the length of the text), yarn (Peng et al.,
arXiv:2309.00071), longrope (Ding et al., arXiv:2402.13753), llama3 (the Llama 3.1 release). Those
whose angles depend on the length of the text are fixed for the longest one. ALiBi: Press et al.,
arXiv:2108.12409.
L positions, R pairs that are rotated, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .config import is_number, scales_nothing, scaling_kind
from .expression import ExpressionError

# Keys of each scaling; those after None may be missing.
SCALINGS = {
    "linear": ("factor", None),
    "dynamic": ("factor", None),
    "llama3": (
        "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings", None,
    ),
    "yarn": (
        "factor", None, "original_max_position_embeddings", "beta_fast", "beta_slow",
        "attention_factor", "truncate", "mscale", "mscale_all_dim", "finetuned",
    ),
    "longrope": (
        "short_factor", "long_factor", None, "factor", "attention_factor",
        "original_max_position_embeddings",
    ),
}  # fmt: skip
WORDS = ("rope_type", "type", "truncate", "finetuned")  # and flags
BY_LENGTH = ("dynamic", "longrope")
LISTS = ("short_factor", "long_factor")
MAY_BE_0 = ("mscale", "mscale_all_dim")  # then they are left out


def rope_tables(
    dims: int,
    theta: float,
    scaling: Mapping[str, Any] | None,
    config: Mapping[str, Any],
    length: int,
) -> tuple[np.ndarray, np.ndarray]:
    """cos_LR and sin_LR in float32 for the first `length` positions; R = dims / 2.

    Raises:
        ExpressionError: the scaling is not covered, or says something that is not read.
    """
    if isinstance(scaling, Mapping) and scaling.get("rope_theta") is not None:
        scaling = dict(scaling)  # a table of one kind of layers says the base, too
        if (said := scaling.pop("rope_theta")) != theta:
            raise ExpressionError(f"config.json says rope_theta {said!r} where {theta!r} is used")
    inverse_R = float(theta) ** -(np.arange(0, dims, 2, dtype=np.float64) / dims)
    factor = 1.0
    if scaling and not (isinstance(scaling, Mapping) and scales_nothing(scaling)):
        kind, table = _judged(scaling, config)
        if kind == "linear":
            inverse_R = inverse_R / table["factor"]
        elif kind == "dynamic":
            inverse_R = _dynamic(dims, theta, table, length)
        elif kind == "llama3":
            inverse_R = _llama3(inverse_R, table)
        elif kind == "yarn":
            inverse_R, factor = _yarn(inverse_R, dims, theta, table)
        else:
            inverse_R, factor = _longrope(inverse_R, table, length)
    angle_LR = np.arange(length)[:, None] * inverse_R
    cos_LR, sin_LR = np.cos(angle_LR) * factor, np.sin(angle_LR) * factor
    return cos_LR.astype(np.float32), sin_LR.astype(np.float32)


def covered_length(config: Mapping[str, Any]) -> int | None:
    """Positions for which the checkpoint's tables are meant; None: config.json does not say."""
    length, scaling = config.get("max_position_embeddings"), config.get("rope_scaling")
    if not isinstance(length, int) or isinstance(length, bool) or length < 1:
        return None
    if not isinstance(scaling, dict) or scaling_kind(scaling) not in (
        "linear", "dynamic", "yarn",
    ):  # fmt: skip
        return length
    factor = scaling.get("factor")
    original = scaling.get("original_max_position_embeddings") or length
    if not is_number(factor) or not isinstance(original, int):
        return length  # the scaling is judged when its tables are made
    return max(length, int(original * factor))


def _judged(scaling, config) -> tuple[str, dict[str, Any]]:
    """The kind of a scaling and its table, with what it takes from config.json filled in."""
    if not isinstance(scaling, Mapping):
        raise ExpressionError(f"config.json says rope_scaling: {scaling!r}, which is no table")
    kind = _kind(scaling)
    said = f"config.json says rope_scaling of type {kind!r}"
    if kind not in SCALINGS:
        raise ExpressionError(
            f"{said}, which this description does not cover ({', '.join(SCALINGS)})"
        )
    keys = SCALINGS[kind]
    needed, known = keys[: keys.index(None)], {*keys, "rope_type", "type"}
    for key in needed:
        if scaling.get(key) is None:
            raise ExpressionError(f"{said} without {key}, which it needs")
    table = {key: value for key, value in scaling.items() if value is not None}
    for key, value in table.items():
        if key not in known:
            raise ExpressionError(f"{said} with {key}: {value!r}, which is not read")
        if key not in WORDS and (wrong := _wrong(key, value)):
            raise ExpressionError(f"{said} with {key}: {value!r}, which {wrong}")
    if kind == "llama3" and table["high_freq_factor"] <= table["low_freq_factor"]:
        raise ExpressionError(f"{said}, whose high_freq_factor is not above its low_freq_factor")
    original = config.get("original_max_position_embeddings")
    table.setdefault(
        "original_max_position_embeddings", original or config.get("max_position_embeddings")
    )
    if kind == "dynamic":
        table["original_max_position_embeddings"] = config["max_position_embeddings"]
    if kind == "longrope":
        original = table["original_max_position_embeddings"]
        table.setdefault("factor", config["max_position_embeddings"] / original)
    return kind, table


def _wrong(key: str, value: Any) -> str:
    """What is wrong with a number, or a list of them, in a scaling; "" if nothing."""
    if key in LISTS and not isinstance(value, list):
        return "is no list of numbers"
    numbers = value if key in LISTS else [value]
    if not all(map(is_number, numbers)):
        return "is no number" if key not in LISTS else "is no list of numbers"
    low = min(numbers, default=1)
    return "must be above 0" if low < 0 or (low == 0 and key not in MAY_BE_0) else ""


def fixed_for(scaling: Mapping[str, Any] | None, length: int) -> int | None:
    """`length`, where the angles depend on how long the text is; else None."""
    if not isinstance(scaling, Mapping) or _kind(scaling) not in BY_LENGTH:
        return None
    return length


def _kind(scaling: Mapping[str, Any]) -> str:
    return {"su": "longrope"}.get(scaling_kind(scaling), scaling_kind(scaling))


def _dynamic(dims: int, theta: float, table: Mapping[str, Any], length: int) -> np.ndarray:
    """A base that grows with the text, from the length that was trained on."""
    if dims < 4:
        raise ExpressionError(
            "config.json says rope_scaling of type 'dynamic' for fewer than 2 pairs"
        )
    original, factor = table["original_max_position_embeddings"], table["factor"]
    stretch = factor * max(length, original) / original - (factor - 1)
    base = theta * stretch ** (dims / (dims - 2))
    return base ** -(np.arange(0, dims, 2, dtype=np.float64) / dims)


def _llama3(inverse_R: np.ndarray, table: Mapping[str, Any]) -> np.ndarray:
    """Long waves are stretched, short ones kept, those between mixed."""
    factor, original = table["factor"], table["original_max_position_embeddings"]
    low, high = table["low_freq_factor"], table["high_freq_factor"]
    wave_R = 2 * np.pi / inverse_R
    smooth_R = (original / wave_R - low) / (high - low)
    mixed_R = (1 - smooth_R) * inverse_R / factor + smooth_R * inverse_R
    stretched_R = np.where(wave_R > original / low, inverse_R / factor, mixed_R)
    return np.where(wave_R < original / high, inverse_R, stretched_R)


def _yarn(inverse_R, dims: int, theta: float, table) -> tuple[np.ndarray, float]:
    """Section 3.2: pairs that turn often are kept, those that turn seldom stretched; and 3.3."""
    factor, original = table["factor"], table["original_max_position_embeddings"]

    def pair_that_turns(times: float) -> float:
        return dims * np.log(original / (times * 2 * np.pi)) / (2 * np.log(theta))

    low = pair_that_turns(table.get("beta_fast") or 32)
    high = pair_that_turns(table.get("beta_slow") or 1)
    if table.get("truncate", True):
        low, high = np.floor(low), np.ceil(high)
    low, high = max(low, 0), min(high, dims - 1)
    span = high - low if high != low else 0.001
    ramp_R = np.clip((np.arange(dims // 2) - low) / span, 0, 1)
    stretched_R = inverse_R / factor * ramp_R + inverse_R * (1 - ramp_R)
    return stretched_R, table.get("attention_factor") or _yarn_attention(table)


def _yarn_attention(table) -> float:
    def scale(weight: float) -> float:
        return 0.1 * weight * np.log(table["factor"]) + 1.0 if table["factor"] > 1 else 1.0

    if table.get("mscale") and table.get("mscale_all_dim"):
        return scale(table["mscale"]) / scale(table["mscale_all_dim"])
    return scale(1.0)


def _longrope(inverse_R, table, length: int) -> tuple[np.ndarray, float]:
    """Each pair has a factor of its own, one for texts within the original length, one beyond."""
    factor, original = table["factor"], table["original_max_position_embeddings"]
    which = "long_factor" if length > original else "short_factor"
    if len(table[which]) != len(inverse_R):
        raise ExpressionError(
            f"config.json says rope_scaling with {len(table[which])} {which}, but "
            f"{len(inverse_R)} pairs are rotated"
        )
    attention = 1.0 if factor <= 1 else np.sqrt(1 + np.log(factor) / np.log(original))
    return inverse_R / np.array(table[which]), table.get("attention_factor") or attention


def alibi_slopes(heads: int, kind: str, bias_max: float) -> np.ndarray:
    """slopes_H. The order of those beyond a power of two differs between families."""
    if kind == "interpolated":
        n = 2 ** int(np.ceil(np.log2(heads)))
        slopes = 2.0 ** -(np.arange(1, n + 1) * bias_max / n)
        if n != heads:
            slopes = np.concatenate([slopes[1::2], slopes[0::2]])[:heads]
        return slopes.astype(np.float32)
    n = 2 ** int(np.floor(np.log2(heads)))
    slopes = 2.0 ** -(np.arange(1, n + 1) * bias_max / n)
    rest = 2.0 ** -(np.arange(1, 2 * (heads - n), 2) * bias_max / (2 * n))
    return np.concatenate([slopes, rest]).astype(np.float32)

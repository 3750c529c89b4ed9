"""Plots as SVG text: stacked columns and horizontal bars, without a library and without a script.

Every text is escaped. Colours come from one palette, in the order of the series; where the plot
stands in a page, its classes (`plot-text`, `plot-grid`) may be restyled there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

PALETTE = ("#3b6fd4", "#e08a2e", "#3a9d6e", "#a45cc4", "#c9495b", "#4aa7b8", "#8a7a5c", "#7b8698")
STYLE = (
    "<style>.plot-text{font:12px system-ui,sans-serif;fill:#3c4656}"
    ".plot-title{font:600 14px system-ui,sans-serif;fill:#1d2530}"
    ".plot-grid{stroke:#dfe4ea;stroke-width:1}.plot-mark{stroke:#1d2530;stroke-width:2}</style>"
)
LEFT, RIGHT, TOP, BOTTOM = 76, 16, 58, 40  # margins around the columns, in pixels
MOST_LABELS = 24  # under columns; of more, only some are written

Number = Callable[[float], str]


def columns(
    title: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[float]],
    number: Number,
    *,
    marks: Sequence[float] = (),
    mark_name: str = "",
    notes: Sequence[str] = (),
    axis: str = "",
    unit: float = 1.0,
    size: tuple[int, int] = (960, 300),
) -> str:
    """A column for each label, its series on top of one another.

    `number` writes a value; `marks` are drawn as dashes across the columns, `notes` stand above;
    the lines of the grid are at round numbers of `unit`.
    """
    width, height = size
    inner, tall = width - LEFT - RIGHT, height - TOP - BOTTOM
    totals = [sum(values[i] for values in series.values()) for i in range(len(labels))]
    most = max([*totals, *marks, 0.0]) * (1.08 if notes else 1.0)
    ticks = [tick * unit for tick in _ticks(most / unit)]
    top, step = ticks[-1], inner / max(1, len(labels))
    wide = min(step * 0.72, 90.0)

    def y(value: float) -> float:
        return TOP + tall * (1 - value / top)

    parts = [_text(16, 22, title, "plot-title"), _legend(series, mark_name, width)]
    for tick in ticks:
        parts.append(_line(LEFT, y(tick), width - RIGHT, y(tick), "plot-grid"))
        parts.append(_text(LEFT - 8, y(tick) + 4, number(tick), anchor="end"))
    every = math.ceil(len(labels) / MOST_LABELS)
    for i, label in enumerate(labels):
        left, below = LEFT + step * (i + 0.5) - wide / 2, 0.0
        for place, (name, values) in enumerate(series.items()):
            hint = f"{label}, {name}: {number(values[i])}"
            high = y(below) - y(below + values[i])
            parts.append(_rect(left, y(below + values[i]), wide, high, _colour(place), hint))
            below += values[i]
        if i < len(marks):
            parts.append(_line(left - 5, y(marks[i]), left + wide + 5, y(marks[i]), "plot-mark"))
        if i < len(notes):
            high = max([below, *marks[i : i + 1]])
            parts.append(_text(left + wide / 2, y(high) - 6, notes[i], anchor="middle"))
        if i % every == 0:
            parts.append(_text(left + wide / 2, height - BOTTOM + 17, label, anchor="middle"))
    parts.append(_text(LEFT + inner / 2, height - 6, axis, anchor="middle"))
    return _svg(width, height, parts)


def bars(title: str, rows: Sequence[tuple[str, float, str]], width: int = 960) -> str:
    """A horizontal bar for each (label, value, note), its note beside it."""
    high, gap, start = 18, 8, 40
    widest = max((len(label) for label, _, _ in rows), default=0)
    left = min(width * 0.45, 24 + 7.0 * widest)
    most = max((value for _, value, _ in rows), default=0.0) or 1.0
    room = width - left - 8 - 7.0 * max((len(note) for _, _, note in rows), default=0)
    parts = [_text(16, 22, title, "plot-title")]
    for place, (label, value, note) in enumerate(rows):
        y = start + place * (high + gap)
        long = max(1.0, room * value / most)
        parts.append(_text(left - 8, y + 13, label, anchor="end"))
        parts.append(_rect(left, y, long, high, _colour(0), f"{label}: {note}"))
        parts.append(_text(left + long + 6, y + 13, note))
    return _svg(width, start + len(rows) * (high + gap) + 8, parts)


def sheet(plots: Sequence[str], sizes: Sequence[tuple[int, int]]) -> str:
    """Plots one under the other, as one file with a white ground."""
    width, height = max(w for w, _ in sizes), sum(h for _, h in sizes)
    parts, y = [f'<rect width="{width}" height="{height}" fill="#ffffff"/>'], 0
    for plot, (_, high) in zip(plots, sizes, strict=True):
        parts.append(f'<g transform="translate(0 {y})">{plot}</g>')
        y += high
    return _svg(width, height, parts)


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img">{STYLE}{"".join(parts)}</svg>'
    )


def _legend(series: Mapping[str, Sequence[float]], mark_name: str, width: int) -> str:
    """The names of the series, from the left under the title; none for a single one."""
    parts, x = [], 16.0
    names = list(series) if len(series) > 1 or mark_name else []
    for place, name in enumerate(names):
        parts.append(_rect(x, 33, 11, 11, _colour(place), name))
        parts.append(_text(x + 16, 43, name))
        x += 34 + 7.4 * len(name)
    if mark_name:
        parts.append(_line(x, 39, x + 14, 39, "plot-mark"))
        parts.append(_text(x + 19, 43, mark_name))
    return "".join(parts)


def _ticks(most: float) -> list[float]:
    """Round numbers from 0 to `most` or a little above it."""
    if not math.isfinite(most) or most <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(most / 4))
    step = next(step for step in (1, 2, 2.5, 5, 10) if most / (step * power) <= 5) * power
    return [step * i for i in range(math.ceil(most / step - 1e-9) + 1)]


def _colour(place: int) -> str:
    return PALETTE[place % len(PALETTE)]


def _text(x: float, y: float, text: str, kind: str = "plot-text", anchor: str = "start") -> str:
    if not text:
        return ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _rect(x: float, y: float, width: float, height: float, colour: str, hint: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(0.0, height):.1f}" '
        f'fill="{colour}"><title>{escape(hint)}</title></rect>'
    )

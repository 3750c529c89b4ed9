"""HTML made of elements: every text and every attribute is escaped; what is markup has a type."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

VOID = ("meta", "br", "col")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *children: str | Iterable[str], **attributes: object) -> Markup:
    """An element; `class_` stands for class. Children that are no Markup are texts."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value), quote=True)}"'
        for key, value in attributes.items()
    )
    if name in VOID:
        return Markup(f"<{name}{told}>")
    return Markup(f"<{name}{told}>{joined(*children)}</{name}>")


def joined(*children: str | Iterable[str]) -> Markup:
    """Children one after the other, texts escaped."""
    parts = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(str(child))
        elif isinstance(child, str):
            parts.append(escape(child))
        else:
            parts.append(str(joined(*child)))
    return Markup("".join(parts))


def table(
    head: Iterable[str], rows: Iterable[Iterable[str]], numbers: Iterable[int] = ()
) -> Markup:
    """A table; the columns `numbers` are set to the right."""
    right = set(numbers)

    def line(cell: str, texts: Iterable[str]) -> Markup:
        return tag(
            "tr",
            [
                tag(cell, text, **({"class_": "number"} if place in right else {}))
                for place, text in enumerate(texts)
            ],
        )

    body = [line("td", texts) for texts in rows]
    return tag(
        "div", tag("table", tag("thead", line("th", head)), tag("tbody", body)), class_="wide"
    )

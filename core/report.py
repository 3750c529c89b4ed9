"""What one rewrite did: of each node it started from, rewritten, refused (why) or unlike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class Report:
    """One entry of the manifest's `passes`."""

    name: str
    plugin: str
    required: bool
    rank: int | None = None  # None: it was done once, on the whole model
    rewritten: list[tuple[str, str]] = field(default_factory=list)  # node, what became of it
    refused: list[tuple[str, str]] = field(default_factory=list)  # node, why
    unlike: list[tuple[str, str]] = field(default_factory=list)  # node, where the pattern ends
    model: Any = None  # after the rewrite

    def entry(self) -> dict[str, Any]:
        """As it stands in engine.json."""
        return {
            "pass": self.name,
            "plugin": self.plugin,
            "required": self.required,
            "rank": self.rank,
            "rewritten": [list(pair) for pair in self.rewritten],
            "refused": [list(pair) for pair in self.refused],
            "unlike": len(self.unlike),
        }

    def line(self) -> str:
        """In a line of the build's progress."""
        counts = [f"{len(self.rewritten)} rewritten"]
        if self.refused:
            counts.append(f"{len(self.refused)} refused")
        if self.unlike:
            counts.append(f"{len(self.unlike)} unlike")
        return f"{self.name}: {', '.join(counts)}"

    def reasons(self) -> str:
        """Why nothing was rewritten: the refusals, or where the nearest nodes differ."""
        nodes = self.refused or self.unlike
        told = list(dict.fromkeys(w if n in w else f"{n}: {w}" for n, w in nodes))
        more = f" (and {len(told) - 3} more)" if len(told) > 3 else ""
        return "; ".join(told[:3]) + more

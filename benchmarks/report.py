"""Numbers that were measured side by side, as a Markdown table and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec


class Spread(msgspec.Struct, frozen=True):
    """The median, the least and the most of some numbers, or of those that are left without a share at each end."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, numbers: Iterable[float], *, without: float = 0.0) -> Spread:
        ordered = sorted(numbers)
        cut = int(len(ordered) * without)
        return cls(median(ordered), ordered[cut], ordered[-1 - cut])

    def show(self, digits: int = 2) -> str:
        return f"**{self.median:.{digits}f}** ({self.least:.{digits}f} to {self.most:.{digits}f})"


def ratios(numbers: Sequence[float], base: Sequence[float], *, without: float = 0.0) -> Spread:
    """The ratio of each number to that of the same round in ``base``. ``without``: see ``Spread``."""
    return Spread.of((number / other for number, other in zip(numbers, base, strict=True)), without=without)


def rotated(names: Iterable[str], number: int) -> list[str]:
    """The names in an order of that round's own, so that each client is sometimes first."""
    names = list(names)
    start = number % len(names)
    return names[start:] + names[:start]


def machine() -> dict[str, Any]:
    """The facts that the numbers depend on; none of them names the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cores": cores, "python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}


def describe(facts: dict[str, Any]) -> str:
    return f"{facts['cores']} cores, {facts['system']}, Python {facts['python']}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; all columns but the first are aligned to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    if path:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")

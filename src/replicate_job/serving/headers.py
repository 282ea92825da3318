"""The two request headers that shape a prediction's life, and times in queries."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from replicate_job.serving.answer import RefusedError, problem
from replicate_job.wire.duration import parse_cancel_after
from replicate_job.wire.prediction import parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFER = re.compile(r"wait(?:=(\d{1,9}))?")
_LONGEST_HOLD = 60


def read_prefer(text: str) -> float | None:
    """Seconds to hold a create open: ``wait`` is 60, ``wait=N`` is N from 1 to 60; None for anything else."""
    found = next((found for part in text.split(",") if (found := _PREFER.fullmatch(part.strip()))), None)
    return float(min(max(int(found[1] or _LONGEST_HOLD), 1), _LONGEST_HOLD)) if found else None


def read_cancel_after(text: str | None) -> float | None:
    """Seconds of a ``Cancel-After``: ``30``, ``30s``, ``5m``, ``1h30m45s``. Raises RefusedError."""
    if text is None:
        return None
    try:
        return float(parse_cancel_after(text))
    except ValueError as error:
        raise RefusedError(problem(422, f"Cancel-After {error}", "Invalid header")) from None


def read_times(query: Mapping[str, str]) -> dict[str, float]:
    """``created_after`` and ``created_before`` of a list, as Unix times, where they are given. Raises RefusedError."""
    times = {}
    for name in ("created_after", "created_before"):
        if text := query.get(name):
            found = parse_time(text)
            if found is None:
                raise RefusedError(problem(400, f"{name} must be a time in ISO 8601 format", "Bad request"))
            times[name] = found.timestamp()
    return times

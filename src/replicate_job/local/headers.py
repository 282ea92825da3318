"""The two request headers that shape a prediction's life, and times in queries."""

from __future__ import annotations

import re

from replicate_job.local.problem import Refusal
from replicate_job.wire.prediction import parse_time

_PREFER = re.compile(r"wait(?:=(\d{1,9}))?")
_DURATION = re.compile(r"(?=\d)(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s?)?")
_LONGEST_HOLD, _SHORTEST_LIFE, _LONGEST_LIFE = 60, 5, 24 * 3600


def read_prefer(text: str) -> float | None:
    """Seconds to hold a create open: ``wait`` is 60, ``wait=N`` is N from 1 to 60; None for anything else."""
    found = next((found for part in text.split(",") if (found := _PREFER.fullmatch(part.strip()))), None)
    return float(min(max(int(found[1] or _LONGEST_HOLD), 1), _LONGEST_HOLD)) if found else None


def read_cancel_after(text: str | None) -> float | None:
    """Seconds of a ``Cancel-After``: ``30``, ``30s``, ``5m``, ``1h30m45s``. Raises Refusal."""
    if text is None:
        return None
    found = _DURATION.fullmatch(text.strip())
    seconds = (
        sum(int(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0
    )
    if not _SHORTEST_LIFE <= seconds <= _LONGEST_LIFE:
        raise Refusal(
            422, "Cancel-After must be a duration like 30s, 5m or 1h30m, from 5 seconds to 24 hours", "Invalid header"
        )
    return float(seconds)


def read_time(name: str, text: str) -> float:
    """Unix time of an ISO 8601 query parameter. Raises Refusal."""
    found = parse_time(text)
    if found is None:
        raise Refusal(400, f"{name} must be a time in ISO 8601 format")
    return found.timestamp()

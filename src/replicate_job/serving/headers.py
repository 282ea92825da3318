"""Reads the headers of a request (``Authorization``, ``Prefer``, ``Cancel-After``), and the times in its query."""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING

from replicate_job.serving.answer import RefusedError, problem
from replicate_job.wire.duration import parse_cancel_after
from replicate_job.wire.prediction import parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFER = re.compile(r"wait(?:=(\d{1,9}))?")
_LONGEST_WAIT = 60  # seconds


def has_token(authorization: bytes, token: bytes) -> bool:
    """Whether the header ``Authorization`` has ``token`` after ``Bearer`` or ``Token`` (upper or lower case)."""
    scheme, _, credentials = authorization.partition(b" ")
    # Compared in constant time: otherwise the time would tell how many characters of a guess are right.
    return scheme.lower() in {b"bearer", b"token"} and hmac.compare_digest(credentials.strip(), token)


def read_prefer(text: str) -> float | None:
    """Seconds of a blocking wait: 60 for ``wait``, 1 to 60 for ``wait=N``; None for anything else."""
    wait = next((match for part in text.split(",") if (match := _PREFER.fullmatch(part.strip()))), None)
    return float(min(max(int(wait[1] or _LONGEST_WAIT), 1), _LONGEST_WAIT)) if wait else None


def preference_applied(blocking_wait: float | None) -> tuple[tuple[str, str], ...]:
    """The header ``Preference-Applied`` for a response to a create request with this blocking wait, in seconds."""
    return () if blocking_wait is None else (("preference-applied", f"wait={blocking_wait:.0f}"),)


def read_cancel_after(text: str | None) -> float | None:
    """Seconds of a ``Cancel-After``: ``30``, ``30s``, ``5m``, ``1h30m45s``; None for None. Raises RefusedError."""
    if text is None:
        return None
    try:
        return float(parse_cancel_after(text))
    except ValueError as error:
        raise RefusedError(problem(422, f"Cancel-After {error}", "Invalid header")) from None


def read_times(query: Mapping[str, str]) -> dict[str, float]:
    """Read ``created_after`` and ``created_before`` of a list request, if it has them, as Unix times by name.

    Raises RefusedError for a text that is not a time.
    """
    times = {}
    for name in ("created_after", "created_before"):
        if text := query.get(name):
            time = parse_time(text)
            if time is None:
                raise RefusedError(problem(400, f"{name} must be a time in ISO 8601 format", "Bad request"))
            times[name] = time.timestamp()
    return times

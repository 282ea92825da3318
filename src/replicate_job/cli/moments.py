"""Formats times for tables."""

from __future__ import annotations

from datetime import datetime

from replicate_job.wire.prediction import parse_time

_FORM = "%Y-%m-%d %H:%M:%S"


def of_unix(seconds: float) -> str:
    """A Unix time in this machine's zone."""
    try:
        return datetime.fromtimestamp(seconds).astimezone().strftime(_FORM)
    except (ValueError, OverflowError, OSError):  # a damaged row of the journal
        return "an unknown time"


def of_api(text: str | None) -> str:
    """A time as the API writes it, in this machine's zone; empty for any other text."""
    moment = parse_time(text)
    return moment.astimezone().strftime(_FORM) if moment else ""

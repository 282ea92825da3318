"""Decides whether a failed request may have had an effect, whether to send it again, and after which wait. No I/O."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from datetime import datetime

from replicate_job.errors import (
    AnswerTooLargeError,
    APIError,
    CertificateError,
    NoAnswerError,
    NotSentError,
    RateLimitError,
    ReplicateJobError,
    UnreadableError,
)
from replicate_job.wire.http_date import read_http_date
from replicate_job.wire.problem import Problem

REQUEST_TIMEOUT = 408
CERTAIN = frozenset({400, 401, 402, 403, 404, 413, 422, 429})
"""Statuses with which the API refuses a create request before it creates anything."""


def wait_asked(problem: Problem, headers: Mapping[str, str], now: datetime) -> float | None:
    """The wait in seconds that a 429 asks for. None if the 429 names no wait, or an absurd wait.

    The body's ``retry_after`` (or its "resets in ~5s") is preferred to the ``Retry-After`` header, which has seconds or
    an HTTP date. Replicate's 429 may have the value only in its body.
    """
    if problem.retry_after is not None and _sane(problem.retry_after):
        return problem.retry_after
    header = headers.get("retry-after", "").strip()
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = read_http_date(header)
        except ValueError:
            return None
        seconds = max(0.0, (date - now).total_seconds())
    return seconds if _sane(seconds) else None


def _sane(seconds: float) -> bool:
    return math.isfinite(seconds) and seconds >= 0


def backoff(attempt: int, jitter: float | None = None, *, base: float = 0.5, ceiling: float = 8.0) -> float:
    """The wait in seconds after the failed try number ``attempt`` (from 0). It doubles each time, up to ``ceiling``.

    ``jitter`` in [0, 1] shortens the wait by up to half, so that many clients do not retry together. The default is
    random.
    """
    if jitter is None:
        # The module `random` would be imported when a request has failed: an import fails without a free descriptor.
        jitter = int.from_bytes(os.urandom(4)) / 2**32
    return float(min(ceiling, base * 2 ** min(attempt, 32))) * (1 - jitter / 2)


def is_transient(error: ReplicateJobError) -> bool:
    """Whether the same read may succeed later. For a create request, use ``is_ambiguous``."""
    if isinstance(error, AnswerTooLargeError | CertificateError | UnreadableError):
        return False
    if isinstance(error, NotSentError | NoAnswerError | RateLimitError):
        return True
    return isinstance(error, APIError) and (error.status >= 500 or error.status == REQUEST_TIMEOUT)  # noqa: PLR2004 - HTTP's server errors


def is_ambiguous(error: ReplicateJobError) -> bool:
    """Whether a create request that failed with this error may have made a prediction.

    Only the statuses in ``CERTAIN`` prove that it made no prediction. A gateway may answer with any other status, even
    a redirect, after it has passed the request on.
    """
    if isinstance(error, APIError):
        return error.status not in CERTAIN
    return isinstance(error, NoAnswerError)

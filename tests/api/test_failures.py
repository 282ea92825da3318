from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.api.failures import backoff, is_ambiguous, is_transient, wait_asked
from replicate_job.errors import AnswerTooLargeError, APIError, NoAnswerError, NotSentError, RateLimitError
from replicate_job.wire.problem import Problem

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SILENT = Problem(429)


@pytest.mark.parametrize(
    ("body", "header", "seconds"),
    [
        (5.0, None, 5.0),
        (0.0, "9", 0.0),
        (5.0, "9", 5.0),
        (None, "9", 9.0),
        (None, " 1.5 ", 1.5),
        (None, "0", 0.0),
        (None, "Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        (None, "Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        (None, "Thu, 01 Jan 2026 12:00:30", 30.0),
        (None, "Thu, 01 Jan 2026 13:00:30 +0100", 30.0),
        (-5.0, "9", 9.0),
        (math.nan, "9", 9.0),
        (math.inf, "9", 9.0),
        (1e12, None, 1e12),
        (None, None, None),
        (None, "", None),
        (None, "soon", None),
        (None, "-5", None),
        (None, "nan", None),
        (None, "inf", None),
        (None, "1e999", None),
        (None, "Thu, 99 Foo 2026 99:99:99 GMT", None),
    ],
)
def test_the_wait_time_of_a_429_is_read_from_its_body_or_header(
    body: float | None, header: str | None, seconds: float | None
) -> None:
    headers = {} if header is None else {"retry-after": header}
    assert wait_asked(Problem(429, retry_after=body), headers, NOW) == seconds


@given(st.none() | st.floats(), st.text(max_size=40))
def test_a_requested_wait_is_never_negative_or_infinite(body: float | None, header: str) -> None:
    seconds = wait_asked(Problem(429, retry_after=body), {"retry-after": header}, NOW)
    assert seconds is None or 0 <= seconds < math.inf


@given(st.integers(0, 10**7))
def test_a_retry_after_date_equals_its_seconds(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert wait_asked(SILENT, {"retry-after": date}, NOW) == seconds
    assert wait_asked(SILENT, {"retry-after": str(seconds)}, NOW) == seconds


@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0.01, 5), st.floats(5, 60))
def test_backoff_doubles_up_to_a_ceiling_and_jitter_takes_off_at_most_half(
    attempt: int, jitter: float, base: float, ceiling: float
) -> None:
    whole = backoff(attempt, 0, base=base, ceiling=ceiling)
    assert whole == pytest.approx(min(ceiling, base * 2.0 ** min(attempt, 60)))
    assert whole / 2 <= backoff(attempt, jitter, base=base, ceiling=ceiling) <= whole <= ceiling
    assert backoff(attempt + 1, 0, base=base, ceiling=ceiling) >= whole


@pytest.mark.parametrize(
    ("error", "transient", "ambiguous"),
    [
        (NotSentError("x"), True, False),
        (NoAnswerError("x"), True, True),
        (AnswerTooLargeError("x"), False, True),
        (RateLimitError("x", status=429), True, False),
        (APIError("x", status=500), True, True),
        (APIError("x", status=503), True, True),
        (APIError("x", status=524), True, True),
        (APIError("x", status=408), True, True),
        *((APIError("x", status=status), False, True) for status in (101, 300, 307, 405, 409, 418, 425, 499)),
        *((APIError("x", status=status), False, False) for status in (400, 401, 402, 403, 404, 413, 422)),
    ],
)
def test_each_error_is_classified_by_whether_it_is_transient_and_whether_it_is_ambiguous(
    error: NotSentError | NoAnswerError | APIError,
    transient: bool,  # noqa: FBT001 - a table
    ambiguous: bool,  # noqa: FBT001 - a table
) -> None:
    assert is_transient(error) is transient
    assert is_ambiguous(error) is ambiguous

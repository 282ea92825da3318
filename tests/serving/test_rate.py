from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replicate_job.serving.rate import TokenBucket

RATES = st.floats(min_value=0.01, max_value=1000)
BURSTS = st.integers(min_value=1, max_value=100)


@given(RATES, BURSTS)
def test_a_burst_passes_and_the_next_request_waits(rate: float, burst: int) -> None:
    bucket = TokenBucket(rate, burst)
    assert [bucket.take(1.0) for _ in range(burst)] == [0.0] * burst
    assert bucket.take(1.0) > 0


@given(RATES, BURSTS, st.integers(min_value=0, max_value=300))
def test_a_request_passes_after_the_wait_that_was_returned(rate: float, burst: int, hammered: int) -> None:
    bucket = TokenBucket(rate, burst)
    waits = [bucket.take(1.0) for _ in range(burst + 1 + hammered)]
    assert bucket.take(1.0 + waits[-1]) == 0.0


@given(RATES, BURSTS)
def test_refused_requests_lengthen_the_wait_up_to_a_bound(rate: float, burst: int) -> None:
    bucket = TokenBucket(rate, burst)
    waits = [bucket.take(1.0) for _ in range(3 * burst)]
    assert waits == sorted(waits)
    assert waits[-1] * rate <= (burst + 1) * 1.001


def test_within_a_minute_at_most_burst_plus_rate_requests_pass() -> None:
    bucket = TokenBucket(10.0, 5)
    passed = sum(bucket.take(now / 10) == 0 for now in range(10, 610))
    assert passed <= 5 + 600

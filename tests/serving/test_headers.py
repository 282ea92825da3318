from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.serving.answer import RefusedError
from replicate_job.serving.headers import has_token, read_cancel_after, read_prefer, read_times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("wait", 60),
        ("wait=5", 5),
        ("respond-async, wait=7", 7),
        ("wait=0", 1),
        ("wait=99", 60),
        ("", None),
        ("waits", None),
    ],
)
def test_a_prefer_header_may_ask_for_a_wait_of_1_to_60_seconds(text: str, seconds: float | None) -> None:
    assert read_prefer(text) == seconds


@given(st.integers(0, 23), st.integers(0, 59), st.integers(5, 59))
def test_cancel_after_reads_any_mix_of_units(hours: int, minutes: int, seconds: int) -> None:
    text = (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "") + f"{seconds}s"
    assert read_cancel_after(text) == hours * 3600 + minutes * 60 + seconds
    assert read_cancel_after(text.removesuffix("s")) == read_cancel_after(text)


@given(st.text(max_size=12))
def test_any_other_cancel_after_raises_refused_error(text: str) -> None:
    try:
        seconds = read_cancel_after(text)
    except RefusedError:
        return
    assert seconds is not None
    assert 5 <= seconds <= 86400


def test_a_time_without_a_zone_is_read_as_utc_and_invalid_text_is_refused() -> None:
    local, utc = {"created_after": "2026-01-01T00:00:00"}, {"created_after": "2026-01-01T00:00:00Z"}
    assert read_times(local) == read_times(utc) == {"created_after": 1767225600.0}
    assert read_times({"created_before": "", "cursor": "x"}) == {}
    with pytest.raises(RefusedError, match="created_after must be"):
        read_times({"created_after": "yesterday"})


@pytest.mark.parametrize("given", [b"Bearer r8_a", b"bearer r8_a", b"Token r8_a", b"TOKEN   r8_a ", b"bEARER r8_a"])
def test_the_token_is_accepted_as_bearer_or_token_in_any_case(given: bytes) -> None:
    assert has_token(given, b"r8_a")


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"r8_a",
        b"Bearer",
        b"Bearer ",
        b"Bearer r8_",
        b"Bearer r8_ab",
        b"Basic r8_a",
        b"Bearer\tr8_a",
        b"Bearer \xff",
    ],
)
def test_any_other_authorization_is_rejected(given: bytes) -> None:
    assert not has_token(given, b"r8_a")

"""The dates of HTTP headers."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.wire.http_date import read_http_date

SECONDS = st.datetimes(datetime(1000, 1, 1), timezones=st.just(UTC)).map(lambda time: time.replace(microsecond=0))  # noqa: DTZ001 - Hypothesis adds the zone


@given(SECONDS)
def test_a_date_as_servers_write_it_is_read(time: datetime) -> None:
    assert read_http_date(format_datetime(time, usegmt=True)) == time


@pytest.mark.parametrize(
    "text",
    [
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "6 Nov 1994 08:49:37 -0130",
    ],
)
def test_other_forms_of_a_date_are_read_too(text: str) -> None:
    assert read_http_date(text) == parsedate_to_datetime(text)


@pytest.mark.parametrize("text", ["Sun Nov  6 08:49:37 1994", "Sun, 06 Nov 1994 08:49:37 -0000"])
def test_a_date_that_names_no_time_zone_is_in_utc(text: str) -> None:
    """RFC 9110, 5.6.7: a recipient reads a date in the form of ``asctime`` as if it were in UTC."""
    assert read_http_date(text) == datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 +9999999999999999999",
        "٣" * 30,
    ],
)
def test_a_text_that_is_no_date_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_http_date(text)

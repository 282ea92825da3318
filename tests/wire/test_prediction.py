from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from replicate_job.wire.prediction import KNOWN, TERMINAL, Prediction, PredictionPage, parse_time


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_the_four_final_statuses_are_terminal(status: str) -> None:
    assert Prediction("x", status).is_terminal
    assert status in KNOWN


@pytest.mark.parametrize("status", ["starting", "processing", "queued", "", "Succeeded"])
def test_no_other_status_is_terminal_even_if_the_output_is_complete(status: str) -> None:
    finished = Prediction("x", status, output=["done"], completed_at="2026-01-01T00:00:00Z", metrics={"total_time": 1})
    assert not finished.is_terminal


def test_a_prediction_needs_only_id_and_status_and_may_have_unknown_fields() -> None:
    found = msgspec.json.decode(
        b'{"id":"x","status":"starting","new_field":{"a":1},"urls":{"get":null}}', type=Prediction
    )
    assert (found.id, found.url("get"), found.url("stream"), found.input) == ("x", None, None, None)
    page = msgspec.json.decode(b'{"results":[{"id":"x","status":"starting"}],"next":null}', type=PredictionPage)
    assert page.results == [Prediction("x", "starting")]


@pytest.mark.parametrize("body", [b"{}", b'{"id":1,"status":"starting"}', b'{"message":"hello"}', b"[]", b'{"id":"x"}'])
def test_json_without_id_and_status_is_not_a_prediction(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(body, type=Prediction)


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis takes bounds without a zone
def test_a_time_written_in_iso_format_is_read_back(time: datetime) -> None:
    assert parse_time(time.isoformat()) == time
    assert parse_time(time.isoformat().replace("+00:00", "Z")) == time
    assert parse_time(time.replace(tzinfo=None).isoformat()) == time


@example(datetime(1, 1, 1), 14)  # noqa: DTZ001 - the second argument is its zone
@example(datetime(1, 1, 1), 0)  # noqa: DTZ001 - the same
@example(datetime(9999, 12, 31), -12)  # noqa: DTZ001 - the same
@given(st.datetimes(), st.integers(-14, 14))
def test_adding_days_to_a_parsed_time_never_overflows(time: datetime, hours: int) -> None:
    found = parse_time(f"{time.isoformat()}{hours:+03}:00")
    assert found is None or (found - timedelta(days=300) < found.astimezone(UTC) < found + timedelta(days=300))
    assert found or time.year in {1, 2, 9998, 9999}


def test_a_time_in_another_zone_is_converted_to_utc() -> None:
    found = parse_time("2026-01-01T02:00:00+02:00")
    assert found is not None
    assert found - datetime(2026, 1, 1, tzinfo=UTC) == timedelta(0)


@pytest.mark.parametrize("text", [None, "", "yesterday", "2026-13-01T00:00:00Z", "0"])
def test_a_text_that_is_not_a_time_is_read_as_none(text: str | None) -> None:
    assert parse_time(text) is None


def test_removed_data_are_restored_from_an_earlier_snapshot() -> None:
    seen = Prediction("x", "processing", input={"a": 1}, output=["b"], logs="step 1\n")
    gone = Prediction("x", "failed", input={}, logs="", error="it broke", data_removed=True)
    assert gone.with_data(None) is gone
    found = gone.with_data(seen)
    assert (found.status, found.error, found.input, found.output, found.logs) == (
        "failed", "it broke", {"a": 1}, ["b"], "step 1\n",
    )  # fmt: skip
    later = Prediction("x", "failed", input={"a": 1}, logs="step 1\nstep 2\n")
    assert later.with_data(seen) is later
    assert seen.with_logs(None) is seen

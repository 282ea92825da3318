from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from replicate_job.local.prediction import (
    Ended,
    LocalPrediction,
    Logged,
    ModelEvent,
    PredictionRequest,
    Produced,
    Started,
    new_id,
)

ENDS = ("succeeded", "failed", "canceled", "aborted")
EVENTS = st.one_of(
    st.just(Started()),
    st.builds(Logged, st.text(max_size=5)),
    st.builds(Produced, st.integers(), part=st.booleans()),
    st.builds(Ended, st.sampled_from(ENDS), st.integers(), st.none() | st.text(max_size=5)),
)


def prediction() -> LocalPrediction:
    return LocalPrediction(new_id(), 0, PredictionRequest("me/model", "v", {}), 100.0)


@given(st.lists(EVENTS, max_size=30))
def test_no_event_changes_an_ended_prediction(events: list[ModelEvent]) -> None:
    one = prediction()
    at_end: dict[str, Any] | None = None
    for number, event in enumerate(events):
        taken = one.apply(event, 101.0 + number)
        shown = {name: value for name, value in vars(one).items() if name != "changed"}
        if at_end is not None:
            assert not taken
            assert shown == at_end
        elif one.is_terminal:
            at_end = {**shown, "events": list(one.events), "_logs": list(shown["_logs"])}
    first_end = next((event for event in events if isinstance(event, Ended)), None)
    assert one.status == (first_end.status if first_end else one.status)
    assert one.is_terminal == (first_end is not None)


@given(st.lists(EVENTS, max_size=30))
def test_times_are_in_order_and_logs_are_complete(events: list[ModelEvent]) -> None:
    one = prediction()
    taken = [event for number, event in enumerate(events) if one.apply(event, 101.0 + number)]
    times = [at for at in (one.created_at, one.started_at, one.completed_at) if at is not None]
    assert times == sorted(times)
    assert one.logs == "".join(event.text for event in taken if isinstance(event, Logged))
    assert (one.completed_at is not None) == one.is_terminal == ("total_time" in one.metrics)
    assert (one.started_at is None) == (not any(isinstance(event, Started | Produced) for event in taken))


def test_prediction_ids_have_the_form_of_those_of_the_real_api() -> None:
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(id) == 26 and id.isalnum() and id == id.lower() for id in ids)  # noqa: A001 - it is one

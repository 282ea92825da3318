from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from replicate_job.testing import Script, ScriptedAPI

Create = Callable[..., Any]
Ask = Callable[..., Any]
CREATE = "/v1/models/acme/private/predictions"
TIMES = ("created_at", "started_at", "completed_at")


def moments(api: ScriptedAPI, *offsets: float) -> list[dict[str, Any]]:
    """The states of the first prediction, the given numbers of seconds after its creation."""
    prediction = api.predictions[0]
    return [prediction.snapshot(prediction.created + offset) for offset in offsets]


def test_a_prediction_goes_from_starting_to_its_end_with_times_and_metrics(api: ScriptedAPI, create: Create) -> None:
    api.next(Script(boot=1, duration=3, output="x"))
    assert create(api)["status"] == "starting"
    early, middle, end = moments(api, 0.5, 2, 4)
    assert [body["status"] for body in (early, middle, end)] == ["starting", "processing", "succeeded"]
    assert "started_at" not in early
    assert "started_at" in middle
    assert "completed_at" not in middle
    assert (middle["output"], end["output"]) == (None, "x")
    assert end["metrics"] == {"predict_time": pytest.approx(2), "total_time": pytest.approx(3)}


def test_a_timeline_can_have_unknown_statuses(api: ScriptedAPI, create: Create) -> None:
    api.next(Script(timeline=((0, "starting"), (1, "processing"), (2, "queued")), duration=3))
    create(api)
    assert [body["status"] for body in moments(api, 0, 1, 2, 3)] == ["starting", "processing", "queued", "succeeded"]


@pytest.mark.parametrize("end", ["failed", "canceled", "aborted"])
def test_only_a_failed_prediction_has_an_error_and_only_a_successful_one_has_an_output(
    api: ScriptedAPI, create: Create, end: str
) -> None:
    api.next(Script(end=end, duration=0, output="x", error="out of memory"))
    body = create(api)
    assert (body["status"], body["output"]) == (end, None)
    assert body["error"] == ("out of memory" if end == "failed" else None)


def test_the_output_can_be_complete_while_the_status_is_processing(api: ScriptedAPI, create: Create) -> None:
    api.next(Script(boot=0, duration=3600, output=["a", "b"], output_at=0))
    body = create(api, status=202, Prefer="wait")
    assert (body["status"], body["output"]) == ("processing", ["a", "b"])
    assert not {"completed_at", "metrics"} & body.keys()


def test_partial_output_and_logs_grow_until_they_are_complete(api: ScriptedAPI, create: Create) -> None:
    api.next(Script(boot=0, duration=10, output=list("abcd"), partial=True, logs="1\n2\n3\n4\n"))
    create(api)
    grown = [(body["output"], body["logs"]) for body in moments(api, 1, 5, 10)]
    assert grown == [(None, ""), (["a", "b"], "1\n2\n"), (["a", "b", "c", "d"], "1\n2\n3\n4\n")]


def test_output_and_logs_can_depend_on_the_input(api: ScriptedAPI, create: Create) -> None:
    api.next(Script(duration=0, output=lambda given: given["n"] * 2, logs=lambda given: f"{given['n']}\n"))
    body = create(api, {"n": 21})
    assert (body["output"], body["logs"]) == (42, "21\n")


def test_a_blocking_wait_returns_201_with_the_end_or_202_with_an_unfinished_prediction(
    api: ScriptedAPI, create: Create
) -> None:
    api.next(Script(duration=0.05), Script(duration=60))
    assert create(api, status=201, Prefer="wait")["status"] == "succeeded"
    assert create(api, status=202, Prefer="respond-async, wait=1")["status"] == "processing"


def test_the_method_finish_ends_an_endless_prediction_and_its_blocking_wait(api: ScriptedAPI, create: Create) -> None:
    api.next(Script(duration=math.inf, output="x"))
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(create, api, Prefer="wait")
        api.wait_until(lambda: api.predictions)
        api.predictions[0].finish()
        assert held.result()["output"] == "x"


def test_a_cancel_request_ends_a_prediction_and_its_blocking_wait_once(
    api: ScriptedAPI, create: Create, ask: Ask
) -> None:
    api.next(Script(duration=math.inf))
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(create, api, Prefer="wait")
        api.wait_until(lambda: api.predictions)
        first = ask(api, "POST", f"{api.predictions[0].urls['cancel']}")
        assert (first.status, first.json["status"]) == (200, "canceled")
        assert held.result()["status"] == "canceled"
    assert ask(api, "POST", api.predictions[0].urls["cancel"]).json["completed_at"] == first.json["completed_at"]


def test_a_cancel_request_does_not_change_an_ended_prediction_and_can_take_effect_late(
    api: ScriptedAPI, create: Create, ask: Ask
) -> None:
    api.next(Script(duration=0), Script(duration=60, boot=0, cancel_lag=30))
    for expected in ("succeeded", "processing"):
        assert ask(api, "POST", create(api)["urls"]["cancel"]).json["status"] == expected


@pytest.mark.parametrize(("boot", "status"), [(61.0, "aborted"), (0.0, "canceled")])
def test_a_deadline_aborts_a_prediction_before_its_start_and_cancels_it_after_the_start(
    api: ScriptedAPI, create: Create, boot: float, status: str
) -> None:
    api.next(Script(boot=boot, duration=120))
    body = create(api, Cancel_After="1m")
    assert body["deadline"] > body["created_at"]
    before, after = moments(api, 59, 60.001)
    assert before["status"] in ("starting", "processing")
    assert after["status"] == status
    assert ("predict_time" in after["metrics"]) == (status == "canceled")


def test_a_script_can_shorten_the_deadline_of_a_request(api: ScriptedAPI, create: Create) -> None:
    api.next(Script(boot=0, duration=60, deadline=0.05), Script(duration=0.1, deadline=0.05))
    assert create(api, Cancel_After="5s", Prefer="wait")["status"] == "canceled"
    assert create(api, Prefer="wait")["status"] == "succeeded"


@pytest.mark.parametrize(("text", "seconds"), [("30", 30), ("30s", 30), ("5m", 300), ("2h", 7200), ("1h30m45s", 5445)])
def test_the_header_cancel_after_is_accepted_in_every_documented_form(
    api: ScriptedAPI, create: Create, text: str, seconds: float
) -> None:
    create(api, Cancel_After=text)
    prediction = api.predictions[0]
    assert prediction.deadline == pytest.approx(prediction.created + seconds)


@pytest.mark.parametrize("text", ["4s", "25h", "soon", "-5", ""])
def test_a_create_request_with_a_cancel_after_header_out_of_bounds_creates_nothing(
    api: ScriptedAPI, ask: Ask, text: str
) -> None:
    assert ask(api, "POST", CREATE, {"input": {}}, Cancel_After=text).status == 422
    assert api.predictions == []


def test_the_data_of_a_prediction_are_removed_after_the_expiry_and_its_status_stays(create: Create) -> None:
    with ScriptedAPI(faults="expire=10s", script=Script(duration=1, output="x", logs="l\n")) as api:
        create(api)
        kept, removed = moments(api, 10, 11.001)
    assert (kept["data_removed"], kept["output"]) == (False, "x")
    assert removed["data_removed"] is True
    assert (removed["input"], removed["output"], removed["logs"]) == ({}, None, "")
    assert removed["status"] == "succeeded"


def test_overrides_replace_fields_of_the_prediction(api: ScriptedAPI, create: Create) -> None:
    api.next(Script(overrides={"urls": {"get": "http://127.0.0.2/x"}, "mystery": [1]}))
    body = create(api)
    assert (body["urls"], body["mystery"]) == ({"get": "http://127.0.0.2/x"}, [1])


@pytest.mark.parametrize(
    "text", ['{"a": 1.10, "b":1e3}', '{"\\u00e9":"\\/"}', '{"n":123456789012345678901234567890}', "{}"]
)
def test_the_input_is_returned_as_the_same_json_text(api: ScriptedAPI, ask: Ask, text: str) -> None:
    reply = ask(api, "POST", CREATE, f'{{"input": {text}}}'.encode())
    assert f'"input":{text},'.encode() in reply.body
    assert f'"input":{text},'.encode() in ask(api, "GET", "/v1/predictions").body


def test_the_field_created_is_a_time_of_the_machines_clock(api: ScriptedAPI, create: Create) -> None:
    before = time.time()
    create(api)
    assert before <= api.predictions[0].created + 1e-6
    assert api.predictions[0].created <= time.time() + 1e-6


def test_a_prediction_can_be_made_older_even_after_its_end(api: ScriptedAPI, create: Create, ask: Ask) -> None:
    api.next(Script(boot=0, duration=0))
    made = create(api)
    api.predictions[0].created -= 60
    told = ask(api, "GET", made["urls"]["get"]).json
    moved = [datetime.fromisoformat(made[name]) - datetime.fromisoformat(told[name]) for name in TIMES]
    assert moved == [timedelta(seconds=60)] * 3

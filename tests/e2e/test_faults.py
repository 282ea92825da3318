"""Faults of the API and the network: each causes one clear line, the right exit code, and no second prediction."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from replicate_job.serving.answer import Answer, throttled
from replicate_job.testing import Fault, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command, Outcome

HELLO = "replicate/hello-world"


def announced(outcome: Outcome) -> float:
    """Seconds that the command said it would wait."""
    found = re.search(r"trying again in (\S+) s", outcome.error)
    assert found, outcome
    return float(found[1])


@pytest.mark.parametrize("fault", ["429(body=1)", "429(header=1)", "429(date=1)", "429(detail=1)"])
def test_a_throttled_create_request_is_sent_again_at_the_time_that_the_api_names(
    api: ScriptedAPI, command: Command, fault: str
) -> None:
    api.faults.next("create", fault)
    outcome = command("run", HELLO, "text=x")
    assert outcome.code == 0
    assert "429" in outcome.error
    wait = announced(outcome)
    assert wait == 1 or (fault == "429(date=1)" and 0 < wait <= 2)
    first, second = (request.time for request in api.requests if request.operation == "create")
    assert second - first >= 0.9 * wait
    assert len(api.predictions) == 1


@pytest.mark.parametrize("fault", ["429()", "429(header=soon)", "429(body=-5)", "429(header=nan)", "429(date=-90)"])
def test_after_a_429_without_a_valid_retry_time_the_wait_is_short(
    api: ScriptedAPI, command: Command, fault: str
) -> None:
    api.faults.next("create", fault)
    outcome = command("run", HELLO, "text=x")
    assert announced(outcome) < 2
    assert outcome.code == 0
    assert "429" in outcome.error


@pytest.mark.parametrize("fault", ["429(body=86400)", "429(header=1e9)", "429(date=99999)"])
def test_a_429_with_an_absurdly_long_retry_time_causes_an_error(api: ScriptedAPI, command: Command, fault: str) -> None:
    api.faults.next("create", fault)
    outcome = command("run", HELLO, "text=x", "--key", "k")
    assert outcome.code == 3
    assert "429" in outcome.error
    assert "120 s in all is the limit" in outcome.error
    assert "nothing was created" in outcome.error
    assert not api.predictions
    assert command("run", HELLO, "text=x", "--key", "k").code == 0


def test_a_402_is_not_retried(api: ScriptedAPI, command: Command) -> None:
    api.faults.next("create", "402")
    outcome = command("run", HELLO, "text=x")
    assert outcome.code == 3
    assert "402" in outcome.error
    assert "insufficient credit" in outcome.error.lower()
    assert api.count("create") == 1


@pytest.mark.parametrize(
    "fault",
    [
        "html-after",
        "empty-after",
        "500-after",
        "half",
        "nonsense-after",
        "truncate",
        "drop-after",
        "close-after",
        "408-after",
    ],
)
def test_the_prediction_of_an_ambiguous_create_request_is_looked_up_and_found(
    api: ScriptedAPI, command: Command, fault: str
) -> None:
    api.faults.next("create", fault)
    outcome = command("run", HELLO, "text=x")
    assert outcome.code == 0
    assert outcome.error.startswith("warning: ")
    assert outcome.error.endswith("; looking whether the prediction was created")
    assert "<html" not in outcome.error
    assert outcome.response["prediction_id"] == api.predictions[0].id
    assert len(api.predictions) == 1
    assert api.count("create") == 1


def test_a_create_request_that_created_nothing_is_sent_again_once_the_list_would_show_a_prediction(
    api: ScriptedAPI, command: Command
) -> None:
    """The jobs run at the same time, because each waits some seconds for the list."""
    faults = ["html", "empty", "500", "nonsense", "drop", "close", "408"]
    api.faults.next("create", *faults)
    processes = [command.start("run", HELLO, f"text={number}") for number in range(len(faults))]
    for process in processes:
        outcome = process.end()
        assert outcome.code == 0
        assert outcome.error.endswith("; looking whether the prediction was created")
    assert len(api.predictions) == len(faults)
    assert api.count("create") == 2 * len(faults)


def test_a_look_up_that_keeps_failing_causes_a_one_line_error(command: Command) -> None:
    """The jobs run at the same time, because each repeats its look-up for some seconds."""
    answers = [
        Answer(502, b"<html><body>Bad Gateway</body></html>", "text/html"),
        Answer(503, content_type=""),
        Answer(200, b'{"username":'),
        Answer(200, b"[]"),
        Answer(200, b"\xff\xfe"),
        Answer(204),
        Answer(403, b'{"title":"Forbidden","detail":"no"}'),
        Answer(418, b"short and stout", "text/plain"),
        Answer(307, headers=(("location", "http://127.0.0.1:9/"),)),
        throttled(body=0),
    ]
    with ExitStack() as stack:
        processes = []
        for answer in answers:
            api = stack.enter_context(ScriptedAPI())
            api.faults.next("other", *[Fault.answering(answer)] * 9)
            processes.append(command.start("check", env=api.environment))
        for answer, process in zip(answers, processes, strict=True):
            outcome = process.end()
            assert outcome.code == 3
            assert str(answer.status) in outcome.error
            assert "<html" not in outcome.error


def test_an_input_that_the_api_refuses_is_reported_as_a_mistake_of_the_user(api: ScriptedAPI, command: Command) -> None:
    api.faults.next(
        "create", Fault.answering(Answer(422, b'{"title":"Input validation failed","detail":"- input: x\\n"}'))
    )
    outcome = command("run", HELLO, "text=x")
    assert outcome.code == 2
    assert "Input validation failed" in outcome.error
    assert api.count("list") == 0


def test_a_redirect_of_a_create_request_is_not_followed_with_the_token(api: ScriptedAPI, command: Command) -> None:
    api.faults.next("create", f"redirect({api.files_url}/v1/predictions)")
    outcome = command("run", HELLO, "text=x")
    assert outcome.code == 0
    assert "307" in outcome.err
    assert "looking whether the prediction was created" in outcome.err
    assert len(api.predictions) == 1
    assert not [request for request in api.requests if request.origin == "files"]


def test_the_error_names_an_api_that_cannot_be_reached(command: Command) -> None:
    """Five processes run, because a thread of the HTTP library sometimes aborted a process at its exit."""
    gone = {"REPLICATE_BASE_URL": "http://127.0.0.1:9"}
    for process in [command.start("run", "acme/private", env=gone) for _ in range(5)]:
        outcome = process.end()
        assert outcome.code == 3
        assert "no connection" in outcome.error
        assert "127.0.0.1:9" in outcome.error


def test_the_token_is_in_no_output_however_things_fail(api: ScriptedAPI, command: Command) -> None:
    """``Process.end`` checks the output of each process, and ``command`` every file that was written."""
    faults = ["drop-after", "429(body=0)", "nonsense-after", "401", "402", "403", "html-after", "422"]
    api.faults.next("create", *faults)
    api.faults.next("list", "503", "half", "401", "html")
    words = ["run", HELLO, "-v", "--webhook", f"{api.files_url}/hook"]
    for process in [command.start(*words, f"text={number}") for number in range(len(faults))]:
        process.end()
    for words in (["list"], ["resume", "-v"], ["check", "-v"], ["schema", HELLO, "-v"]):
        command(*words)
    assert len(api.requests) > 20

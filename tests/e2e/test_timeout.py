"""``--timeout``: the command prints the last known state, exits with 5, and leaves the prediction running."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from replicate_job.testing import Script

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

    from replicate_job.testing import ScriptedAPI

HELLO = "replicate/hello-world"
ENDLESS = Script(boot=0, duration=math.inf, output="done")


def test_after_a_timeout_run_prints_the_last_state_and_the_same_key_finishes_the_job(
    api: ScriptedAPI, command: Command
) -> None:
    api.next(ENDLESS)
    outcome = command("run", HELLO, "text=x", "--key", "k", "--timeout", "3s")
    (prediction,) = api.predictions
    assert outcome.code == 5
    assert outcome.response["prediction_id"] == prediction.id
    assert outcome.response["status"] == "processing"
    assert outcome.error == (
        f"error: prediction {prediction.id} is still processing after 3 s and is left running: `replicate-job wait "
        f"{prediction.id}`, or the same key ('k'), goes on, `replicate-job cancel {prediction.id}` ends it"
    )
    assert prediction.canceled is None
    prediction.finish()
    outcome = command("run", HELLO, "text=x", "--key", "k", "--timeout", "1m")
    assert (outcome.code, outcome.response["output"]) == (0, "done")
    assert len(api.predictions) == 1


def test_wait_and_resume_stop_at_the_timeout_too(api: ScriptedAPI, command: Command) -> None:
    api.next(ENDLESS, ENDLESS)
    names = [command("run", HELLO, f"text={n}", "--no-wait").response["prediction_id"] for n in range(2)]
    outcome = command("wait", names[0], "--timeout", "1s")
    assert (outcome.code, outcome.response["prediction_id"]) == (5, names[0])
    assert f"prediction {names[0]} is still processing after 1 s and is left running: " in outcome.error
    outcome = command("resume", "--timeout", "1s")
    assert outcome.code == 5
    assert {name.encode() in outcome.out for name in names} == {True}
    *told, summary = outcome.err.splitlines()
    assert ["is left running" in line for line in told] == [True, True]
    assert summary == "0 of 2 unfinished jobs succeeded"
    for prediction in api.predictions:
        prediction.finish()
    assert command("resume").code == 0
    assert len(api.predictions) == 2


@pytest.mark.parametrize(
    ("words", "operation", "said"),
    [
        (["run", HELLO, "text=x"], "model", "nothing was created within 1 s, and nothing is paid: "),
        (["run", HELLO, "--input", "input.json"], "model", "nothing was created within 1 s, and nothing is paid: "),
        (
            ["wait", "gm3qorzdhgbfurvjtvhg6dckhu"],
            "get",
            "the API did not tell of gm3qorzdhgbfurvjtvhg6dckhu within 1 s: ",
        ),
    ],
)
def test_the_timeout_ends_a_request_to_an_api_that_does_not_answer(
    api: ScriptedAPI, command: Command, words: list[str], operation: str, said: str
) -> None:
    (command.folder / "input.json").write_text('{"text": "x"}')
    api.faults.next(operation, "hang")
    outcome = command(*words, "--timeout", "1s")
    assert outcome.code == 5
    assert outcome.response["status"] == "starting"
    assert outcome.error.startswith(f"error: {said}")
    assert not api.predictions


def test_ctrl_c_before_the_timeout_cancels_the_prediction(api: ScriptedAPI, command: Command) -> None:
    api.next(ENDLESS)
    process = command.start("run", HELLO, "text=x", "--timeout", "10m")
    api.wait_until(lambda: api.predictions)
    process.interrupt()
    outcome = process.end()
    assert outcome.code == 130
    assert api.predictions[0].status == "canceled"


@pytest.mark.parametrize("text", ["0", "0s", "soon", "-5"])
def test_an_invalid_timeout_is_a_usage_error(command: Command, text: str) -> None:
    outcome = command("run", HELLO, "text=x", "--timeout", text)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("error: Invalid value for '--timeout': ")


def test_a_toml_job_file_without_a_limit_waits_until_the_prediction_ends(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "job.toml").write_text(f'model = "{HELLO}"\npoll_interval = 0.01\n[input_data]\ntext = "x"\n')
    api.next(ENDLESS)
    api.faults.next("create", "slow-after(1ms)")  # answered without a blocking wait
    process = command.start("run", "job.toml")
    api.wait_until(lambda: api.count("get") > 65)
    api.predictions[0].finish()
    assert process.end().code == 0

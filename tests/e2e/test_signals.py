"""Ctrl-C cancels the prediction, SIGTERM leaves it running, and a message says so at any step of a command."""

from __future__ import annotations

import math
import signal
from typing import TYPE_CHECKING

import pytest

from replicate_job.testing import OutputFile, Script, Stream

if TYPE_CHECKING:
    from tests.e2e.conftest import Command, Process

    from replicate_job.testing import ScriptedAPI, ScriptedPrediction

HELLO = "replicate/hello-world"
ENDLESS = Script(duration=math.inf, output="done")


def running(api: ScriptedAPI, command: Command, *words: str) -> tuple[Process, ScriptedPrediction]:
    """A run whose create is held open: its process does not know the prediction's id yet."""
    api.next(ENDLESS)
    process = command.start("run", HELLO, "text=x", *words)
    api.wait_until(lambda: api.predictions)
    return process, api.predictions[0]


def test_ctrl_c_while_the_commands_modules_are_imported_prints_no_traceback(command: Command) -> None:
    interrupt = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    (command.folder / "click.py").write_text(interrupt)
    outcome = command("--help", env={"PYTHONPATH": str(command.folder)})
    assert (outcome.code, outcome.out, outcome.err) == (130, b"", "")


def test_ctrl_c_during_the_blocking_wait_finds_the_prediction_and_cancels_it(
    api: ScriptedAPI, command: Command
) -> None:
    process, prediction = running(api, command)
    process.interrupt()
    outcome = process.end()
    assert outcome.code == 130
    assert prediction.status == "canceled"
    assert outcome.err.splitlines()[-1] == f"warning: interrupted: prediction {prediction.id} is canceled"
    assert len(api.predictions) == 1
    assert command("list", "--json").json[0]["status"] == "canceled"


def test_ctrl_c_while_polling_cancels(api: ScriptedAPI, command: Command) -> None:
    api.faults.next("create", "slow-after(1ms)")
    process, prediction = running(api, command)
    api.wait_until(lambda: api.count("get"))
    process.interrupt()
    outcome = process.end()
    assert outcome.code == 130
    assert prediction.status == "canceled"
    assert outcome.error == f"warning: interrupted: prediction {prediction.id} is canceled"


def test_a_run_with_the_key_of_a_canceled_prediction_says_how_to_create_a_new_one(
    api: ScriptedAPI, command: Command
) -> None:
    api.next(ENDLESS)
    command("run", HELLO, "text=x", "--no-wait", "--key", "k", "--no-save")
    command("cancel", "k")
    again = command("run", HELLO, "text=x", "--key", "k", "--no-save")
    assert again.code == 4
    name = f"prediction {api.predictions[0].id}"
    told = [f"{name} was canceled", "the key 'k' stays with it: another key makes a new prediction"]
    assert again.err.splitlines() == told


def test_ctrl_c_while_text_is_streamed_cancels_the_prediction_and_keeps_the_printed_text(
    api: ScriptedAPI, command: Command
) -> None:
    api.next(Script(duration=math.inf, output=["Once", " upon"], stream=Stream()))
    process = command.start("run", "meta/llama-2-70b-chat", "prompt=x", "--stream")
    assert process.read(9) == b"Once upon"
    process.interrupt()
    outcome = process.end()
    assert outcome.code == 130
    assert api.predictions[0].status == "canceled"


def test_ctrl_c_before_anything_was_created_creates_nothing(api: ScriptedAPI, command: Command) -> None:
    api.faults.next("model", "hang")
    process = command.start("run", HELLO, "text=x")
    api.wait_until(lambda: api.requests)
    process.interrupt()
    outcome = process.end()
    assert outcome.code == 130
    assert not api.predictions
    assert command("resume").error == "no unfinished jobs"


def test_ctrl_c_while_a_throttled_create_waits_creates_nothing(api: ScriptedAPI, command: Command) -> None:
    api.faults.next("create", "429(body=60)")
    process = command.start("run", HELLO, "text=x")
    assert "429" in process.line()
    process.interrupt()
    outcome = process.end()  # long before the minute is over
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1] == "warning: interrupted: nothing was created"
    assert not api.predictions
    assert command("resume").error == "no unfinished jobs"


def test_a_prediction_that_ends_before_it_can_be_canceled_is_reported_with_its_status(
    api: ScriptedAPI, command: Command
) -> None:
    process, prediction = running(api, command)
    api.faults.next("list", "slow(200ms)")
    process.interrupt()
    api.wait_until(lambda: api.count("list"))
    prediction.finish()
    outcome = process.end()
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1] == f"warning: interrupted: prediction {prediction.id} is succeeded"


def test_a_second_ctrl_c_ends_the_process_at_once(api: ScriptedAPI, command: Command) -> None:
    process, prediction = running(api, command)
    api.faults.next("cancel", "hang")
    process.interrupt()
    api.wait_until(lambda: api.count("cancel"))
    process.interrupt()
    outcome = process.end()
    assert outcome.code == 130
    assert prediction.canceled is None  # whoever stays cancels it in the end
    assert prediction.id in command("list").out.decode()
    prediction.finish()
    assert command("resume").response["prediction_id"] == prediction.id


def test_sigterm_leaves_the_prediction_running_and_resume_finishes_it(api: ScriptedAPI, command: Command) -> None:
    process, prediction = running(api, command, "--key", "k")
    process.signal(signal.SIGTERM)
    outcome = process.end()
    assert outcome.code == 143
    assert "`replicate-job resume` finishes it" in outcome.error
    assert outcome.out == b""
    assert prediction.canceled is None
    prediction.finish()
    resumed = command("resume")
    assert resumed.code == 0
    assert resumed.response["prediction_id"] == prediction.id
    assert len(api.predictions) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_wait_command_that_is_stopped_leaves_the_prediction_running_and_says_so(
    api: ScriptedAPI, command: Command, number: int, code: int
) -> None:
    api.next(ENDLESS)
    name = command("run", HELLO, "text=x", "--no-wait").response["prediction_id"]
    process = command.start("wait", name)
    asked = api.count("get")
    api.wait_until(lambda: api.count("get") > asked)
    process.signal(number)
    outcome = process.end()
    assert outcome.code == code
    assert outcome.error == f"stopped; {name} is left as it is: `replicate-job wait {name}` goes on"
    assert api.predictions[0].canceled is None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_resume_command_that_is_stopped_leaves_the_predictions_running_and_says_so(
    api: ScriptedAPI, command: Command, number: int, code: int
) -> None:
    api.next(ENDLESS, ENDLESS)
    for text in ("a", "b"):
        command("run", HELLO, f"text={text}", "--no-wait")
    process = command.start("resume")
    asked = api.count("get")
    api.wait_until(lambda: api.count("get") >= asked + 2)
    process.signal(number)
    outcome = process.end()
    assert outcome.code == code
    assert outcome.error == "stopped; the jobs are left as they are: `replicate-job resume` finishes them"
    assert all(prediction.canceled is None for prediction in api.predictions)
    for prediction in api.predictions:
        prediction.finish()
    assert command("resume").code == 0


def test_after_ctrl_c_during_a_download_resume_completes_the_job(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(output=[OutputFile(content=b"x" * 1000, name="a.webp")]))
    api.faults.next("download", "hang")
    process = command.start("run", "black-forest-labs/flux-schnell", "prompt=x")
    api.wait_until(lambda: api.count("download"))
    process.interrupt()
    outcome = process.end()
    assert outcome.code == 130
    assert outcome.error == f"warning: interrupted: prediction {api.predictions[0].id} is succeeded"
    (file,) = command("resume").response["files"]
    assert (command.folder / file).stat().st_size == 1000
    assert len(list((command.folder / file).parent.iterdir())) == 2

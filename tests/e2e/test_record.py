"""``replicate-job record`` and ``replay`` as processes that run another program."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedModel, openapi_schema

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

OURS = (sys.executable, "-m", "replicate_job")
PAINT = (*OURS, "run", "me/painter", "prompt=a fox", "--save", "out")
PICTURE = b"a picture" * 1000
OFFLINE = {"REPLICATE_API_TOKEN": "", "REPLICATE_BASE_URL": "http://127.0.0.1:9"}


@pytest.fixture(autouse=True)
def _painter(api: ScriptedAPI) -> None:
    api.models["me/painter"] = ScriptedModel(
        name="me/painter",
        official=True,
        schema=openapi_schema({"prompt": {"type": "string"}}, {"type": "string", "format": "uri"}),
        script=Script(output=OutputFile(content=PICTURE, name="out.webp")),
    )


def test_the_requests_of_a_command_are_recorded_once_and_replayed_without_a_network_and_a_token(
    command: Command, api: ScriptedAPI
) -> None:
    recorded = command("record", "hello.json", "--", *PAINT)
    assert recorded.code == 0
    assert recorded.err.startswith("hello.json: recorded 1 prediction, 1 file and ")
    assert api.created == 1
    assert not command.journal.exists()
    api.close()
    replayed = command("replay", "hello.json", "--", *PAINT, env=OFFLINE)
    assert (replayed.code, replayed.response["prediction_id"]) == (0, recorded.response["prediction_id"])
    assert (command.folder / replayed.response["files"][0]).read_bytes() == PICTURE
    (body,) = (command.folder / "hello.files").iterdir()
    assert body.read_bytes() == PICTURE


def test_an_unrecorded_request_is_reported_and_causes_exit_code_1(command: Command) -> None:
    command("record", "hello.json", "--", *PAINT)
    quiet = (sys.executable, "-c", "import os, sys; os.system(sys.argv[1] + ' 2>&1'); sys.exit(0)")
    other = f"{sys.executable} -m replicate_job run me/painter prompt=other"
    missed = command("replay", "hello.json", "--", *quiet, other, env=OFFLINE)
    assert missed.code == 1
    assert (
        'the nearest that is recorded differs in input.prompt: "a fox" was recorded, "other" requested' in missed.error
    )
    assert command("replay", "hello.json", "--lenient", "--", *quiet, other, env=OFFLINE).code == 0


def test_record_exits_with_the_exit_code_of_its_command_and_records_a_failed_prediction(
    command: Command, api: ScriptedAPI
) -> None:
    api.next(Script(end="failed", error="out of memory"))
    assert command("record", "failed.json", "--", *PAINT).code == 1
    api.close()
    replayed = command("replay", "failed.json", "--", *PAINT, env=OFFLINE)
    assert (replayed.code, replayed.response["error"]) == (1, "out of memory")


def test_no_recording_is_written_if_the_command_sends_no_request_or_does_not_start(command: Command) -> None:
    idle = command("record", "x.json", "--", sys.executable, "-c", "")
    assert (idle.code, "has sent no request to REPLICATE_BASE_URL" in idle.error) == (2, True)
    absent = command("record", "x.json", "--", "./no-such-program")
    assert (absent.code, absent.error) == (2, "error: ./no-such-program cannot be started: No such file or directory")
    killed = command("record", "x.json", "--", sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    assert (killed.code, "nothing was recorded" in killed.error) == (137, True)
    assert not (command.folder / "x.json").exists()


def test_an_interrupted_recording_keeps_the_earlier_file_and_leaves_no_process(
    command: Command, api: ScriptedAPI
) -> None:
    command("record", "hello.json", "--", *PAINT)
    earlier = (command.folder / "hello.json").read_bytes()
    api.next(Script(duration=float("inf")))
    running = command.start("record", "hello.json", "--", *PAINT)
    api.wait_until(lambda: len(api.predictions) == 2)
    running.signal(signal.SIGTERM)
    assert running.end().code == 143
    assert (command.folder / "hello.json").read_bytes() == earlier


def test_a_replay_without_a_command_answers_until_a_signal_ends_it(command: Command) -> None:
    command("record", "hello.json", "--", *PAINT)
    serving = command.start("replay", "hello.json", env=OFFLINE)
    base_url = serving.line().split("REPLICATE_BASE_URL=")[1].split()[0]
    client = command(*PAINT[3:], env={"REPLICATE_BASE_URL": base_url, "REPLICATE_API_TOKEN": "any"})
    assert client.response["status"] == "succeeded"
    serving.interrupt()
    ended = serving.end()
    assert (ended.code, ended.out) == (0, f"{base_url}\n".encode())


def test_the_error_for_recording_without_a_token_says_what_to_do(command: Command) -> None:
    outcome = command("record", "x.json", "--", *PAINT, env={"REPLICATE_API_TOKEN": ""})
    assert (outcome.code, outcome.error.startswith("error: REPLICATE_API_TOKEN is not set")) == (2, True)


def test_a_recording_of_a_batch_is_replayed_by_a_batch(command: Command, api: ScriptedAPI) -> None:
    (command.folder / "rows.csv").write_text("prompt\n" + "".join(f"fox {n}\n" for n in range(5)))
    words = (*OURS, "batch", "me/painter", "rows.csv", "--results", "-", "--no-report")
    recorded = command("record", "many.json", "--", *words)
    assert recorded.code == 0, recorded.err
    api.close()
    replayed = command("replay", "many.json", "--", *words, env=OFFLINE)
    assert replayed.code == 0, replayed.err
    lines = [msgspec.json.decode(line) for line in replayed.out.splitlines()]
    assert {line["status"] for line in lines} == {"succeeded"}

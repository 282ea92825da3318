"""``replicate-job train``: one training is created, whatever happens to its process."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import pytest

from replicate_job import Client
from replicate_job.errors import PredictionFailedError
from replicate_job.testing import Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

WORDS = ("train", "stability-ai/sdxl", "acme/fox", "input_images=https://example.com/a.zip", "--key", "fox-1")


def test_a_training_is_waited_for_and_its_key_creates_no_second_training(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(duration=0.1))
    first, second = command(*WORDS), command(*WORDS)
    (made,) = api.trainings.values()
    response = msgspec.json.decode(first.out)
    assert (first.code, response["prediction_id"], response["output"]) == (0, made.id, made.output)
    assert (second.code, msgspec.json.decode(second.out)) == (0, response)
    assert made.output
    assert made.output["version"].startswith("acme/fox:")
    assert api.count("create") == 1
    dry = msgspec.json.decode(command(*WORDS[:4], "--dry-run").out)
    assert (dry["destination"], dry["checked"]) == ("acme/fox", False)
    assert command("train", "stability-ai/sdxl", "fox").code == 2
    file = {"model": "stability-ai/sdxl", "input_data": response["input"], "destination": "acme/fox"}
    (command.folder / "train.json").write_bytes(msgspec.json.encode(file))
    assert msgspec.json.decode(command("run", "train.json", "--key", "fox-1").out) == response
    (command.folder / "rows.csv").write_text("prompt\na\n")
    refused = command("batch", "train.json", "rows.csv", "--results", "-")
    assert (refused.code, "a batch runs a model, and trains none" in refused.err) == (2, True)
    assert api.count("create") == 1


def test_a_training_is_resumed_after_its_process_was_killed(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(boot=0, duration=math.inf))
    process = command.start(*WORDS)
    api.wait_until(lambda: api.count("get"))
    process.kill()
    (made,) = api.trainings.values()
    waiting = command(*WORDS, "--no-wait")
    assert (waiting.code, msgspec.json.decode(waiting.out)["status"]) == (0, "processing")
    assert f"`replicate-job wait {made.id}`" in waiting.err
    made.finish()
    resumed = command("resume")
    assert (resumed.code, msgspec.json.decode(resumed.out)["output"]) == (0, made.output)
    assert (api.count("create"), list(api.trainings)) == (1, [made.id])


def test_ctrl_c_cancels_a_training(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(duration=math.inf))
    process = command.start(*WORDS)
    api.wait_until(lambda: api.count("get"))
    process.interrupt()
    outcome = process.end()
    (made,) = api.trainings.values()
    assert (outcome.code, made.status) == (130, "canceled")
    assert outcome.err.splitlines()[-1] == f"warning: interrupted: training {made.id} is canceled"


def test_the_message_for_a_failed_training_calls_it_a_training(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(end="failed", duration=0.1), Script(boot=0, duration=math.inf))
    failed = command(*WORDS)
    late = command(*WORDS[:-1], "fox-2", "--timeout", "1s")
    limited = command(*WORDS[:-1], "fox-2", "--poll-interval", "0.1", "--max-poll-attempts", "1")
    canceled = command("cancel", "fox-2")
    again = command(*WORDS[:-1], "fox-2")
    first, second = (f"training {made.id}" for made in api.trainings.values())
    assert (failed.code, failed.err.splitlines()[-1].partition(" failed: ")[0]) == (1, f"error: {first}")
    assert (late.code, late.error.partition(" after ")[0]) == (5, f"error: {second} is still processing")
    assert limited.err.startswith(f"{second} is still processing after 0.1 s and is left running: ")
    assert (canceled.code, again.err) == (0, f"{second} was canceled\n")


def test_the_exception_for_a_failed_training_calls_it_a_training(api: ScriptedAPI) -> None:
    api.next(Script(end="failed", duration=0.1))
    with Client(token=api.token, base_url=api.base_url) as client:
        result = client.train("stability-ai/sdxl", "acme/fox", {"input_images": "https://example.com/a.zip"})
    with pytest.raises(PredictionFailedError, match=f"^training {result.prediction_id} failed"):
        result.raise_for_status()

"""The account's models, trainings and deployments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from replicate_job import load_job
from replicate_job.testing import ScriptedAPI, ScriptedModel, ScriptedTraining

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

SDXL = "stability-ai/sdxl"


def test_a_models_description_in_search_results_cannot_control_the_terminal(api: ScriptedAPI, command: Command) -> None:
    api.models["acme/fox"] = ScriptedModel(name="acme/fox", description="Paints a\x1b[2J red fox")
    lines = command("search", "red", "fox").out.decode().splitlines()
    assert lines[1:] == ["acme/fox  community  0     Paints a\x1b[2J red fox"]
    assert rb"a\u001b[2J red fox" in command.on_terminal("search", "red fox").out
    (found,) = msgspec.json.decode(command("search", "red", "fox", "--json").out)
    assert (found["model"], found["url"], found["tags"]) == ("acme/fox", "https://replicate.com/acme/fox", [])
    nothing = command("search", "no such thing")
    assert (nothing.code, nothing.out, nothing.err) == (0, b"", "no model fits 'no such thing'\n")
    assert command("search", " ").error == "error: the query is empty: name what the models are to do"


def test_an_owners_models_are_listed(api: ScriptedAPI, command: Command) -> None:
    api.models["other/meta-like"] = ScriptedModel(name="other/meta-like", description="Not meta's.")
    assert [line.split()[0] for line in command("models", "--remote", "meta").out.decode().splitlines()] == [
        "MODEL",
        "meta/llama-2-70b-chat",
    ]
    assert command("models", "--remote", "nobody").error == "the API's list shows no public model of nobody"
    assert command("models", "--remote", "a/b").code == 2
    assert command("models", ".", "--remote", "meta").code == 2


def test_the_printed_example_of_a_model_runs_as_a_job_file(command: Command) -> None:
    example = command("schema", "replicate/hello-world", "--example")
    job = command.folder / "job.json"
    job.write_bytes(example.out)
    assert load_job(job).input_data == {"text": "Ada"}
    assert command("run", "job.json", "--output-only").out == b"hello Ada\n"
    assert command("schema", "replicate/hello-world", "--readme").out.startswith(b"# Hello World\n")
    assert command("schema", SDXL, "--readme").error == f"error: {SDXL} has no readme"
    assert command("schema", SDXL, "--example").code == 2
    assert command("schema", "acme/nothing", "--readme").code == 2
    assert command("schema", SDXL, "--readme", "--example").code == 2


def test_trainings_are_listed_shown_and_canceled(api: ScriptedAPI, command: Command) -> None:
    assert command("trainings", "list").err == "no trainings\n"
    over = ScriptedTraining(model=SDXL, output={"version": "acme/fox:0123"}, logs="loss 0.5\n", predict_time=61)
    running = ScriptedTraining(model=SDXL, status="processing")
    api.trainings.update({over.id: over, running.id: running})
    heading, newest, oldest = command("trainings", "list").out.decode().splitlines()
    assert heading.split() == ["TIME", "TRAINING", "MODEL", "STATUS", "TRAINED", "MADE"]
    assert newest.split()[2:] == [running.id, SDXL, "processing"]
    assert oldest.split()[2:] == [over.id, SDXL, "succeeded", "61s", "acme/fox:0123"]
    assert [each["id"] for each in msgspec.json.decode(command("trainings", "list", "--json", "--limit", "1").out)] == [
        running.id
    ]
    assert command("trainings", "show", over.id, "--logs").out == b"loss 0.5\n"
    assert msgspec.json.decode(command("trainings", "cancel", running.id).out)["status"] == "canceled"
    unchanged = command("trainings", "cancel", over.id)
    assert (msgspec.json.decode(unchanged.out)["status"], unchanged.err) == (
        "succeeded",
        f"training {over.id} is succeeded\n",
    )
    assert command("trainings", "show", "nothing").code == 2


def test_deployments_are_listed_and_shown(command: Command) -> None:
    heading, line = command("deployments", "list").out.decode().splitlines()
    assert heading.split() == ["DEPLOYMENT", "MODEL", "VERSION", "HARDWARE", "INSTANCES", "RELEASED"]
    assert line.split()[:2] == ["acme/flux", "black-forest-labs/flux-schnell"]
    assert line.split()[3:5] == ["cpu", "0..1"]
    for name in ("acme/flux", "deployments/acme/flux"):
        shown = msgspec.json.decode(command("deployments", "show", name).out)
        assert shown["current_release"]["configuration"]["hardware"] == "cpu"
    missing = command("deployments", "show", "acme/nothing")
    assert missing.code == 2
    assert "`replicate-job deployments list` shows those of this account" in missing.err


@pytest.mark.parametrize("words", [["search", "a"], ["pull"], ["list", "--remote"], ["trainings", "list"]])
def test_without_a_token_the_error_says_what_is_missing(command: Command, words: list[str]) -> None:
    command.environment.pop("REPLICATE_API_TOKEN")
    command.environment["REPLICATE_BASE_URL"] = "https://api.invalid"
    outcome = command(*words)
    assert outcome.code == 2
    assert "REPLICATE_API_TOKEN" in outcome.error

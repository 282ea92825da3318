"""Chains on the command line: run, go on, show, and the report of a batch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedModel, openapi_schema

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

FILE: dict[str, Any] = {"type": "string", "format": "uri"}
ESRGAN = ScriptedModel(
    name="nightmareai/real-esrgan",
    script=Script(output=OutputFile(content=b"a large picture", name="output.png"), duration=0.1),
    schema=openapi_schema(
        {"image": FILE, "scale": {"type": "number", "minimum": 0, "maximum": 10}}, FILE, required=["image"]
    ),
)
POSTER = """
[[step]]
name = "draw"
model = "black-forest-labs/flux-schnell"
input = { prompt = "{prompt}", aspect_ratio = "16:9", seed = "{seed}" }
[[step]]
name = "enlarge"
model = "nightmareai/real-esrgan"
input = { image = "{draw.output[0]}", scale = 2 }
"""
pytestmark = pytest.mark.replicate_api(ESRGAN)


@pytest.fixture(autouse=True)
def poster(command: Command) -> None:
    (command.folder / "poster.toml").write_text(POSTER)


def test_a_finished_chain_is_shown_and_creates_nothing_again(api: ScriptedAPI, command: Command) -> None:
    words = ["run", "poster.toml", "prompt=a lake", "seed=7", "--key", "poster"]
    first = command(*words).json
    assert [prediction.input for prediction in api.predictions] == [
        {"prompt": "a lake", "aspect_ratio": "16:9", "seed": 7},
        {"image": first["steps"]["draw"]["output"][0], "scale": 2},
    ]
    assert first["files"] == first["steps"]["enlarge"]["files"] == [f"outputs/{first['prediction_id']}/output.png"]
    assert command(*words).json == first
    assert command("show", "poster").json["steps"] == first["steps"]
    waited = command("wait", "poster")
    assert (waited.code, "it is the key of a chain" in waited.error) == (2, True)
    assert command(*words, "--output-only").out.decode().strip() == first["files"][0]
    assert api.created == 2


def test_the_error_of_a_failed_chain_suggests_the_command_that_continues_it(api: ScriptedAPI, command: Command) -> None:
    bad = msgspec.structs.replace(ESRGAN, script=Script(end="failed", error="out of memory"))
    api.models[ESRGAN.name] = bad
    words = ["run", "poster.toml", "prompt=a lake", "--key", "poster"]
    outcome = command(*words)
    assert outcome.code == 1
    assert outcome.json["error"] == "out of memory"
    assert "draw is kept: the same command with --key poster --retry-failed goes on with it" in outcome.err
    api.models[ESRGAN.name] = ESRGAN
    assert command(*words).code == 1
    assert command(*words, "--retry-failed").code == 0
    assert [prediction.model for prediction in api.predictions] == [
        "black-forest-labs/flux-schnell",
        *[ESRGAN.name] * 2,
    ]


def test_after_ctrl_c_canceled_a_step_retry_failed_continues_the_chain(api: ScriptedAPI, command: Command) -> None:
    api.models[ESRGAN.name] = msgspec.structs.replace(ESRGAN, script=Script(duration=math.inf))
    words = ["run", "poster.toml", "prompt=a lake", "--key", "poster"]
    process = command.start(*words)
    api.wait_until(lambda: api.created == 2)
    process.interrupt()
    assert process.end().code == 130
    assert [prediction.status for prediction in api.predictions] == ["succeeded", "canceled"]
    api.models[ESRGAN.name] = ESRGAN
    assert command(*words, "--retry-failed").code == 0
    assert api.created == 3


def test_a_dry_run_checks_every_step_and_creates_nothing(api: ScriptedAPI, command: Command) -> None:
    planned = command("run", "poster.toml", "prompt=a lake", "--dry-run").json["steps"]
    assert planned["draw"]["input"] == {"prompt": "a lake", "aspect_ratio": "16:9"}
    assert (planned["enlarge"]["input"], planned["enlarge"]["later"]) == ({"scale": 2}, ["image"])
    (command.folder / "poster.toml").write_text(POSTER.replace("[0]", ""))
    outcome = command("run", "poster.toml", "prompt=a lake")
    assert outcome.code == 2
    assert "step enlarge, input image: {draw.output} is a list of files, and this takes a file" in outcome.err
    assert api.created == 0


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("--stream", "--stream is for one job"),
        ("--no-wait", "--no-wait is for a job"),
        ("--cancel-after=5m", "--cancel-after is for a job"),
    ],
)
def test_an_option_that_only_single_jobs_have_is_refused_for_a_chain(
    command: Command, option: str, problem: str
) -> None:
    outcome = command("run", "poster.toml", "prompt=a lake", option)
    assert outcome.code == 2
    assert problem in outcome.err
    assert command("run", "replicate/hello-world", "text=x", "--retry-failed").code == 2


def test_the_report_of_a_batch_shows_the_steps_side_by_side(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "prompts.csv").write_text("prompt,seed\na lake,1\na fox,2\n")
    words = ["batch", "poster.toml", "prompts.csv", "--results", "results.jsonl"]
    outcome = command(*words)
    assert outcome.code == 0
    assert "2 rows: 2 succeeded" in outcome.err
    assert "4 files" in outcome.err
    report = (command.folder / "report.html").read_text()
    assert report.count('<ol class="steps">') == 2
    assert report.count('<p class="note">draw</p>') == report.count('<p class="note">enlarge</p>') == 2
    assert "a lake" in report
    assert command(*words).code == 0
    planned = command(*words, "--dry-run").json
    assert planned.pop("cost").keys() == {"draw"}  # the other has no price
    assert planned == {"model": "draw > enlarge", "rows": 2, "done": 2, "to_run": 0, "wrong": 0}
    (command.folder / "poster.toml").write_text(POSTER.replace("scale = 2", "scale = 4"))
    assert command(*words, "--dry-run").json["to_run"] == 2  # another chain is another batch
    assert api.created == 4


def test_the_cost_list_shows_a_chain_with_all_its_attempts_in_one_line(api: ScriptedAPI, command: Command) -> None:
    models = f'"black-forest-labs/flux-schnell" = "0.003/run"\n"{ESRGAN.name}" = "0.02/run"\n'
    (command.folder / "prices.toml").write_text(f"[models]\n{models}")
    command.environment["REPLICATE_JOB_PRICES"] = "prices.toml"
    api.models[ESRGAN.name] = msgspec.structs.replace(ESRGAN, script=Script(end="failed", error="out of memory"))
    words = ["run", "poster.toml", "prompt=a lake", "--key", "poster"]
    assert command(*words).code == 1
    api.models[ESRGAN.name] = ESRGAN
    assert command(*words, "--retry-failed").code == 0
    assert command("run", ESRGAN.name, "image=https://example.com/a.png", "--key", "alone").code == 0
    alone, chain = command("list", "--cost", "--json").json
    assert (alone["predictions"], alone["cost"]) == (1, 0.02)
    assert (chain["name"], chain["predictions"], chain["cost"], chain["unknown"]) == ("poster", 3, 0.043, 0)
    assert chain["model"] == f"black-forest-labs/flux-schnell, {ESRGAN.name}"
    (command.folder / "prompts.csv").write_text("prompt\na lake\n")
    outcome = command("batch", "poster.toml", "prompts.csv", "--results", "results.jsonl")
    assert "about $0.023" in outcome.err
    assert msgspec.json.decode((command.folder / "results.jsonl").read_bytes())["cost"] == 0.023
    assert "$0.023" in (command.folder / "report.html").read_text()


FANNED = POSTER.replace('input = { image = "{draw.output[0]}", scale = 2 }', """for_each = "{draw.output}"
input = { image = "{each}", scale = 2 }""")  # fmt: skip


def test_elements_of_a_step_are_shown_side_by_side(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "posters.toml").write_text(FANNED.replace('seed = "{seed}"', "num_outputs = 2"))
    picture = OutputFile(content=b"a picture", name="a.png")
    schnell = api.models["black-forest-labs/flux-schnell"]
    api.models[schnell.name] = msgspec.structs.replace(schnell, script=Script(output=[picture, picture]))
    words = ["run", "posters.toml", "prompt=a lake", "--key", "posters"]
    planned = command(*words, "--dry-run").json["steps"]["enlarge"]
    assert (planned["for_each"], planned["later"]) == ("{draw.output}", ["image"])
    first = command(*words).json
    assert list(first["steps"]) == ["draw", "enlarge[0]", "enlarge[1]"]
    assert first["files"] == first["steps"]["enlarge[0]"]["files"] + first["steps"]["enlarge[1]"]["files"]
    assert command(*words, "--output-only").out.decode().splitlines() == first["files"]
    assert command("show", "posters").json["output"] == first["output"]
    assert command("show", "posters", "--output-only").out.decode().splitlines() == first["files"]
    (command.folder / "prompts.csv").write_text("prompt\na lake\n")
    assert command("batch", "posters.toml", "prompts.csv", "--results", "results.jsonl").code == 0
    report = (command.folder / "report.html").read_text()
    for name in ("draw", "enlarge[0]", "enlarge[1]"):
        assert f'<p class="note">{name}</p>' in report
    assert api.created == 6


def test_a_batch_of_chains_is_estimated_step_by_step_and_stops_at_its_limit(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "rows.jsonl").write_text("".join(f'{{"prompt": "a {n}", "seed": {n}}}\n' for n in range(9)))
    words = ["batch", "poster.toml", "rows.jsonl", "--results", "r.jsonl", "--price", "draw=0.01/run"]
    words += ["--price", "nightmareai/real-esrgan=0.001/second", "--concurrency", "1"]
    costs = command(*words, "--dry-run").json["cost"]
    assert {name: (cost["estimate"], cost["at_most"]) for name, cost in costs.items()} == {
        "draw": (0.09, 0.09),
        "enlarge": (None, 16.2),
    }
    metrics = {"metrics": {"predict_time": 10.0}}
    api.models[ESRGAN.name] = msgspec.structs.replace(
        ESRGAN, script=msgspec.structs.replace(ESRGAN.script, overrides=metrics)
    )
    outcome = command(*words, "--max-cost", "0.05")
    assert outcome.code == 5, outcome.err
    assert "$0.00 of $0.05 are spent; it may be exceeded by $1.81 at most: 1 row of up to 2 predictions" in outcome.err
    reason = "stopped: $0.05 are spent, and one more costs about $0.01 (the dearest of 2 so far): the limit is $0.05"
    assert reason in outcome.err
    lines = (command.folder / "r.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(line)["cost"] for line in lines] == [0.02, 0.02]
    planned = command(*words, "--dry-run").json
    assert (planned["done"], planned["to_run"]) == (2, 7)
    assert {name: cost["estimate"] for name, cost in planned["cost"].items()} == {"draw": 0.06, "enlarge": 0.07}

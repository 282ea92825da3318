"""A batch of chains that is killed (SIGKILL) at any moment: every step of every row is created once."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedModel, openapi_schema

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

FILE: dict[str, Any] = {"type": "string", "format": "uri"}
CHAIN = """
[[step]]
name = "draw"
model = "acme/draw"
input = { prompt = "{prompt}" }
[[step]]
name = "enlarge"
model = "acme/enlarge"
input = { image = "{draw.output[0]}" }
[[step]]
name = "name"
model = "acme/name"
input = { image = "{enlarge.output}", words = "{prompt}, large" }
"""
pytestmark = pytest.mark.replicate_api(list_lag=0.3, faults="create:drop-after=0.2")


@pytest.fixture(autouse=True)
def models(api: ScriptedAPI) -> None:
    """Each output file names its inputs, so that a mix-up shows."""

    def draw(given: dict[str, Any]) -> Script:
        return Script(duration=0.2, output=[OutputFile(content=given["prompt"].encode(), name="a.png")])

    def enlarge(given: dict[str, Any]) -> Script:
        return Script(duration=0.2, output=OutputFile(content=given["image"].encode(), name="b.png"))

    made = [
        ScriptedModel(name="acme/draw", script=draw, schema=_schema({"prompt": {}}, {"type": "array", "items": FILE})),
        ScriptedModel(name="acme/enlarge", script=enlarge, schema=_schema({"image": FILE}, FILE)),
        ScriptedModel(
            name="acme/name",
            script=lambda given: Script(duration=0.1, output=f"{given['words']} {given['image']}"),
            schema=_schema({"image": FILE, "words": {}}, {"type": "string"}),
        ),
    ]
    api.models.update({model.name: model for model in made})


def _schema(inputs: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    given = {name: schema or {"type": "string"} for name, schema in inputs.items()}
    return openapi_schema(given, output, required=list(inputs))


def kill(api: ScriptedAPI, command: Command, words: list[str], *, predictions: int, times: int) -> str:
    """Kill it ``times`` times, spread over its work, at random moments. Returns a report."""
    seed = random.randrange(2**32)  # noqa: S311 - another test each time, and repeatable by what it tells
    moments, killed = random.Random(seed), 0  # noqa: S311 - as above
    for number in range(times):
        goal = api.created if number % 4 == 0 else number * predictions // times
        process = command.start(*words)
        api.wait_until(lambda goal=goal: api.created >= goal or process.ends_within(0), seconds=60)  # type: ignore[misc] # noqa: B023 - waited for at once
        if not process.ends_within(moments.uniform(0, 0.5)):
            process.kill()
            killed += 1
        else:
            assert process.end().code == 0
    assert killed >= times * 0.8
    return f"seed {seed}, killed {killed} of {times} times, {api.created} created by then"


def check(api: ScriptedAPI, command: Command, words: list[str], rows: int, story: str) -> None:
    """Run it to the end. Check that each step of each row has one prediction, with the output of the step before."""
    outcome = command(*words)
    assert outcome.code == 0, (story, outcome.err)
    lines = (command.folder / "results.jsonl").read_bytes().splitlines()
    records = {record["line"]: record for record in map(msgspec.json.decode, lines)}
    assert len(lines) == len(records) == rows, story
    made = {prediction.id: prediction for prediction in api.predictions}
    told = Counter(step["prediction_id"] for record in records.values() for step in record["steps"].values())
    assert told == Counter(list(made)), story
    assert len(made) == 3 * rows, story
    assert Counter(row["chain_step"] for row in command.rows()) == dict.fromkeys(("draw", "enlarge", "name"), rows)
    for line, record in records.items():
        draw, enlarge, name = record["steps"]["draw"], record["steps"]["enlarge"], record["steps"]["name"]
        assert draw["input"] == {"prompt": f"picture {line}"}, story
        assert enlarge["input"] == {"image": draw["output"][0]}, story
        assert name["input"] == {"image": enlarge["output"], "words": f"picture {line}, large"}, story
        assert record["output"] == f"picture {line}, large {enlarge['output']}", story
        assert (command.folder / draw["files"][0]).read_bytes() == f"picture {line}".encode(), story
        assert (command.folder / enlarge["files"][0]).read_bytes() == draw["output"][0].encode(), story


def start(command: Command, rows: int, *words: str) -> list[str]:
    (command.folder / "poster.toml").write_text(CHAIN)
    lines = (msgspec.json.encode({"prompt": f"picture {line}"}) + b"\n" for line in range(1, rows + 1))
    (command.folder / "rows.jsonl").write_bytes(b"".join(lines))
    own = ["batch", "poster.toml", "rows.jsonl", "--results", "results.jsonl", "--rate", "none", "--concurrency"]
    return [*own, str(max(4, rows // 10)), *words]


def test_a_batch_of_chains_that_is_killed_creates_each_step_of_each_row_once(
    api: ScriptedAPI, command: Command
) -> None:
    words = start(command, 30)
    check(api, command, words, 30, kill(api, command, words, predictions=90, times=3))


@pytest.mark.long
def test_a_batch_of_chains_that_is_killed_twenty_times_creates_each_step_of_each_row_once(
    api: ScriptedAPI, command: Command
) -> None:
    words = start(command, 200)
    check(api, command, words, 200, kill(api, command, words, predictions=600, times=20))


def test_a_step_that_always_fails_leaves_the_earlier_steps_unchanged(api: ScriptedAPI, command: Command) -> None:
    good = api.models["acme/enlarge"]
    api.models["acme/enlarge"] = msgspec.structs.replace(good, script=Script(end="failed", error="out of memory"))
    words = start(command, 10)
    assert command(*words).code == 1
    assert command(*words).code == 1  # nothing is tried again by itself
    assert Counter(prediction.model for prediction in api.predictions) == {"acme/draw": 10, "acme/enlarge": 10}
    lines = (command.folder / "results.jsonl").read_bytes().splitlines()
    for record in map(msgspec.json.decode, lines):
        assert (record["status"], record["error"], record["model"]) == ("failed", "out of memory", "acme/enlarge")
        (file,) = record["steps"]["draw"]["files"]
        assert (command.folder / file).read_bytes() == f"picture {record['line']}".encode()
    assert command(*words, "--retry-failed").code == 1
    api.models["acme/enlarge"] = good
    assert command(*words, "--retry-failed").code == 0
    made = Counter(prediction.model for prediction in api.predictions)
    assert made == {"acme/draw": 10, "acme/enlarge": 30, "acme/name": 10}


FANNED = """
[[step]]
name = "draw"
model = "acme/sheet"
input = { prompt = "{prompt}" }
[[step]]
name = "enlarge"
model = "acme/enlarge"
for_each = "{draw.output}"
input = { image = "{each}" }
[[step]]
name = "join"
model = "acme/join"
input = { images = "{enlarge.output}" }
"""


def test_a_batch_that_is_killed_creates_the_prediction_of_each_list_element_once(
    api: ScriptedAPI, command: Command
) -> None:
    def sheet(given: dict[str, Any]) -> Script:
        names = [f"{given['prompt']}, {number}" for number in range(4)]
        return Script(duration=0.2, output=[OutputFile(content=name.encode(), name="a.png") for name in names])

    files = {"type": "array", "items": FILE}
    for model in (
        ScriptedModel(name="acme/sheet", script=sheet, schema=_schema({"prompt": {}}, files)),
        ScriptedModel(
            name="acme/join",
            script=lambda given: Script(duration=0.1, output=" ".join(given["images"])),
            schema=_schema({"images": files}, {"type": "string"}),
        ),
    ):
        api.models[model.name] = model
    words = start(command, 15)
    (command.folder / "poster.toml").write_text(FANNED)
    story = kill(api, command, words, predictions=90, times=5)
    outcome = command(*words)
    assert outcome.code == 0, (story, outcome.err)
    lines = (command.folder / "results.jsonl").read_bytes().splitlines()
    records = [msgspec.json.decode(line) for line in lines]
    assert len(records) == 15, story
    told = Counter(step["prediction_id"] for record in records for step in record["steps"].values())
    assert told == Counter(prediction.id for prediction in api.predictions), story
    assert len(api.predictions) == 15 * 6, story
    assert Counter(row["chain_step"] for row in command.rows()) == dict.fromkeys(
        ("draw", *(f"enlarge[{number}]" for number in range(4)), "join"), 15
    )
    for record in records:
        parts = [record["steps"][f"enlarge[{number}]"] for number in range(4)]
        assert [part["input"]["image"] for part in parts] == record["steps"]["draw"]["output"], story
        assert record["output"] == " ".join(part["output"] for part in parts), story

"""``--retries``, ``--fallback``, ``--dedupe`` and ``--reuse``, as a user meets them."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.testing import Script, ScriptedAPI, ScriptedModel, openapi_schema

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

TEXT = {"type": "string"}
FIRST = openapi_schema({"prompt": TEXT, "seed": {"type": "integer"}}, TEXT, required=["prompt"])
SECOND = openapi_schema({"text": TEXT}, TEXT, required=["text"])
WORDS = Script(output="words", duration=0, boot=0)
BROKEN = Script(end="failed", error="no attribute 'shape'", duration=0, boot=0)
INTERRUPTED = Script(end="failed", error="Prediction interrupted; please retry (code: PA)", duration=0, boot=0)
JOB = """
model = "acme/first"
[input_data]
prompt = "a fox"
seed = 1
[[fallback]]
model = "acme/second"
inputs = { prompt = "text", seed = false }
"""


@pytest.fixture(autouse=True)
def _models(api: ScriptedAPI) -> None:
    for name, schema in {"acme/first": FIRST, "acme/second": SECOND, "acme/third": FIRST}.items():
        api.models[name] = ScriptedModel(name=name, official=True, schema=schema, script=WORDS)


def rows(command: Command, *values: dict[str, Any]) -> None:
    (command.folder / "rows.jsonl").write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in values))


def records(command: Command) -> list[dict[str, Any]]:
    lines = (command.folder / "results.jsonl").read_bytes().splitlines()
    return sorted(map(msgspec.json.decode, lines), key=lambda record: record["line"])


def test_an_interrupted_prediction_is_retried(api: ScriptedAPI, command: Command) -> None:
    api.next(INTERRUPTED, WORDS)
    outcome = command("run", "acme/first", "prompt=a fox", "--retries", "1", "--key", "fox")
    assert (outcome.code, outcome.json["output"]) == (0, "words")
    assert "failed (Prediction interrupted; please retry (code: PA)); trying again in 2 s" in outcome.err
    again = command("run", "acme/first", "prompt=a fox", "--retries", "1", "--key", "fox")
    assert again.json == outcome.json
    assert [row["key"] for row in command.rows("key")] == ["fox", "fox~2"]
    assert len(api.predictions) == 2


def test_a_job_file_names_a_fallback_and_maps_its_inputs(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "job.toml").write_text(JOB)
    api.next(BROKEN, WORDS)
    outcome = command("run", "job.toml")
    assert (outcome.code, outcome.json["model"], outcome.json["input"]) == (0, "acme/second", {"text": "a fox"})
    assert "; trying acme/second" in outcome.err


def test_a_fallback_that_does_not_fit_raises_an_error_before_anything_is_paid_for(
    api: ScriptedAPI, command: Command
) -> None:
    for words in ([], ["--dry-run"]):
        outcome = command("run", "acme/first", "prompt=a fox", "--fallback", "acme/second", *words)
        assert outcome.code == 2
        assert "the input does not fit acme/second:\n  prompt is not an input of this model" in outcome.err
    assert not api.predictions


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--retry-on", "nsfw", "--retries", "1"], "retry_on: 'nsfw' is none of failed, interrupted, empty"),
        (["--retry-on", "failed"], "--retry-on needs --retries"),
        (["--stream", "--retries", "1"], "--stream shows one prediction"),
        (["--no-wait", "--retries", "1"], "wait for it"),
        (["--reuse", "long"], "must be like 30d"),
    ],
)
def test_invalid_options_cause_a_one_line_error(
    api: ScriptedAPI, command: Command, words: list[str], told: str
) -> None:
    outcome = command("run", "acme/first", "prompt=x", *words)
    assert outcome.code == 2
    assert told in outcome.err
    assert not api.requests


def test_a_reused_success_is_reported_on_the_terminal(api: ScriptedAPI, command: Command) -> None:
    made = command("run", "acme/first", "prompt=a fox")
    taken = command("run", "acme/first", "prompt=a fox", "--reuse", "30d")
    assert taken.json == made.json
    assert f"reused {made.json['prediction_id']} of " in taken.err
    assert len(api.predictions) == 1


def test_a_batch_reuses_and_shares_predictions_and_counts_both(api: ScriptedAPI, command: Command) -> None:
    command("run", "acme/first", "prompt=a")
    rows(command, *[{"prompt": prompt} for prompt in "abbcb"])
    words = ["batch", "acme/first", "rows.jsonl", "--results", "results.jsonl", "--dedupe", "--reuse", "30d"]
    dry = command(*words, "--dry-run")
    assert dry.json == {"model": "acme/first", "rows": 5, "done": 1, "to_run": 2, "wrong": 0, "repeated": 2}
    outcome = command(*words)
    assert outcome.code == 0
    assert "3 rows took a prediction that there was, and paid for none" in outcome.err
    first = records(command)
    assert [record.get("reused", False) for record in first] == [True, False, True, False, True]
    assert len({record["prediction_id"] for record in first}) == 3
    assert command(*words).code == 0
    assert records(command) == first
    assert len(api.predictions) == 3


def test_dedupe_and_id_exclude_each_other(command: Command) -> None:
    rows(command, {"prompt": "a"})
    words = ["batch", "acme/first", "rows.jsonl", "--results", "r.jsonl"]
    outcome = command(*words, "--dedupe", "--id", "prompt")
    assert outcome.code == 2
    assert "--dedupe identifies rows by their inputs, and --id by a column: give only one" in outcome.err


@pytest.mark.long
def test_a_batch_with_retries_that_is_killed_repeatedly_pays_for_each_attempt_once(
    api: ScriptedAPI, command: Command
) -> None:
    """Every third input is interrupted once, every fifth goes to the fallback, and each occurs four times."""
    seen = Counter[str]()

    def first(given: dict[str, Any]) -> Script:
        number = int(given["prompt"])
        seen[given["prompt"]] += 1
        if number % 5 == 0:
            return msgspec.structs.replace(BROKEN, duration=0.1)
        return INTERRUPTED if number % 3 == 0 and seen[given["prompt"]] == 1 else Script(output="words", duration=0.2)

    api.models["acme/first"] = msgspec.structs.replace(api.models["acme/first"], script=first)
    rows(command, *[{"prompt": str(line % 30)} for line in range(120)])
    words = ["batch", "acme/first", "rows.jsonl", "--results", "results.jsonl", "--dedupe", "--concurrency", "4"]
    words += ["--retries", "1", "--fallback", "acme/third", "--rate", "none"]
    moments = random.Random(7)  # noqa: S311 - repeatable, not secret
    for _ in range(8):
        process = command.start(*words)
        if process.ends_within(moments.uniform(0.4, 2.5)):
            process.end()
        else:
            process.kill()
    outcome = command(*words)
    assert outcome.code == 0, outcome.err
    made = Counter((prediction.model, prediction.input["prompt"]) for prediction in api.predictions)
    expected = Counter[tuple[str, str]]()
    for number in range(30):
        expected["acme/first", str(number)] = 2 if number % 5 == 0 or number % 3 == 0 else 1
        if number % 5 == 0:
            expected["acme/third", str(number)] = 1
    assert made == expected
    found = records(command)
    assert [record["line"] for record in found] == list(range(1, 121))
    assert {record["status"] for record in found} == {"succeeded"}
    assert [record["model"] for record in found] == [
        "acme/third" if line % 30 % 5 == 0 else "acme/first" for line in range(120)
    ]
    assert sum(len(record.get("earlier", ())) for record in found) == len(api.predictions) - 30

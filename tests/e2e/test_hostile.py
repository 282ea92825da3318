"""Invalid and extreme values: each is an error of one line, and delays nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from replicate_job.testing import Script

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

    from replicate_job.testing import ScriptedAPI

PRIVATE = "acme/private"  # it shows no schema
DEEP = "[" * 600 + "1" + "]" * 600
ENDLESS = "[" * 100_000 + "1" + "]" * 100_000
JSON = (DEEP, ENDLESS, "9" * 400, "9" * 5000, "NaN", "1e999", r'"\ud800"', r'{"\udfff": 1}', "{")


@pytest.mark.parametrize("target", [PRIVATE, "replicate/hello-world"])
def test_each_invalid_line_is_an_error_of_its_own_row_only(api: ScriptedAPI, command: Command, target: str) -> None:
    lines = [f'{{"text": {value}}}' for value in (*JSON[:-1], '"a"', "{", '"b"')]
    (command.folder / "rows.jsonl").write_text("\n".join(lines))
    outcome = command("batch", target, "rows.jsonl", "--results", "results.jsonl")
    records = [msgspec.json.decode(line) for line in (command.folder / "results.jsonl").read_bytes().splitlines()]
    assert outcome.code == 1
    assert {record["line"]: record["status"] for record in records} == {
        line: "succeeded" if '"a"' in text or '"b"' in text else "error" for line, text in enumerate(lines, 1)
    }
    assert sorted(prediction.input["text"] for prediction in api.predictions) == ["a", "b"]


def test_each_invalid_cell_is_an_error_of_its_own_row_only(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "rows.csv").write_text("x\n1\n" + "".join(f"{value}\n" for value in (DEEP, "9" * 400)) + "2\n")
    outcome = command("batch", PRIVATE, "rows.csv", "--results", "-")
    records = [msgspec.json.decode(line) for line in outcome.out.splitlines()]
    assert sorted((record["line"], record["status"]) for record in records) == [
        (2, "succeeded"),
        (3, "error"),
        (4, "error"),
        (5, "succeeded"),
    ]
    assert sorted(prediction.input["x"] for prediction in api.predictions) == [1, 2]


@pytest.mark.parametrize("value", JSON, ids=range(len(JSON)))
@pytest.mark.parametrize("way", ["input", "job.json", "job.toml"])
def test_an_invalid_input_of_one_job_causes_a_one_line_error(
    api: ScriptedAPI, command: Command, way: str, value: str
) -> None:
    if way == "input":
        (command.folder / "input.json").write_text(f'{{"text": {value}}}')
        outcome = command("run", PRIVATE, "--input", "input.json")
    elif way == "job.json":
        (command.folder / way).write_text(f'{{"model": "{PRIVATE}", "input_data": {{"text": {value}}}}}')
        outcome = command("run", way)
    else:
        (command.folder / way).write_text(f'model = "{PRIVATE}"\n[input_data]\ntext = {value}\n')
        outcome = command("run", way)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") <= 2, "one line, and one more for a list of problems"
    assert outcome.out == b""
    assert not api.predictions


@pytest.mark.parametrize("value", [DEEP, "9" * 400])
def test_an_invalid_word_on_the_command_line_causes_a_one_line_error(
    api: ScriptedAPI, command: Command, value: str
) -> None:
    outcome = command("run", PRIVATE, f"text={value}")
    assert outcome.code == 2
    assert "text: " in outcome.err
    assert not api.predictions


@pytest.mark.parametrize("created", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-12:00"])
def test_commands_accept_extreme_times_and_numbers_in_a_response(
    api: ScriptedAPI, command: Command, created: str
) -> None:
    metrics = {"predict_time": 10**300, "total_time": -1}
    overrides = {"created_at": created, "completed_at": created, "metrics": metrics}
    api.next(Script(duration=0, boot=0, output="done", overrides=overrides))
    api.faults.next("create", "drop-after")
    outcome = command("run", PRIVATE)
    assert (outcome.code, outcome.response["output"]) == (0, "done")
    assert len(api.predictions) == 1
    assert command("show", api.predictions[0].id).response["created_at"] == created
    assert command("list").code == command("list", "--json").code == command("resume").code == 0
    (command.folder / "rows.jsonl").write_text("{}\n{}\n")
    api.next(*[Script(duration=0, boot=0, output="done", overrides=overrides)] * 2)
    assert command("batch", PRIVATE, "rows.jsonl", "--results", "results.jsonl").code == 0


FIELDS = {
    "half a pair in the output": ({"output": r'"half \ud83d"'}, "half \ufffd", "output was replaced"),
    "a long number in the output": ({"output": "9" * 5000}, "9" * 5000, "output was replaced"),
    "a huge number in the output": ({"output": "[1e999]"}, ["1e999"], "output was replaced"),
    "NaN in the output": ({"output": "[NaN]"}, [None], "output was replaced"),
    "half a pair in the logs": ({"output": '"x"', "logs": r'"\ud83d"'}, "x", "logs was replaced"),
    "half a pair in an unknown field": ({"output": '"x"', "surprise": r'"\ud83d"'}, "x", ""),
    "depth in an unknown field": ({"output": '"x"', "surprise": ENDLESS}, "x", ""),
    "wrong metrics": ({"output": '"x"', "metrics": "3"}, "x", "metrics cannot be read"),
    "wrong logs": ({"output": '"x"', "logs": "[3]"}, "x", "logs cannot be read"),
    "wrong urls": ({"output": '"x"', "urls": "[]"}, "x", "urls cannot be read"),
    "a wrong input": ({"output": '"x"', "input": "3"}, "x", "input cannot be read"),
    "a wrong model": ({"output": '"x"', "model": "{}"}, "x", "model cannot be read"),
    "a wrong time": ({"output": '"x"', "created_at": "1796000000"}, "x", "created_at cannot be read"),
}


def scripted(fields: dict[str, str], duration: float = 0.3) -> Script:
    overrides = {name: msgspec.Raw(text.encode()) for name, text in fields.items()}
    return Script(duration=duration, boot=0, output="x", overrides=overrides)


@pytest.mark.parametrize(
    ("fields", "fault"),
    # Without a creation time and an input, a look-up cannot tell whose prediction it is.
    [
        *((name, "") for name in FIELDS),
        *((name, "drop-after") for name in FIELDS if name.startswith(("half", "depth"))),
    ],
)
def test_a_prediction_that_the_decoder_refuses_ends_with_what_can_be_read_of_it(
    api: ScriptedAPI, command: Command, fields: str, fault: str
) -> None:
    overrides, output, warning = FIELDS[fields]
    api.next(scripted(overrides))
    if fault:
        api.faults.next("create", fault)
    outcome = command("run", PRIVATE, "n=1", "--timeout", "20s")
    (prediction,) = api.predictions
    assert (outcome.code, outcome.response["output"]) == (0, output), outcome.err
    told = [line for line in outcome.err.splitlines() if prediction.id in line]
    assert len(told) == bool(warning), outcome.err
    assert warning in "".join(told)


@pytest.mark.parametrize("fault", ["", "drop-after"])
def test_a_success_whose_output_cannot_be_read_is_an_error_that_says_so(
    api: ScriptedAPI, command: Command, fault: str
) -> None:
    api.next(scripted({"output": ENDLESS}))
    if fault:
        api.faults.next("create", fault)
    outcome = command("run", PRIVATE, "n=1", "--timeout", "20s")
    (prediction,) = api.predictions
    assert outcome.code == 3
    assert f"{prediction.id} succeeded, and its output cannot be read" in outcome.err


def test_a_batch_ends_though_the_decoder_refuses_some_of_its_predictions(api: ScriptedAPI, command: Command) -> None:
    api.next(*(scripted(fields) for fields, _, _ in FIELDS.values()), scripted({"output": ENDLESS}))
    (command.folder / "rows.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in range(len(FIELDS) + 1)))
    outcome = command("batch", PRIVATE, "rows.jsonl", "--results", "results.jsonl")
    records = [msgspec.json.decode(line) for line in (command.folder / "results.jsonl").read_bytes().splitlines()]
    wrong = [record for record in records if record.get("problem")]
    assert outcome.code == 1
    assert len(records) == len(FIELDS) + 1
    assert [record["status"] for record in records if record not in wrong] == ["succeeded"] * len(FIELDS)
    assert ["its output cannot be read" in record["problem"] for record in wrong] == [True]
    assert len(api.predictions) == len(FIELDS) + 1

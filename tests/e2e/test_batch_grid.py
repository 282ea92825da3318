"""``replicate-job batch`` with templates, grids and several models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
from pyarrow import parquet

from replicate_job.testing import Script

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

    from replicate_job.testing import ScriptedAPI

FLUX = "black-forest-labs/flux-schnell"


def results(command: Command) -> list[dict[str, Any]]:
    found = [msgspec.json.decode(line) for line in (command.folder / "results.jsonl").read_bytes().splitlines()]
    return sorted(found, key=lambda record: (record["line"], str(record.get("grid"))))


def test_a_batch_with_templates_and_a_grid_runs_only_the_new_combinations_of_a_larger_grid(
    api: ScriptedAPI, command: Command
) -> None:
    (command.folder / "rows.csv").write_text("subject,style\na fox,oil\nan owl,ink\n")
    words = ["rows.csv", "--set", "prompt={subject}, {style}", "--results", "results.jsonl", "--no-save"]

    dry = command("batch", FLUX, *words, "--grid", "seed=1..2", "--grid", "aspect_ratio=1:1,16:9", "--dry-run")
    counts = {"rows": 8, "done": 0, "to_run": 8, "wrong": 0, "combinations": 4}
    assert {name: dry.json[name] for name in dry.json if name != "cost"} == {"model": FLUX, **counts}
    assert dry.json["cost"]["estimate"] == 0.024
    assert not api.count("create")

    assert command("batch", FLUX, *words, "--grid", "seed=1", "--grid", "aspect_ratio=1:1,16:9").code == 0
    more = command("batch", FLUX, *words, "--grid", "seed=1..2", "--grid", "aspect_ratio=16:9,1:1")
    assert "4 rows had been done before" in more.err
    assert api.created == 8
    assert [(record["line"], record["grid"], record["input"]) for record in results(command)] == [
        (line, {"seed": seed, "aspect_ratio": ratio}, {"prompt": prompt, "seed": seed, "aspect_ratio": ratio})
        for line, prompt in ((2, "a fox, oil"), (3, "an owl, ink"))
        for seed in (1, 2)
        for ratio in ("16:9", "1:1")
    ]


def test_a_grid_runs_without_a_file_and_the_same_command_continues_the_same_batch(
    api: ScriptedAPI, command: Command
) -> None:
    words = ["batch", FLUX, "prompt=a fox", "--grid", "seed=1..3", "--no-save", "--results"]
    assert command(*words, "results.jsonl").code == 0
    assert [(record["line"], record["input"]) for record in results(command)] == [
        (1, {"prompt": "a fox", "seed": seed}) for seed in (1, 2, 3)
    ]
    again = command(*words, "others.jsonl")
    assert again.code == 0
    assert api.created == 3


def test_wrong_grids_and_templates_are_refused_before_anything_is_paid(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "rows.csv").write_text("subject,style\na fox,oil\n")
    set_it = command("batch", FLUX, "rows.csv", "--set", "prompt={subjet}", "--results", "results.jsonl")
    assert set_it.code == 2
    assert set_it.error == (
        "error: --set prompt: in '{subjet}', column 1: there is no {subjet}; did you mean {subject}?"
        " There are {subject}, {style}"
    )
    assert "Missing argument 'INPUTS'" in command("batch", FLUX, "--results", "results.jsonl").err
    both = command("batch", FLUX, "seed=1", "--grid", "seed=1..2", "--results", "results.jsonl")
    assert (both.code, "seed has the values of a grid, and another value" in both.err) == (2, True)
    assert not api.count("create")


def parquet_of(command: Command) -> list[dict[str, Any]]:
    rows = parquet.read_table(command.folder / "results.parquet").to_pylist()
    return sorted(rows, key=lambda row: str(row["grid"]))


def test_a_parquet_file_holds_the_finished_rows_after_ctrl_c_and_every_row_at_the_end(
    api: ScriptedAPI, command: Command
) -> None:
    words = ["batch", FLUX, "prompt=a fox", "--grid", "seed=1..3", "--no-save", "--results", "results.parquet"]
    api.next(Script(duration=0, output="done"), Script(duration=math.inf, output="done"))
    process = command.start(*words, "--concurrency", "1")
    api.wait_until(lambda: len(api.predictions) == 2)
    process.interrupt()
    assert process.end().code == 130
    assert [row["grid"] for row in parquet_of(command)] == [{"seed": 1}]

    api.predictions[1].finish()
    assert command(*words).code == 0
    assert [(row["grid"], row["input"]["seed"], row["status"]) for row in parquet_of(command)] == [
        ({"seed": seed}, seed, "succeeded") for seed in (1, 2, 3)
    ]
    assert api.created == 3
    assert {path.name for path in command.folder.iterdir()} >= {"results.parquet", "report.html"}
    assert not list(command.folder.glob(".results*"))


def test_without_pyarrow_an_error_is_raised_before_anything_is_paid(api: ScriptedAPI, command: Command) -> None:
    words = ["batch", FLUX, "prompt=a fox", "--grid", "seed=1..3", "--no-save", "--results", "results.parquet"]
    lacking = command.folder / "lacking"
    lacking.mkdir()
    (lacking / "pyarrow.py").write_text("raise ImportError\n")
    outcome = command(*words, env={"PYTHONPATH": str(lacking)})
    assert (outcome.code, outcome.error.startswith("error: results in Parquet need pyarrow: pip install")) == (2, True)

    (command.folder / "results.parquet").write_text("notes")
    assert command(*words).error == "error: results.parquet exists and is not a results file: name another file"
    assert not api.count("create")

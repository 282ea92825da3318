"""The job of a row: the row is merged over the batch's job, and it has a lasting name."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from replicate_job.batches.row_job import RowJobs
from replicate_job.batches.rows import Row
from replicate_job.errors import JobError
from replicate_job.flow.resolved import Resolved
from replicate_job.inputs.secrets import REDACTED
from replicate_job.job import Job
from replicate_job.testing import openapi_schema
from replicate_job.wire.target import Target

SCHEMA = openapi_schema({"prompt": {"type": "string"}, "seed": {"type": "integer"}}, required=["prompt"])
JOB = Job("acme/model", {"prompt": "x", "seed": 1})


def make(job: Job = JOB, schema: dict[str, Any] | None = SCHEMA, id_column: str | None = None) -> RowJobs:
    resolved = Resolved(Target("model", "acme", "model"), "/models/acme/model/predictions", schema=schema)
    return RowJobs(job, resolved, lambda _: attrgetter("values"), id_column)


def test_a_row_is_merged_over_the_jobs_input() -> None:
    item = make().make(Row(3, {"prompt": "y"}))
    assert (item.line, item.job.input_data, item.problem) == (3, {"prompt": "y", "seed": 1}, "")
    assert make().check(item) == ""
    assert JOB.input_data == {"prompt": "x", "seed": 1}


def test_the_name_of_a_row_consists_of_its_line_and_a_hash_of_its_raw_values() -> None:
    items = make()
    name = items.make(Row(3, {"prompt": "y", "seed": 2})).name
    assert name.startswith("3-")
    assert items.make(Row(3, {"prompt": "y", "seed": 2})).name == name
    assert make(schema=None).make(Row(3, {"prompt": "y", "seed": 2})).name == name
    others = {items.make(row).name for row in (Row(4, {"prompt": "y", "seed": 2}), Row(3, {"prompt": "z", "seed": 2}))}
    assert len(others | {name}) == 3


def test_the_id_column_names_the_row() -> None:
    assert make(id_column="id").make(Row(3, {"prompt": "y", "id": "first"})).name == "first"
    assert make(id_column="id").make(Row(9, {"prompt": "y", "id": 7})).name == "7"
    assert make(id_column="id").make(Row(9, {"prompt": "y", "id": 0})).name == "0"


def test_an_id_column_that_is_also_an_input_both_names_the_row_and_is_sent() -> None:
    item = make(id_column="seed").make(Row(3, {"seed": 5}))
    assert (item.name, item.job.input_data["seed"]) == ("5", 5)


@pytest.mark.parametrize("values", [{}, {"id": None}, {"id": ""}, {"id": ["a"]}, {"id": {"a": 1}}])
def test_a_row_with_an_empty_id_column_has_a_problem(values: dict[str, Any]) -> None:
    items = make(id_column="id")
    item = items.make(Row(3, {"prompt": "y"} | values))
    assert item.name == ""
    assert items.check(item) == "the column 'id' names the row, and holds no text or number here"


def deep() -> dict[str, Any]:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    return {"prompt": value}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (Row(2, {}, "it is no JSON"), "it is no JSON"),
        (Row(2, {"prompt": "a\ud800b"}), "prompt: 'a\\ud800b' is not valid Unicode"),
    ],
    ids=["unreadable", "surrogate"],
)
def test_a_row_that_cannot_become_an_input_has_a_problem_that_says_why(row: Row, problem: str) -> None:
    items = make()
    item = items.make(row)
    assert (item.line, item.name) == (2, "")
    assert items.check(item) == problem


def test_a_row_that_is_nested_too_deeply_has_a_problem_that_names_the_depth() -> None:
    assert make().make(Row(2, deep())).problem == "prompt: it is nested more than 200 deep"


def test_a_row_that_the_reader_refuses_has_a_problem_that_says_why() -> None:
    def refuse(row: Row) -> dict[str, Any]:
        raise JobError(f"no such file in line {row.line}")

    resolved = Resolved(Target("model", "acme", "model"), "/models/acme/model/predictions")
    item = RowJobs(JOB, resolved, lambda _: refuse, None).make(Row(2, {}))
    assert item.problem == "no such file in line 2"


def test_an_input_that_does_not_fit_the_model_is_checked_before_anything_is_sent() -> None:
    items = make(Job("acme/model"))
    item = items.make(Row(2, {"seed": "x"}))
    assert item.problem == ""
    assert "prompt is required" in items.check(item)
    assert "seed" in items.check(item)
    assert make(Job("acme/model"), schema=None).check(item) == ""


def test_a_row_can_have_a_file_as_an_input() -> None:
    item = make(schema=None).make(Row(2, {"image": Path("a.png")}))
    assert item.name.startswith("2-")
    assert item.job.input_data["image"] == Path("a.png")


def test_a_failure_carries_the_line_and_the_input() -> None:
    result = make().make(Row(3, {"prompt": "y"})).failure("it broke", "key")
    assert (result.line, result.status, result.problem, result.key, result.prediction_id) == (
        3, "error", "it broke", "key", "",
    )  # fmt: skip
    assert result.input == {"prompt": "y", "seed": 1}


SECRET = openapi_schema({"prompt": {"type": "string"}, "key": {"type": "string", "format": "password"}})


def make_secret(job: Job = JOB) -> RowJobs:
    resolved = Resolved(Target("model", "acme", "model"), "/predictions", schema=SECRET)
    return RowJobs(job, resolved, lambda _: attrgetter("values"), None)


@pytest.mark.parametrize("row", [Row(1, {"key": "r8_hush"}), Row(1, {}, "broken"), Row(1, {"prompt": "\ud800"})])
def test_a_failure_shows_no_secret_of_the_row_or_of_the_job(row: Row) -> None:
    result = make_secret(Job("acme/model", {"key": "r8_hush"})).make(row).failure("it broke")
    assert result.input["key"] == REDACTED
    assert "r8_hush" not in repr(result)


def test_a_secret_that_json_cannot_carry_is_not_shown() -> None:
    assert (
        make_secret().make(Row(1, {"key": "r8_hush\ud800"})).problem == "key: the secret holds what JSON cannot carry"
    )


@pytest.mark.parametrize("given", ["a\ud800b", float("nan"), 10**5000], ids=["surrogate", "NaN", "huge"])
def test_a_name_that_json_cannot_carry_is_wrong(given: Any) -> None:
    assert make(id_column="id").make(Row(3, {"prompt": "y", "id": given})).problem.startswith("id: ")


def test_an_ignored_column_may_hold_anything() -> None:
    resolved = Resolved(Target("model", "acme", "model"), "/predictions", schema=SCHEMA)
    items = RowJobs(JOB, resolved, lambda _: lambda row: {"prompt": row.values["prompt"]}, None)
    for other in ("\ud800", deep()["prompt"], 10**5000):
        item = items.make(Row(3, {"prompt": "y", "other": other}))
        assert (item.problem, item.name[:2]) == ("", "3-")

"""A journal row that a disk fault has damaged is named, and the other rows can be used."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.testing import Script

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

    from replicate_job.testing import ScriptedAPI

PRIVATE = "acme/private"


def damage(command: Command, column: str, value: Any, where: str) -> None:
    """Write a value into the row that the package would never write."""
    with closing(sqlite3.connect(command.journal, isolation_level=None)) as database:
        raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        taken = "CAST(? AS TEXT)" if isinstance(raw, bytes) else "?"
        changed = database.execute(f"UPDATE jobs SET {column} = {taken} WHERE {where}", (raw,))  # noqa: S608 - the tests' own words
        assert changed.rowcount == 1


@pytest.mark.parametrize(("column", "value"), [("job", "{"), ("claimed_at", 1e300), ("problem", b"\xff")])
def test_list_names_a_damaged_job_and_shows_the_other_jobs(
    api: ScriptedAPI, command: Command, column: str, value: Any
) -> None:
    for key in ("a", "b", "c"):
        command("run", PRIVATE, f"n={key}", "--key", key)
    damage(command, column, value, "key = 'b'")
    listed = command("list", "--json")
    assert (listed.code, [job["key"] for job in listed.json]) == (3, ["c", "a"])
    assert listed.err.startswith("error: the journal's row of the job 'b' is damaged (")
    assert "nothing is done for it; `replicate-job show" in listed.err.splitlines()[0]
    checked = command("check")
    assert checked.code == 3
    assert checked.err.startswith("error: the journal's row of the job 'b' is damaged (")
    again = command("run", PRIVATE, "n=b", "--key", "b")
    assert again.code == 3
    assert "the journal's row of the job 'b' is damaged" in again.error
    assert len(api.predictions) == 3


def test_list_of_a_journal_whose_only_job_is_damaged_does_not_say_that_it_is_empty(command: Command) -> None:
    command("run", PRIVATE, "--key", "a")
    damage(command, "job", "{", "key = 'a'")
    assert command("list").err.splitlines()[1:] == ["no jobs that can be read"]


def test_resume_finishes_the_other_jobs_if_one_is_damaged(api: ScriptedAPI, command: Command) -> None:
    api.next(*[Script(duration=1, output="done")] * 3)
    for key in ("a", "b", "c"):
        command("run", PRIVATE, f"n={key}", "--key", key, "--no-wait")
    damage(command, "request", "{", "key = 'b'")
    outcome = command("resume")
    assert outcome.code == 3
    assert outcome.out.count(b'"succeeded"') == 2
    assert outcome.err.count("the journal's row of the job 'b' is damaged") == 1
    assert {row["key"]: row["state"] for row in command.rows("key, state")} == {
        "a": "collected",
        "b": "created",
        "c": "collected",
    }


def test_show_gets_the_prediction_of_a_damaged_job_from_the_api(api: ScriptedAPI, command: Command) -> None:
    command("run", PRIVATE, "--key", "a")
    damage(command, "prediction", "{", "key = 'a'")
    outcome = command("show", api.predictions[0].id)
    assert (outcome.code, outcome.response["output"]) == (0, "done")
    assert outcome.error.startswith("warning: the journal's row of the job 'a' is damaged")


@pytest.mark.parametrize(("column", "value"), [("job", "{"), ("prediction", b"\xff"), ("state", "finished")])
def test_a_batch_with_a_damaged_row_finishes_the_others_and_pays_nothing_twice(
    api: ScriptedAPI, command: Command, column: str, value: Any
) -> None:
    (command.folder / "rows.jsonl").write_text("".join(f'{{"n": {number}}}\n' for number in range(1, 5)))
    words = ("batch", PRIVATE, "rows.jsonl", "--results", "results.jsonl")
    assert command(*words, "--limit", "3").code == 0
    damage(command, column, value, "key LIKE '%/2-%'")
    outcome = command(*words, "--retry-failed")
    lines = (command.folder / "results.jsonl").read_bytes().splitlines()
    found = {record["line"]: record for record in map(msgspec.json.decode, lines)}
    assert outcome.code == 1
    assert {line: record["status"] for line, record in found.items()} == {
        1: "succeeded",
        2: "error",
        3: "succeeded",
        4: "succeeded",
    }
    assert "is damaged" in found[2]["problem"]
    assert len(api.predictions) == 4

"""A row that a disk fault has damaged: lists leave it out, a message names it, and its job is not touched."""

from __future__ import annotations

import sqlite3
from contextlib import nullcontext
from typing import Any

import pytest

from replicate_job.errors import DamagedError
from replicate_job.job import Job
from replicate_job.journal.entry import CreateRequest
from replicate_job.journal.sqlite import SQLiteJournal
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import Target

API = "https://api"
REQUEST = CreateRequest(Target("model", "a", "b"), "/models/a/b/predictions", b'{"input":{}}')
DAMAGES: dict[str, list[Any]] = {
    "job": ["", "{", "[]", '{"model": 1}', '{"model":"a/b","input_data":' + '{"a":' * 2000 + "1" + "}" * 2000 + "}"],
    "request": [
        "{",
        "[]",
        '{"target": 1, "path": "x", "body": ""}',
        '{"target":{"kind":"model","owner":"a","name":"b","version":""},"path":"/x","body":"bm8="}',
    ],
    "prediction": [
        "{",
        "[]",
        '{"id": "x"}',
        '{"id": "", "status": "succeeded"}',
        '{"id":"x","status":"succeeded","output":"\ud800"}',
    ],
    "files": ["", "[1]", "{}", "null", "3"],
    "state": ["", "finished"],
    "claimed_at": [1e300, -1e300, float("inf")],
    "first_sent": ["{", "{}", "[]", "[-1.0]", "[1e300]", '[1.0,"",0.0,1e300]'],
    "last_sent": ["3", "[null]", '["a"]'],
    "problem": [b"\xff"],
}
CASES = [(column, value) for column, values in DAMAGES.items() for value in values]


async def fill(journal: SQLiteJournal, key: str) -> None:
    claim = await journal.claim(key, API, Job("a/b"), None, request=REQUEST)
    prediction = Prediction(f"prediction-{key}", "succeeded", output="done")
    await journal.created(claim, prediction)
    await journal.collected(claim, prediction)


def write(column: str, value: Any) -> Any:
    """Write a value that the package would never write."""
    raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    taken = "CAST(? AS TEXT)" if isinstance(raw, bytes) else "?"

    def work(db: sqlite3.Connection) -> None:
        db.execute(f"UPDATE jobs SET {column} = {taken} WHERE key = 'b'", (raw,))  # noqa: S608 - the test's own names

    return work


@pytest.mark.parametrize("value", DAMAGES["request"])
async def test_a_job_whose_request_was_damaged_meanwhile_is_not_finished(journal: SQLiteJournal, value: str) -> None:
    """Otherwise a secret in the request could stay in the journal."""
    claim = await journal.claim("b", API, Job("a/b"), None, request=REQUEST)
    prediction = Prediction("prediction-b", "succeeded", output="done")
    await journal.created(claim, prediction)
    await journal._store.run(write("request", value))  # noqa: SLF001 - the store's own connection
    with pytest.raises(DamagedError):
        await journal.collected(claim, prediction)


@pytest.mark.parametrize(("column", "value"), CASES, ids=[f"{column} {str(value)[:20]!r}" for column, value in CASES])
async def test_a_damaged_row_is_left_out_of_lists_and_reported(journal: SQLiteJournal, column: str, value: Any) -> None:
    for key in ("a", "b", "c"):
        await fill(journal, key)
    await journal._store.run(write(column, value))  # noqa: SLF001 - the store's own connection
    assert {entry.key for entry in await journal.entries()} == {"a", "c"}
    assert journal.damaged.keys() == {"b"}
    assert journal.damaged["b"].startswith("the journal's row of the job 'b' is damaged (")
    assert journal.damaged["b"].isprintable()
    assert (await journal.look_up(["a", "b", "c"])).keys() == {"a", "c"}
    for ask in (journal.get("b"), journal.find("prediction-b", API), journal.claim("b", API, Job("a/b"), None)):
        with pytest.raises(DamagedError) as raised:
            await ask
        assert raised.value.key == "b"
    await fill(journal, "d")
    assert {entry.key for entry in await journal.entries()} == {"a", "c", "d"}


@pytest.mark.parametrize("forget", [False, True])
async def test_a_damaged_row_does_not_stop_pruning(journal: SQLiteJournal, *, forget: bool) -> None:
    for key in ("a", "b", "c"):
        await fill(journal, key)
    await journal._store.run(write("job", "{"))  # noqa: SLF001 - the store's own connection
    counted = await journal.prune(4e9, forget=forget, dry_run=True)
    assert counted == await journal.prune(4e9, forget=forget)
    assert counted.jobs == (3 if forget else 2)
    with pytest.raises(DamagedError) if not forget else nullcontext():
        assert await journal.get("b") is None

"""Private data in a journal: the stored data, and the time when they are deleted."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replicate_job.clock import Moment
from replicate_job.job import Job
from replicate_job.journal.entry import Claim, CreateRequest
from replicate_job.journal.sqlite import SQLiteJournal
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import Target

API = "https://api.example.com/v1"
PICTURE = b64encode(b"\x89PNG the picture of somebody" * 40).decode()
SECRET = "hush-hush-0123456789"  # noqa: S105 - not a real secret
INPUT = {
    "prompt": "x",
    "image": f"data:image/png;base64,{PICTURE}",
    "note": "data:text/plain,plain%20words",
    "key": SECRET,
}
JOB = Job("acme/model", INPUT)
REQUEST = CreateRequest(
    Target("model", "acme", "model"),
    "/models/acme/model/predictions",
    msgspec.json.encode({"input": INPUT}),
    secrets=("key",),
)
END = Prediction("p1", "succeeded", input=INPUT, output="done")


def holds(path: Path, *texts: str) -> list[str]:
    """Those of the given texts that are in any of the journal's files."""
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    return [text for text in texts if text.encode() in content]


async def begin(journal: SQLiteJournal, *, at_once: bool) -> Claim:
    if at_once:
        return await journal.claim("job", API, JOB, None, request=REQUEST)
    claim = await journal.claim("job", API, JOB, None)
    return await journal.intend(claim, REQUEST, Moment(1.0))


@pytest.mark.parametrize("at_once", [False, True])
async def test_secrets_and_file_contents_are_deleted_at_the_end_of_their_job(path: Path, *, at_once: bool) -> None:
    async with SQLiteJournal(path) as journal:
        claim = await begin(journal, at_once=at_once)
        assert holds(path, SECRET, PICTURE[:60]) == [SECRET, PICTURE[:60]]
        if at_once:
            await journal.created(claim, END, collected=True)
        else:
            await journal.created(claim, Prediction("p1", "starting", input=INPUT))
            await journal.collected(claim, END)
        entry = await journal.get("job")
    assert holds(path, SECRET, PICTURE[:60], "plain%20words") == []
    assert entry
    assert entry.prediction
    assert entry.prediction.input
    assert entry.prediction.input["image"]["size"] == 28 * 40
    assert entry.prediction.output == "done"
    assert entry.prediction.input["prompt"] == entry.job.input_data["prompt"] == "x"


async def test_the_same_job_is_recognized_after_its_data_were_deleted(path: Path) -> None:
    async with SQLiteJournal(path) as journal:
        await journal.created(await begin(journal, at_once=True), END, collected=True)
        entry = (await journal.claim("job", API, JOB, None)).entry
        assert entry.step == "done"
        assert journal.is_same(entry, JOB)
        other = msgspec.structs.replace(JOB, input_data=INPUT | {"key": "another"})
        assert not journal.is_same(entry, other)


async def test_the_private_data_of_a_refused_job_are_deleted(path: Path) -> None:
    async with SQLiteJournal(path) as journal:
        await journal.refused(await begin(journal, at_once=True), "no credit")
    assert holds(path, SECRET, PICTURE[:60]) == []


async def test_private_data_that_a_job_may_still_need_are_kept(path: Path) -> None:
    async with SQLiteJournal(path) as journal:
        await journal.uncertain(await begin(journal, at_once=True), "several could be it")
        entry = await journal.get("job")
    assert entry
    assert (entry.job, entry.request) == (JOB, REQUEST)


async def test_a_pruned_job_keeps_its_key_id_and_status(path: Path, now: Any) -> None:
    plain = Job("acme/model", {"prompt": "a prompt of somebody"})
    async with SQLiteJournal(path, clock=now) as journal:
        for key in ("old", "open", "new"):
            claim = await journal.claim(key, API, plain, None)
            if key != "open":
                await journal.created(claim, Prediction(f"p-{key}", "succeeded", output="an answer"), collected=True)
            now.seconds += 1000
        counted = await journal.prune(1_001_500.0, dry_run=True)
        assert counted == await journal.prune(1_001_500.0)
        assert counted.jobs == 1
        entry = await journal.get("old")
        assert entry
        assert (entry.state, entry.prediction_id, entry.status, entry.prediction) == (
            "collected", "p-old", "succeeded", None,
        )  # fmt: skip
        assert (await journal.claim("old", API, plain, None)).entry.step == "done"
        assert (await journal.prune(1_001_500.0)).jobs == 0
        assert (await journal.prune(1_001_500.0, forget=True)).jobs == 1
        assert await journal.get("old") is None
        assert {entry.key for entry in await journal.entries()} == {"open", "new"}


async def test_pruned_data_are_no_longer_in_the_journal_file(path: Path) -> None:
    async with SQLiteJournal(path) as journal:
        claim = await journal.claim("old", API, Job("acme/model", {"prompt": "a prompt of somebody"}), None)
        await journal.created(claim, Prediction("p", "succeeded", output="an answer"), collected=True)
        await journal.prune(4e9)
    assert holds(path, "a prompt of somebody", "an answer") == []

"""A machine that loses its power amid a batch, or after a call: what was not synced is gone, and nothing is paid twice.

The process is killed, and the journal's write-ahead log is cut back to what had reached the disk
(``power/sitecustomize.py``). ``REPLICATE_JOB_POWER_CUTS`` says how often that happens in one batch.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from replicate_job.testing import Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

CUTS = int(os.environ.get("REPLICATE_JOB_POWER_CUTS", "8"))
ROWS, TOGETHER = 300, 30
HELLO = "replicate/hello-world"
WORDS = ["batch", HELLO, "rows.jsonl", "--results", "results.jsonl", "--rate", "none", "--concurrency", str(TOGETHER)]
NOTES = Path(__file__).with_name("power")
CALL = """
import sys
from replicate_job import Client
client = Client()
print(client.run("replicate/hello-world", {"text": "hi"}, key="order-17").prediction_id, flush=True)
sys.stdin.read()
"""
ID = 26  # characters
pytestmark = pytest.mark.replicate_api(script=Script(duration=0.2, boot=0.05, output="done"))


def cut_back(journal: Path, synced: Path) -> None:
    """Leave of the journal what was synced: of its write-ahead log, and without the index that is never synced."""
    log = journal.with_name(journal.name + "-wal")
    journal.with_name(journal.name + "-shm").unlink(missing_ok=True)
    if not log.exists():
        return
    ends: dict[str, int] = {}
    for line in synced.read_text().splitlines() if synced.exists() else []:
        salt, _, end = line.partition(" ")
        ends[salt] = int(end)
    with log.open("r+b") as file:
        # A log that was begun anew and never synced leaves nothing: what it followed is in the database.
        file.truncate(ends.get(file.read(32)[16:24].hex(), 0))


def test_a_batch_whose_machine_loses_power_repeatedly_pays_for_no_row_twice(api: ScriptedAPI, command: Command) -> None:
    rows = [msgspec.json.encode({"text": f"row {number}"}) for number in range(ROWS)]
    (command.folder / "rows.jsonl").write_bytes(b"\n".join(rows))
    synced = command.folder / "synced"
    env = {"PYTHONPATH": str(NOTES), "SYNCED": str(synced)}
    seed = random.randrange(2**32)  # noqa: S311 - another test each time, and repeatable by what it tells
    moments = random.Random(seed)  # noqa: S311 - as above
    cuts = 0
    for number in range(CUTS):
        process = command.start(*WORDS, env=env)
        goal = (number + 1) * (ROWS - TOGETHER) // (CUTS + 1)
        api.wait_until(lambda goal=goal, process=process: api.created >= goal or process.ends_within(0), seconds=60)  # type: ignore[misc]
        if not process.ends_within(moments.uniform(0, 0.2)):
            process.kill()
            cut_back(command.journal, synced)
            cuts += 1
    outcome = command(*WORDS)
    story = f"seed {seed}, {cuts} power cuts, {api.created} created"
    assert outcome.code == 0, (story, outcome.err)
    made = Counter(prediction.input["text"] for prediction in api.predictions)
    assert {text: count for text, count in made.items() if count > 1} == {}, story
    assert len(made) == ROWS, story
    assert Counter(row["state"] for row in command.rows("state")) == {"collected": ROWS}, story
    assert cuts >= CUTS * 0.9, story


@pytest.mark.replicate_api(script=Script(output="done"))
def test_a_job_whose_call_returned_just_before_a_power_cut_is_looked_up(api: ScriptedAPI, command: Command) -> None:
    synced = command.folder / "synced"
    words = [sys.executable, "-c", CALL]
    process = command.execute(words, env={"PYTHONPATH": str(NOTES), "SYNCED": str(synced)})
    first = process.read(ID)
    process.kill()
    cut_back(command.journal, synced)
    outcome = command.execute(words).end()
    assert (outcome.code, outcome.out.split()) == (0, [first]), outcome
    assert api.created == 1

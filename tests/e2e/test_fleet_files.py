"""Rows of a fleet with files of the submitter's machine: copied once, sent just before their create requests."""

from __future__ import annotations

import base64
import hashlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.e2e.fleet import SDXL, Fleet, fleet_of
from tests.e2e.s3 import S3

from replicate_job.outputs.depot import FOLDER
from replicate_job.testing import OutputFile, Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command
    from tests.postgres import Postgres

SMALL = b"RIFF0000WEBPsmall"
LARGE = b"RIFF0000WEBP" + hashlib.shake_256(b"large").digest(400_000)
NO_WORKER = "no worker is alive: unfinished rows wait for one, `replicate-job worker`\n"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with S3() as server:
        yield server


@pytest.fixture
def fleet(command: Command, postgres: Postgres, api: ScriptedAPI) -> Iterator[Fleet]:
    with fleet_of(command, postgres, api) as fleet:
        paint = Script(duration=0.05, output=[OutputFile(content=SMALL, name="a.webp")])
        api.models[SDXL] = msgspec.structs.replace(api.models[SDXL], script=paint)
        yield fleet


def write_rows(folder: Path) -> None:
    """Four rows: one with a small file, two with the same large file, one whose file is missing."""
    (folder / "small.webp").write_bytes(SMALL)
    (folder / "large.webp").write_bytes(LARGE)
    (folder / "copy.webp").write_bytes(LARGE)
    names = ["small", "large", "copy", "none"]
    lines = [msgspec.json.encode({"prompt": name, "image": f"@{name}.webp"}) for name in names]
    (folder / "rows.jsonl").write_bytes(b"\n".join(lines))


def check(fleet: Fleet) -> None:
    """Check that each prediction got its row's file, and that the large file was sent to the API once."""
    sent: dict[str, Any] = {
        prediction.input["prompt"]: prediction.input["image"] for prediction in fleet.api.predictions
    }
    assert sorted(sent) == ["copy", "large", "small"]
    assert sent["small"] == "data:image/webp;base64," + base64.b64encode(SMALL).decode()
    (upload,) = fleet.api.uploads
    assert upload.content == LARGE
    assert sent["large"] == sent["copy"]
    assert sent["large"].endswith(upload.id)
    records = fleet.results()
    assert [(record["line"], record["status"]) for record in records] == [
        (1, "succeeded"),
        (2, "succeeded"),
        (3, "succeeded"),
        (4, "error"),
    ]
    assert "none.webp" in records[3]["problem"]


def test_input_files_of_rows_reach_workers_on_other_machines_through_the_bucket_for_outputs(
    fleet: Fleet, s3: S3
) -> None:
    command = fleet.command
    command.environment |= s3.environment
    s3.make("pictures")
    write_rows(command.folder)
    submitted = command(
        "batch", SDXL, "rows.jsonl", "--fleet", "--detach", "--save", "s3://pictures/{batch}/{line}-{name}"
    )
    assert (submitted.code, submitted.err) == (0, NO_WORKER)
    fleet.batch = submitted.out.decode().strip()
    names = {hashlib.sha256(content).hexdigest() for content in (SMALL, LARGE)}
    copied = [key for key in s3.keys("pictures") if key.startswith(FOLDER)]
    assert {key.rpartition("/")[2] for key in copied} == names
    assert len(copied) == 2, "the same content is copied once"
    assert fleet.api.uploads == [], "uploads expire: nothing is sent before a row's turn"
    for name in ("small", "large", "copy"):  # they are another machine's
        (command.folder / f"{name}.webp").unlink()
    fleet.start(2)
    fleet.wait(lambda: len(fleet.results()) == 4)
    check(fleet)
    fleet.make_due("upkeep")  # which sees that the batch is over
    fleet.wait(lambda: not [key for key in s3.keys("pictures") if key.startswith(FOLDER)], 90)
    assert len(s3.keys("pictures")) == 6, "the outputs and their records stay"
    for worker in fleet.workers:
        worker.signal(signal.SIGTERM)
    assert [worker.end().code for worker in fleet.workers] == [0, 0]


def test_a_folder_for_outputs_also_holds_input_files_of_rows_and_a_message_says_who_needs_it(fleet: Fleet) -> None:
    command = fleet.command
    write_rows(command.folder)
    submitted = command("batch", SDXL, "rows.jsonl", "--fleet", "--detach", "--save", "out")
    place = command.folder / "out" / FOLDER
    assert f"files of rows are copied to {place}: workers on other machines need that folder too" in submitted.err
    fleet.batch = submitted.out.decode().strip()
    fleet.start(2)
    fleet.wait(lambda: len(fleet.results()) == 4)
    check(fleet)
    fleet.make_due("upkeep")
    fleet.wait(lambda: not place.exists(), 90)


def test_input_files_of_rows_are_refused_without_a_place_for_their_copies(fleet: Fleet) -> None:
    write_rows(fleet.command.folder)
    submitted = fleet.command("batch", SDXL, "rows.jsonl", "--fleet", "--detach", "--no-save")
    assert submitted.code == 2
    assert "line 1 names a file of this machine, and there is no place where workers could read it: give --save" in (
        submitted.error
    )
    assert fleet.query("SELECT * FROM replicate_job.batches") == []

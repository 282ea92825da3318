"""Input files of rows between submit and API: they are copied to a folder, which is deleted when no batch needs it."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from replicate_job import AsyncClient
from replicate_job.errors import JobError
from replicate_job.fleet.create import create_rows
from replicate_job.fleet.input_files import clean
from replicate_job.fleet.parts import Fleet
from replicate_job.flow.background import Background
from replicate_job.journal.postgres_fleet import FleetBatch
from replicate_job.outputs.depot import FOLDER
from replicate_job.testing import ScriptedAPI

if TYPE_CHECKING:
    from tests.conftest import Heard

Member = Callable[..., Awaitable[Fleet]]
Submitted = Callable[..., Awaitable[FleetBatch]]
Query = Callable[[str], list[dict[str, Any]]]
PICTURE = b"RIFF0000WEBPpicture"


def stored(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / FOLDER).rglob("*") if path.is_file())


async def clean_until(fleet: Fleet, condition: Callable[[], object]) -> None:
    failed: list[BaseException] = []
    background = Background(failed.append)
    background.start(clean(fleet))
    try:
        while not condition():
            assert not failed
            await fleet.context.clock.sleep(0.02)
    finally:
        await background.close()


async def test_files_given_as_paths_or_bytes_or_open_files_reach_the_workers(
    member: Member, postgres: Any, database: str, api: ScriptedAPI, tmp_path: Path
) -> None:
    (tmp_path / "a.webp").write_bytes(PICTURE)
    rows: list[dict[str, Any]] = [
        {"prompt": "path", "image": tmp_path / "a.webp"},
        {"prompt": "bytes", "image": b"RIFF0000WEBPbytes"},
        {"prompt": "open", "image": io.BytesIO(b"RIFF0000WEBPopen")},
    ]
    journal = postgres.url(database)
    async with AsyncClient(token=api.token, base_url=api.base_url, journal=journal, rate="none") as client:
        handle = await client.submit_batch("stability-ai/sdxl", iter(rows), save_to=tmp_path / "out")
    (tmp_path / "a.webp").unlink()
    assert sorted(path.read_bytes() for path in stored(tmp_path / "out")) == [
        b"RIFF0000WEBPbytes",
        b"RIFF0000WEBPopen",
        PICTURE,
    ]
    one, other = await member(), await member()
    batch = await one.tables.find(handle.id, one.api)
    assert batch
    await create_rows(one, batch.number, 1, 1)
    await create_rows(other, batch.number, 2, 3)
    sent = {prediction.input["prompt"]: prediction.input["image"] for prediction in api.predictions}
    assert sorted(sent) == ["bytes", "open", "path"]
    assert all(image.startswith("data:image/webp;base64,") for image in sent.values())
    assert len(set(sent.values())) == 3


async def test_submitting_a_batch_again_copies_only_the_files_that_are_still_needed(
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI, tmp_path: Path
) -> None:
    fleet, out = await member(), tmp_path / "out"
    for name in "ab":
        (tmp_path / f"{name}.webp").write_bytes(PICTURE + name.encode())
    rows = [{"prompt": name, "seed": line, "x": tmp_path / f"{name}.webp"} for line, name in enumerate("ab")]
    options: dict[str, Any] = {"key": "b", "save_to": out, "allow_unknown": True}
    batch = await submitted(fleet, rows, **options)
    first = stored(out)
    assert len(first) == 2
    await create_rows(fleet, batch.number, 1, 1)
    await fleet.tables.stop(batch.number, "no credit")
    again = await submitted(fleet, rows, **options)
    assert again.depot != batch.depot
    (new,) = set(stored(out)) - set(first)
    assert new.read_bytes() == PICTURE + b"b"
    await create_rows(fleet, batch.number, 1, 2)
    assert len(api.predictions) == 2
    await clean_until(fleet, lambda: True)
    assert len(stored(out)) == 3, "a row may need them, or a worker that read the batch before"
    query("UPDATE jobs SET state = 'collected', status = 'succeeded'")
    await fleet.tables.defer_lost(fleet.api)
    await clean_until(fleet, lambda: len(stored(out)) == 2)
    query("UPDATE depots SET due_at = 0")
    await clean_until(fleet, lambda: query("SELECT * FROM depots") == [])
    assert not (out / FOLDER).exists()


async def test_a_missing_or_changed_file_is_reported_as_a_problem_of_its_row(
    member: Member, submitted: Submitted, api: ScriptedAPI, tmp_path: Path
) -> None:
    fleet, out = await member(), tmp_path / "out"
    rows = [{"prompt": name, "x": PICTURE + name.encode()} for name in "abc"]
    batch = await submitted(fleet, rows, save_to=out, allow_unknown=True)
    for path in stored(out):
        match path.read_bytes()[-1:]:
            case b"a":
                path.unlink()
            case b"b":
                path.write_bytes(b"another")
    await create_rows(fleet, batch.number, 1, 3)
    problems = [row.problem for row in await fleet.tables.rows(batch.number, 1, 3)]
    assert "is gone from" in problems[0]
    assert "was changed in" in problems[1]
    assert (problems[2], api.created) == ("", 1)


async def test_a_worker_that_lacks_the_folder_with_input_files_leaves_the_row_to_other_workers(
    member: Member, submitted: Submitted, api: ScriptedAPI, tmp_path: Path, heard: Heard
) -> None:
    fleet, out = await member(), tmp_path / "out"
    batch = await submitted(fleet, [{"prompt": "a", "x": PICTURE}], save_to=out, allow_unknown=True)
    out.rename(tmp_path / "elsewhere")
    await create_rows(fleet, batch.number, 1, 1)
    (row,) = await fleet.tables.rows(batch.number, 1, 1)
    assert (row.problem, api.created) == ("", 0)
    assert any(f"this machine has no folder {batch.depot}; mount it" in line for line in heard.warnings)
    await clean_until(fleet, lambda: True)
    (tmp_path / "elsewhere").rename(out)
    await create_rows(fleet, batch.number, 1, 1)
    assert api.created == 1


async def test_a_folder_or_bucket_that_cannot_be_written_causes_an_error_at_submit(
    member: Member, submitted: Submitted, query: Query, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / FOLDER).write_text("a file in its way")
    with pytest.raises(JobError, match=r"cannot be copied to .*: Not a directory"):
        await submitted(await member(), [{"prompt": "a", "x": PICTURE}], save_to=out, allow_unknown=True)
    assert query("SELECT * FROM batches") == []

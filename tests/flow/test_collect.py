"""Keeping outputs: every file is written inside its folder with the record beside it, and an error loses no file."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replicate_job.errors import OutputError, OutputExpiredError
from replicate_job.flow.collect import folder_name
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.flow.run import run_job
from replicate_job.job import Job, Result
from replicate_job.journal.entry import Entry
from replicate_job.testing import OutputFile, Script, ScriptedAPI

Connect = Callable[..., AbstractAsyncContextManager[Context]]
JOB = Job("stability-ai/sdxl", {"prompt": "x"}, poll_interval=0.05, max_poll_attempts=400)
PICTURE, SOUND = b"\x89PNG\r\n\x1a\n" + b"p" * 5000, b"RIFF\x24\x00\x00\x00WAVE" + b"s" * 90


async def keep(connect: Connect, api: ScriptedAPI, save: Path, job: Job = JOB) -> Result:
    async with connect(api) as context:
        return await run_job(context, Ask(job, key="job", save=str(save)))


async def entry_of(connect: Connect, api: ScriptedAPI) -> Entry:
    async with connect(api) as context:
        entry = await context.journal.get("job")
    assert entry
    return entry


def inside(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_files_and_the_record_are_in_the_predictions_folder(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    api.next(Script(output=[OutputFile(content=PICTURE, name="a.png"), OutputFile(content=SOUND, name="b.wav")]))
    result = await keep(connect, api, tmp_path / "out")
    place = tmp_path / "out" / result.prediction_id
    assert result.files == (place / "output-0.png", place / "output-1.wav")
    assert [path.read_bytes() for path in result.files] == [PICTURE, SOUND]
    record = msgspec.json.decode((place / "result.json").read_bytes())
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in result.files}
    assert record == result.to_dict() | {"files": ["output-0.png", "output-1.wav"], "sha256": sums}
    assert list(record)[:4] == ["prediction_id", "status", "model", "input"]
    assert len(inside(tmp_path / "out")) == 3
    assert api.strayed_token() == []
    assert (await entry_of(connect, api)).files == result.files


async def test_nested_outputs_and_data_urls_and_unusual_names_are_all_saved_inside_the_folder(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    names = ["../../x", "x" * 300 + ".png", "same.png", "same.png", "", "CON", "result.json", ".png", "%2e%2e%2fy.png"]
    pictures = [OutputFile(content=PICTURE + bytes([number]), name=name) for number, name in enumerate(names)]
    output = {"images": pictures, "../up": {"sound": OutputFile(content=SOUND, name="")}, "note": "text", "n": 1}
    api.next(Script(output=output | {"inline": OutputFile(content=b"hi", name="hi.txt", inline=True)}))
    api.models["stability-ai/sdxl"] = msgspec.structs.replace(
        api.models["stability-ai/sdxl"], schema=_schema({"type": "object", "properties": _everything()})
    )
    result = await keep(connect, api, tmp_path / "deep" / "out")
    place = tmp_path / "deep" / "out" / result.prediction_id
    assert {path.parent for path in result.files} == {place}
    kept = {hashlib.sha256(path.read_bytes()).hexdigest() for path in result.files}
    contents = [*(file.content for file in pictures), SOUND, b"hi"]
    assert kept == {hashlib.sha256(content).hexdigest() for content in contents}
    assert len(set(result.files)) == len(contents)
    everywhere = {tmp_path / name for name in inside(tmp_path) if name.endswith((".png", ".wav", ".txt"))}
    assert everywhere <= set(result.files)


def _everything() -> dict[str, Any]:
    file = {"type": "string", "format": "uri"}
    return {
        "images": {"type": "array", "items": file},
        "../up": {"type": "object", "properties": {"sound": file}},
        "inline": file,
    }


def _schema(output: dict[str, Any]) -> dict[str, Any]:
    given = {"type": "object", "properties": {"prompt": {"type": "string"}}}
    return {"openapi": "3.0.2", "components": {"schemas": {"Input": given, "Output": output}}}


@pytest.mark.parametrize("name", ["../../x", "a/b", "..", ".", "", "x" * 300, "a\0b", "~root", "C:\\x", "a\nb"])
async def test_a_malformed_id_does_not_choose_the_folder(
    api: ScriptedAPI, connect: Connect, tmp_path: Path, name: str
) -> None:
    assert "/" not in folder_name(name)
    assert len(folder_name(name)) <= 64
    assert folder_name(name) not in {"", ".", "..", "~root"}
    if not name:
        return  # an answer without an id is no prediction
    api.next(Script(duration=0, output=[OutputFile(content=PICTURE, name="a.png")], overrides={"id": name}))
    result = await keep(connect, api, tmp_path / "out")
    assert result.prediction_id == name
    assert {path.parent.parent for path in result.files} == {tmp_path / "out"}
    assert all(name.startswith("out/") for name in inside(tmp_path) if name.endswith(".png"))


async def test_a_text_output_writes_only_the_record(api: ScriptedAPI, connect: Connect, tmp_path: Path) -> None:
    job = msgspec.structs.replace(JOB, model="replicate/hello-world", input_data={"text": "you"})
    result = await keep(connect, api, tmp_path / "out", job)
    assert result.files == ()
    assert list(inside(tmp_path / "out")) == [f"{result.prediction_id}/result.json"]


async def test_a_failed_prediction_writes_no_folder(api: ScriptedAPI, connect: Connect, tmp_path: Path) -> None:
    api.next(Script(end="failed"))
    assert (await keep(connect, api, tmp_path / "out")).status == "failed"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("gone", [404, 410])
async def test_expired_files_raise_an_error_and_the_record_and_the_other_files_are_kept(
    api: ScriptedAPI, connect: Connect, tmp_path: Path, gone: int
) -> None:
    files = [OutputFile(content=PICTURE, name="a.png"), OutputFile(content=SOUND, name="b.wav", expires=0, gone=gone)]
    api.next(Script(output=files))
    with pytest.raises(OutputExpiredError, match="gone") as caught:
        await keep(connect, api, tmp_path / "out")
    result = caught.value.result
    assert [path.name for path in result.files] == ["output-0.png"]
    assert result.status == "succeeded"
    entry = await entry_of(connect, api)
    assert (entry.state, entry.files) == ("collected", result.files)
    assert "gone" in entry.problem
    assert (tmp_path / "out" / result.prediction_id / "result.json").exists()


async def test_after_the_folder_could_not_be_written_a_run_with_the_same_key_saves_the_outputs(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    api.next(Script(output=[OutputFile(content=PICTURE, name="a.png")], duration=math.inf))
    running = asyncio.create_task(keep(connect, api, tmp_path / "out"))
    await asyncio.to_thread(api.wait_until, lambda: api.predictions)
    (tmp_path / "out").write_text("a file in the way")
    api.predictions[0].finish()
    with pytest.raises(OutputError, match=r"out/.* cannot be made: .*--save DIR` keeps it elsewhere") as caught:
        await running
    assert caught.value.result.status == "succeeded"
    assert caught.value.result.output
    assert (await entry_of(connect, api)).state == "ended"
    (tmp_path / "out").unlink()
    result = await keep(connect, api, tmp_path / "out")
    assert result.files[0].read_bytes() == PICTURE
    assert len(api.predictions) == 1


async def test_the_date_in_a_file_name_is_the_day_of_the_claim(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    save = f"file://{tmp_path}/{{model}}/{{date}}/{{key}}-{{name}}"
    api.next(Script(duration=math.inf, output=[OutputFile(content=PICTURE, name="a.png")]))
    async with connect(api) as context:
        await run_job(context, Ask(msgspec.structs.replace(JOB, wait_for_completion=False), key="job", save=save))
        aged = "UPDATE jobs SET claimed_at = 1700000000"
        await context.journal._store.run(lambda db: db.execute(aged).rowcount)  # type: ignore[attr-defined]  # noqa: SLF001 - the store's own connection
    api.predictions[0].finish()
    async with connect(api) as context:
        result = await run_job(context, Ask(JOB, key="job", save=save))
    place = tmp_path / "stability-ai" / "sdxl" / "2023-11-14"
    assert result.files == (place / "job-output-0.png",)
    assert msgspec.json.decode((place / "job-result.json").read_bytes())["files"] == ["job-output-0.png"]


async def test_a_record_that_cannot_be_written_raises_an_error_that_names_the_saved_files(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    api.next(Script(duration=0, output=[OutputFile(content=PICTURE, name="a.png")], overrides={"id": "abc"}))
    (tmp_path / "out" / "abc" / "result.json").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"result.json cannot be written") as caught:
        await keep(connect, api, tmp_path / "out")
    assert caught.value.result.files[0].read_bytes() == PICTURE


async def test_a_broken_download_is_resumed(connect: Connect, tmp_path: Path) -> None:
    files = [OutputFile(content=PICTURE + bytes([n]) * 9, name=f"{n}.png") for n in range(4)]
    with ScriptedAPI(faults="download:truncate=0.2,download:drop=0.1", script=Script(output=files)) as api:
        result = await keep(connect, api, tmp_path / "out")
    assert [path.read_bytes() for path in result.files] == [file.content for file in files]


async def test_outputs_that_were_deleted_before_they_were_saved_raise_an_error_with_the_result(
    connect: Connect, tmp_path: Path
) -> None:
    with ScriptedAPI(expire=0, script=Script(duration=0.2, output=[OutputFile(content=PICTURE)])) as api:
        with pytest.raises(OutputExpiredError, match="deleted before they were kept") as caught:
            await keep(connect, api, tmp_path / "out")
        assert caught.value.result.status == "succeeded"
        assert caught.value.result.input == {"prompt": "x"}  # from the journal: the API has deleted it
        assert (await entry_of(connect, api)).state == "collected"


@pytest.mark.parametrize("end", ["failed", "canceled"])
async def test_a_prediction_without_an_output_is_not_reported_as_expired(
    connect: Connect, tmp_path: Path, end: str
) -> None:
    with ScriptedAPI(expire=0, script=Script(duration=0.2, end=end)) as api:
        assert (await keep(connect, api, tmp_path / "out")).status == end


async def test_no_host_of_an_output_url_gets_the_token(api: ScriptedAPI, connect: Connect, tmp_path: Path) -> None:
    api.next(Script(output=[OutputFile(content=PICTURE, name="a.png", redirect=True)]))
    result = await keep(connect, api, tmp_path / "out")
    downloads = [request for request in api.requests if request.origin == "files"]
    assert len(downloads) == 2
    assert not any("authorization" in request.headers for request in downloads)
    assert api.strayed_token() == []
    assert result.files[0].read_bytes() == PICTURE
    assert not any(api.token.encode() in content for content in inside(tmp_path).values())

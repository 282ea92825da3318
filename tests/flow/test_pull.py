"""Outputs of other programs' predictions are saved once. A prediction that cannot be saved does not stop the others."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from msgspec.json import encode

from replicate_job.errors import UnknownJobError
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.flow.pull import Pull, Pulled
from replicate_job.flow.run import run_job
from replicate_job.job import Job
from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedPrediction
from replicate_job.wire.target import parse_target

Connect = Callable[..., AbstractAsyncContextManager[Context]]
SDXL = "stability-ai/sdxl"
HOUR = timedelta(hours=1)


def picture(name: str = "a.png") -> Script:
    return Script(duration=0, boot=0, output=[OutputFile(content=b"\x89PNG\r\n\x1a\n" + name.encode(), name=name)])


async def elsewhere(context: Context, api: ScriptedAPI, script: Script, model: str = SDXL) -> ScriptedPrediction:
    """A prediction that is not in the journal."""
    body = {"version": api.models[model].version_ids[0], "input": {"text": "a"} if "hello" in model else {}}
    api.next(script)
    made = await context.client.create_prediction("/predictions", encode(body), await context.client.take_slot())
    return next(each for each in api.predictions if each.id == made.id)


async def recent(context: Context, save: Path, since: timedelta = HOUR, model: str = "") -> list[Pulled]:
    target = parse_target(model) if model else None
    return [each async for each in Pull(context, str(save), moves=True).recent(since, target)]


async def named(context: Context, save: Path, *names: str) -> list[Pulled]:
    return [each async for each in Pull(context, str(save), moves=True).named(names)]


def pictures(folder: Path) -> dict[str, str]:
    """The content of every file except the records, by its folder."""
    return {path.parent.name: path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"}


def fates(pulled: list[Pulled]) -> dict[str, str]:
    return {each.result.prediction_id: each.fate for each in pulled}


async def test_outputs_of_another_program_are_downloaded_once(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    async with connect(api) as context:
        made = [await elsewhere(context, api, picture(f"{number}.png")) for number in range(3)]
        pulled = await recent(context, tmp_path / "out")
        assert fates(pulled) == {each.id: "kept" for each in made}
        assert {each.result.files[0].parent for each in pulled} == {tmp_path / "out" / each.id for each in made}
    async with connect(api) as context:
        assert fates(await recent(context, tmp_path / "out")) == {each.id: "known" for each in made}
        (again,) = await named(context, tmp_path / "out", made[0].id)
    assert (again.fate, again.result.files[0].read_bytes()[-5:]) == ("known", b"0.png")
    assert (api.count("download"), api.count("get")) == (3, 0)


async def test_files_missing_on_the_disk_are_downloaded_again(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    async with connect(api) as context:
        await elsewhere(context, api, picture())
        (first,) = await recent(context, tmp_path)
        first.result.files[0].unlink()
        (second,) = await recent(context, tmp_path)
    assert (second.fate, second.result.files) == ("kept", first.result.files)
    assert second.result.files[0].exists()


async def test_each_prediction_has_its_own_outcome(api: ScriptedAPI, connect: Connect, tmp_path: Path) -> None:
    async with connect(api) as context:
        kept = await elsewhere(context, api, picture())
        text = await elsewhere(context, api, Script(duration=0, boot=0, output="words"), "replicate/hello-world")
        running = await elsewhere(context, api, Script(duration=math.inf))
        failed = await elsewhere(context, api, Script(duration=0, boot=0, end="failed", error="no"))
        gone = await elsewhere(context, api, Script(duration=0, boot=0, output=[OutputFile(content=b"x", expires=0)]))
        removed = await elsewhere(context, api, picture())
        removed.retention = -1
        pulled = await recent(context, tmp_path)
        assert fates(pulled) == {
            kept.id: "kept",
            text.id: "kept",
            running.id: "running",
            failed.id: "empty",
            gone.id: "expired",
            removed.id: "expired",
        }
        assert [each.result.problem != "" for each in pulled] == [each.fate == "expired" for each in pulled]
        assert (tmp_path / text.id / "result.json").exists()
        assert not (tmp_path / failed.id).exists()
        again = fates(await recent(context, tmp_path))
    assert again == fates(pulled) | {kept.id: "known", text.id: "known"}


async def test_outputs_that_expired_after_they_were_saved_are_not_reported_as_expired(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    async with connect(api) as context:
        made = await elsewhere(context, api, picture())
        await recent(context, tmp_path)
        made.retention = -1
        assert fates(await recent(context, tmp_path)) == {made.id: "known"}


async def test_only_predictions_of_the_given_age_and_model_are_pulled(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    flux, deployed = "/models/black-forest-labs/flux-schnell/predictions", "/deployments/acme/flux/predictions"
    async with connect(api) as context:
        old = await elsewhere(context, api, picture())
        old.created = time.time() - 2 * 3600
        sdxl = await elsewhere(context, api, picture())
        for path in (flux, deployed):
            api.next(picture())
            await context.client.create_prediction(path, b'{"input":{"prompt":"a"}}', await context.client.take_slot())
        _, _, by_model, by_deployment = api.predictions
        assert fates(await recent(context, tmp_path, model=SDXL)) == {sdxl.id: "kept"}
        assert fates(await recent(context, tmp_path, model="deployments/acme/flux")) == {by_deployment.id: "kept"}
        found = fates(await recent(context, tmp_path, model="black-forest-labs/flux-schnell"))
        assert found == {by_model.id: "kept", by_deployment.id: "known"}
        assert fates(await recent(context, tmp_path, model="a" * 64)) == {}
        assert old.id in fates(await recent(context, tmp_path, since=3 * HOUR))


async def test_an_unknown_prediction_does_not_stop_the_others(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    async with connect(api) as context:
        made = await elsewhere(context, api, picture())
        missing, kept = await named(context, tmp_path, "nothing", f"https://replicate.com/p/{made.id}", made.id)
    assert (missing.fate, missing.result.prediction_id) == ("failed", "nothing")
    assert isinstance(missing.error, UnknownJobError)
    assert fates([kept]) == {made.id: "kept"}


async def test_the_outputs_of_a_job_that_saved_none_are_saved_in_the_given_folder(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    api.next(picture())
    async with connect(api) as context:
        result = await run_job(context, Ask(Job(SDXL), key="order-17"))
        (pulled,) = await recent(context, tmp_path / "out")
        assert (pulled.fate, pulled.result.key) == ("kept", "order-17")
        assert pulled.result.files[0].parent == tmp_path / "out" / result.prediction_id
        assert fates(await recent(context, tmp_path / "other")) == {result.prediction_id: "known"}


async def test_the_next_pull_finishes_an_interrupted_pull(api: ScriptedAPI, connect: Connect, tmp_path: Path) -> None:
    async with connect(api) as context:
        made = [await elsewhere(context, api, picture(f"{number}.png")) for number in range(4)]
        pulling = Pull(context, str(tmp_path / "out"), moves=True).recent(HOUR)
        first = await anext(pulling)
        await pulling.aclose()
        again = fates(await recent(context, tmp_path / "out"))
    assert again.keys() == {each.id for each in made}
    assert again[first.result.prediction_id] == "known"
    downloads = Counter(request.path for request in api.requests if request.operation == "download")
    assert downloads[urlsplit(first.result.output[0]).path] == 1
    assert len(downloads) == 4
    assert max(downloads.values()) <= 2
    assert pictures(tmp_path / "out") == {each.id: "output-0.png" for each in made}


@pytest.mark.parametrize("fault", ["503", "drop"])
async def test_a_failed_page_of_the_list_is_requested_again(
    api: ScriptedAPI, connect: Connect, tmp_path: Path, fault: str
) -> None:
    async with connect(api) as context:
        made = await elsewhere(context, api, picture())
        api.faults.next("list", fault)
        assert fates(await recent(context, tmp_path)) == {made.id: "kept"}


async def test_outputs_of_a_pruned_job_are_not_downloaded_again(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    async with connect(api) as context:
        made = await elsewhere(context, api, picture())
        await recent(context, tmp_path)
        await context.journal.forget(made.id)
        assert fates(await recent(context, tmp_path)) == {made.id: "known"}
    assert api.count("download") == 1

"""A stored success replaces a new prediction only if it is of the same version and input."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.flow.plan import make_plan, run_plan
from replicate_job.flow.resolve import resolve
from replicate_job.flow.run import run_job
from replicate_job.inputs.upload import INLINE
from replicate_job.job import Job, Result
from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedDeployment, ScriptedModel, openapi_schema
from replicate_job.wire.target import parse_target

Connect = Callable[..., AbstractAsyncContextManager[Context]]
INPUTS: dict[str, dict[str, Any]] = {
    "n": {"type": "integer"},
    "image": {"type": "string", "format": "uri"},
    "code": {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True},
}
TEXT = openapi_schema(INPUTS, {"type": "string"})
FILE = openapi_schema(INPUTS, {"type": "string", "format": "uri"})
DAYS = 24 * 3600.0
WORDS = Script(output="words", duration=0, boot=0)
PICTURE = Script(output=OutputFile(content=b"\x89PNG\r\n", name="a.png"), duration=0, boot=0)
OLD, NEW = "1" * 64, "2" * 64


@pytest.fixture(autouse=True)
def _models(api: ScriptedAPI) -> None:
    api.models["acme/text"] = ScriptedModel(name="acme/text", official=True, schema=TEXT, script=WORDS)
    api.models["acme/file"] = ScriptedModel(name="acme/file", official=True, schema=FILE, script=PICTURE)


def job(model: str = "acme/text", **values: Any) -> Job:
    return Job(model, values or {"n": 1})


async def reuse(context: Context, job: Job, key: str = "new", *, age: float = 30 * DAYS, **how: Any) -> Result:
    plan = make_plan(job, reuse=age)
    return await run_plan(context, Ask(job, key, **how), plan, partial(run_job, context))


async def test_a_success_with_the_same_input_is_reused_and_nothing_is_created(
    api: ScriptedAPI, connect: Connect, heard: Any
) -> None:
    async with connect(api) as context:
        made = await run_job(context, Ask(job(), "old"))
        taken = await reuse(context, job(n=1.0))
        assert await context.journal.get("new") is None
    assert taken == msgspec.structs.replace(made, reused=True)
    assert any(made.prediction_id in line for line in heard.told)
    assert api.created == 1


@pytest.mark.parametrize(
    "script",
    [
        Script(end="failed", error="no", duration=0, boot=0),
        Script(end="canceled", duration=0, boot=0),
        Script(output=None, duration=0, boot=0),
    ],
    ids=["failed", "canceled", "empty"],
)
async def test_a_prediction_without_a_result_is_never_reused(
    api: ScriptedAPI, connect: Connect, script: Script
) -> None:
    api.next(script)
    async with connect(api) as context:
        await run_job(context, Ask(job(), "old"))
        result = await reuse(context, job())
    assert (result.reused, result.output, api.created) == (False, "words", 2)


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        (job(n=2), {}),
        (job("acme/file"), {}),
        (msgspec.structs.replace(job(), webhook="https://example.com/hook"), {}),
        (job(), {"age": 0.000001}),
    ],
    ids=["another input", "another model", "a webhook", "too old"],
)
async def test_a_different_job_is_never_reused(
    api: ScriptedAPI, connect: Connect, asked: Job, options: dict[str, Any]
) -> None:
    async with connect(api) as context:
        await run_job(context, Ask(job(), "old"))
        result = await reuse(context, asked, **options)
    assert (result.reused, api.created) == (False, 2)


async def test_another_version_is_never_reused(api: ScriptedAPI, connect: Connect) -> None:
    api.models["acme/own"] = ScriptedModel(name="acme/own", schema=TEXT, script=WORDS, versions=(OLD,))
    async with connect(api) as context:
        first = await run_job(context, Ask(job("acme/own"), "old"))
        api.models["acme/own"] = ScriptedModel(name="acme/own", schema=TEXT, script=WORDS, versions=(NEW, OLD))
    async with connect(api) as context:
        newer = await reuse(context, job("acme/own"), "newer")
        named = await reuse(context, job(f"acme/own:{OLD}"), "named")
    assert (newer.reused, named.reused) == (False, True)
    assert named.prediction_id == first.prediction_id


async def test_a_pruned_job_is_never_reused(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        await run_job(context, Ask(job(), "old"))
        await context.journal.forget("old")
        result = await reuse(context, job())
    assert (result.reused, api.created) == (False, 2)


async def test_a_result_whose_files_are_missing_is_not_reused(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    asked, save = job("acme/file"), str(tmp_path / "out")
    async with connect(api) as context:
        await run_job(context, Ask(asked, "not kept"))
        made = await reuse(context, asked, save=save)
        taken = await reuse(context, asked, "again")
        made.files[0].unlink()
        gone = await reuse(context, asked, "gone")
    assert [result.reused for result in (made, taken, gone)] == [False, True, False]
    assert taken.files == made.files
    assert api.created == 3


@pytest.mark.parametrize("size", [10, INLINE + 10], ids=["inside the request", "uploaded"])
async def test_input_files_are_compared_by_their_content(
    api: ScriptedAPI, connect: Connect, tmp_path: Path, size: int
) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for path, ending in zip(paths, (b"x", b"x", b"y"), strict=True):
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * size + ending)
    first, same, other = (job(image=path) for path in paths)
    async with connect(api) as context:
        await run_job(context, Ask(first, "old"))
        uploads = len(api.uploads)
        taken = await reuse(context, same)
        assert len(api.uploads) == uploads
        made = await reuse(context, other, "other")
    assert (taken.reused, made.reused, api.created) == (True, False, 2)


async def test_a_deployment_reuses_only_results_of_its_current_version(connect: Connect) -> None:
    own = ScriptedModel(name="acme/own", schema=TEXT, script=WORDS, versions=(OLD,))
    deployed = job("deployments/acme/deployed")
    with ScriptedAPI(own, deployments=[ScriptedDeployment(name="acme/deployed", model="acme/own")]) as api:
        async with connect(api) as context:
            await run_job(context, Ask(deployed, "old"))
            same = await reuse(context, deployed, "same")
        api.models["acme/own"] = ScriptedModel(name="acme/own", schema=TEXT, script=WORDS, versions=(NEW, OLD))
        async with connect(api) as context:
            newer = await reuse(context, deployed, "newer")
    assert (same.reused, newer.reused) == (True, False)


async def test_inputs_with_different_secrets_are_different(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        resolved = await resolve(context, parse_target("acme/text"))
        assert resolved.secrets == ("code",)
        await run_job(context, Ask(job(n=1, code="one"), "old"))
        taken = await reuse(context, job(n=1, code="one"), "same")
        made = await reuse(context, job(n=1, code="two"), "other")
    assert (taken.reused, made.reused) == (True, False)


async def test_a_key_in_the_journal_continues_its_own_job(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        await run_job(context, Ask(job(), "old"))
        own = await run_job(context, Ask(job(), "new"))
        again = await reuse(context, job(), "new")
    assert again == own

"""Rows with several jobs: combinations of a grid, further attempts, fallbacks, and shared jobs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.fleet.conftest import MODEL, ended, to_end, working

from replicate_job import Fallback, Job
from replicate_job.fleet.cancel import cancel_named
from replicate_job.fleet.create import create_rows
from replicate_job.fleet.parts import Fleet
from replicate_job.flow import policy
from replicate_job.journal.postgres_fleet import FleetBatch
from replicate_job.testing import OutputFile, Script, ScriptedAPI

Member = Callable[..., Awaitable[Fleet]]
Submitted = Callable[..., Awaitable[FleetBatch]]
Query = Callable[[str], list[dict[str, Any]]]
OTHER = "stability-ai/sdxl"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "FIRST_PAUSE", 0.2)


def failing(error: str, duration: float = 0.01) -> Script:
    return Script(end="failed", error=error, duration=duration, boot=0)


def script(api: ScriptedAPI, model: str, make: Script | Callable[[dict[str, Any]], Script]) -> None:
    api.models[model] = msgspec.structs.replace(api.models[model], script=make)


async def test_every_row_runs_with_every_combination_and_every_model(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet = await member()
    api.models[OTHER] = msgspec.structs.replace(api.models[MODEL], name=OTHER)
    script(api, MODEL, lambda given: Script(duration=0.01, output=f"{MODEL} {given}"))
    script(api, OTHER, lambda given: Script(duration=0.01, output=f"{OTHER} {given}"))
    batch = await submitted(
        fleet,
        [{"animal": "fox"}, {"animal": "owl"}],
        key="b",
        set={"prompt": "a {animal}"},
        grid={"seed": [1, 2]},
        models=[OTHER],
    )
    made = await to_end(fleet, batch)
    assert [(result.line, result.grid) for result in made] == [
        (line, {"seed": seed}) for line in (1, 2) for seed in (1, 1, 2, 2)
    ]
    for result in made:
        animal = {1: "fox", 2: "owl"}[result.line or 0]
        assert result.output == f"{result.model} {{'prompt': 'a {animal}', 'seed': {result.grid['seed']}}}"
    assert Counter(result.model for result in made) == {MODEL: 4, OTHER: 4}
    again = await submitted(fleet, [{"animal": "fox"}], key="b", set={"prompt": "a {animal}"}, grid={"seed": [1, 2, 3]})
    assert len(await to_end(fleet, again)) == 3
    assert api.created == 9  # one is new


async def test_a_failure_gets_another_attempt_after_its_pause(
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI
) -> None:
    fleet, tries = await member(), Counter[str]()

    def twice(given: dict[str, Any]) -> Script:
        tries[given["prompt"]] += 1
        return Script(duration=0.01, output="done") if tries[given["prompt"]] > 2 else failing("boom")

    script(api, MODEL, twice)
    batch = await submitted(fleet, [{"prompt": "a"}, {"prompt": "b"}], key="b", retries=2)
    made = await to_end(fleet, batch)
    assert [(result.status, len(result.earlier)) for result in made] == [("succeeded", 2)] * 2
    assert [result.key.partition("/")[0] for result in made] == ["b~3", "b~3"]
    assert api.created == 6
    assert query("SELECT count(*) AS n FROM batch_rows WHERE is_open OR job IS NOT NULL") == [{"n": 0}]


async def test_the_number_of_attempts_is_limited_and_the_last_attempt_is_the_result(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet = await member()
    script(api, MODEL, failing("boom"))
    [result] = await to_end(fleet, await submitted(fleet, [{"prompt": "a"}], retries=1))
    assert (result.status, result.error, len(result.earlier), api.created) == ("failed", "boom", 1, 2)


async def test_every_process_waits_for_the_pause_before_the_next_attempt(
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database's clock delays the task. A second check, as after a takeover, creates no second attempt."""
    monkeypatch.setattr(policy, "FIRST_PAUSE", 60)
    fleet, other = await member(), await member()
    script(api, MODEL, failing("boom", 1))
    batch = await submitted(fleet, [{"prompt": "a"}], key="b", retries=1)
    await create_rows(fleet, batch.number, 1, 1)
    script(api, MODEL, failing("boom", 0))
    query("DELETE FROM procrastinate_jobs")
    query(
        "UPDATE jobs SET state = 'collected', status = 'failed', holder = NULL, prediction = jsonb_build_object("
        "'id', prediction_id, 'status', 'failed', 'error', 'boom')::text"
    )
    await asyncio.gather(*(create_rows(each, batch.number, 1, 1) for each in (fleet, other)))
    await create_rows(other, batch.number, 1, 1)
    [row] = query("SELECT key, is_open, due_at > extract(epoch FROM clock_timestamp()) + 30 AS waits FROM batch_rows")
    assert row["key"].startswith("b~2/")
    assert (row["is_open"], row["waits"], api.created) == (True, True, 1)
    [task] = query(
        "SELECT scheduled_at > now() + interval '30 s' AS waits FROM procrastinate_jobs WHERE status = 'todo'"
    )
    assert task["waits"]
    query("UPDATE batch_rows SET due_at = 0")
    await asyncio.gather(*(create_rows(each, batch.number, 1, 1) for each in (fleet, other)))
    assert api.created == 2


async def test_a_fallback_runs_after_the_first_models_last_attempt(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet = await member()
    script(api, MODEL, failing("boom"))
    script(api, OTHER, lambda given: Script(duration=0.01, output=given["prompt"]))
    job = Job(MODEL, fallback=(Fallback(OTHER, {"num_outputs": False}),))
    [result] = await to_end(fleet, await submitted(fleet, [{"prompt": "a", "num_outputs": 1}], job=job))
    assert (result.model, result.output, [one.model for one in result.earlier]) == (OTHER, "a", [MODEL])
    assert api.created == 2


async def test_refused_content_and_unknown_outcomes_are_not_retried(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet = await member()
    script(api, MODEL, failing("NSFW content detected. Try running it again, or try a different prompt."))
    [result] = await to_end(fleet, await submitted(fleet, [{"prompt": "a"}], retries=3))
    assert (result.status, result.earlier, api.created) == ("failed", (), 1)


async def test_equal_rows_share_one_prediction_and_its_attempts(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet, tries = await member(), Counter[str]()

    def once(given: dict[str, Any]) -> Script:
        tries[given["prompt"]] += 1
        return Script(duration=0.01, output=given["prompt"]) if tries[given["prompt"]] > 1 else failing("x")

    script(api, MODEL, once)
    batch = await submitted(fleet, [{"prompt": str(line % 10)} for line in range(50)], dedupe=True, retries=1)
    made = await to_end(fleet, batch)
    assert [result.output for result in made] == [str(line % 10) for line in range(50)]
    assert [result.reused for result in made] == [False] * 10 + [True] * 40
    assert api.created == 20


async def test_a_stored_success_is_reused_for_a_row(member: Member, submitted: Submitted, api: ScriptedAPI) -> None:
    fleet = await member()
    first = await to_end(fleet, await submitted(fleet, [{"prompt": "a"}], key="one"))
    batch = await submitted(fleet, [{"prompt": "a"}, {"prompt": "b"}], key="two", reuse=timedelta(days=1))
    made = await to_end(fleet, batch)
    assert [result.reused for result in made] == [True, False]
    assert (made[0].prediction_id, api.created) == (first[0].prediction_id, 2)


async def test_a_canceled_batch_makes_no_further_attempts(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet = await member()
    script(api, MODEL, failing("boom", 0.5))
    batch = await submitted(fleet, [{"prompt": "a"}], key="b", retries=5)
    await create_rows(fleet, batch.number, 1, 1)
    assert await cancel_named(fleet.context, "b", running=False) == {"running": 1}
    [result] = await to_end(fleet, batch)
    assert (result.status, result.earlier, api.created) == ("failed", (), 1)


async def test_a_row_that_is_canceled_between_two_attempts_reports_its_earlier_prediction(
    member: Member, submitted: Submitted, api: ScriptedAPI, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row once reported that nothing was created, although a prediction had been made and paid for."""
    monkeypatch.setattr(policy, "FIRST_PAUSE", 600)
    fleet = await member()
    script(api, MODEL, failing("boom", 0))
    batch = await submitted(fleet, [{"prompt": "a"}], key="b", retries=5)
    async with working(fleet):
        async with asyncio.timeout(60):
            while not query("SELECT 1 FROM batch_rows WHERE starts_with(key, 'b~2/')"):  # noqa: ASYNC110 - as below
                await asyncio.sleep(0.02)
        assert await cancel_named(fleet.context, "b", running=False) == {"unsent": 1}
        [result] = await ended(fleet, batch)
    assert result.problem == "attempt 1 did not succeed, and the row was canceled before attempt 2"
    assert ([each.error for each in result.earlier], api.created) == (["boom"], 1)


async def test_submitting_again_retries_failed_rows(member: Member, submitted: Submitted, api: ScriptedAPI) -> None:
    fleet = await member()
    script(api, MODEL, failing("boom"))
    await to_end(fleet, await submitted(fleet, [{"prompt": "a"}], key="b", retries=1))
    script(api, MODEL, Script(duration=0.01, output="done"))
    again = await submitted(fleet, [{"prompt": "a"}], key="b", retries=1)
    [result] = await to_end(fleet, again)
    assert (result.status, len(result.earlier)) == ("failed", 1)
    again = await submitted(fleet, [{"prompt": "a"}], key="b", retries=1, retry_failed=True)
    [result] = await to_end(fleet, again)
    assert (result.output, len(result.earlier), api.created) == ("done", 2, 3)


async def test_two_workers_that_handle_the_same_failed_row_create_one_further_attempt(
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI
) -> None:
    fleet, other = await member(), await member()
    script(api, MODEL, failing("boom", 0.05))
    batch = await submitted(fleet, [{"prompt": str(line)} for line in range(60)], retries=1)
    async with working(other):
        made = await to_end(fleet, batch)
    assert {(result.status, len(result.earlier)) for result in made} == {("failed", 1)}
    assert (api.created, len(query("SELECT DISTINCT prediction_id FROM jobs"))) == (120, 120)


def paint_with_both(api: ScriptedAPI) -> None:
    for name in (MODEL, OTHER):
        paint = Script(duration=0.3, boot=0, output=[OutputFile(content=name.encode(), name="a.webp")])
        api.models[name] = msgspec.structs.replace(api.models[MODEL], name=name, script=paint)


async def test_a_worker_with_a_cached_batch_keeps_outputs_of_a_model_that_a_later_submit_added(
    member: Member, submitted: Submitted, api: ScriptedAPI, tmp_path: Path
) -> None:
    fleet, submitter = await member(), await member()
    paint_with_both(api)
    async with working(fleet):
        for models in ([], [OTHER]):
            options: dict[str, Any] = {"key": "b", "models": models, "save_to": tmp_path / "out"}
            made = await ended(submitter, await submitted(submitter, [{"prompt": "a"}], **options))
    assert [(result.model, len(result.files)) for result in made] == [(MODEL, 1), (OTHER, 1)]


async def test_outputs_of_a_model_that_a_later_submit_left_out_are_kept(
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI, tmp_path: Path
) -> None:
    fleet, other = await member(), await member()
    paint_with_both(api)
    options: dict[str, Any] = {"key": "b", "save_to": tmp_path / "out"}
    batch = await submitted(fleet, [{"prompt": "a"}], models=[OTHER], **options)
    await create_rows(fleet, batch.number, 1, 2)
    again = await submitted(fleet, [{"prompt": "a"}], **options)
    async with working(other), asyncio.timeout(60):
        assert len(await ended(fleet, again)) == 1
        while query("SELECT DISTINCT state FROM jobs") != [{"state": "collected"}]:  # noqa: ASYNC110 - the database has no event to wait for
            await asyncio.sleep(0.05)
    assert {path.read_bytes().decode() for path in (tmp_path / "out").rglob("*.webp")} == {MODEL, OTHER}

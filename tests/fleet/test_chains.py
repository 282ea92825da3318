"""Rows that are chains, in a fleet: each step is created once, by whichever worker is free."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.fleet.conftest import ended, to_end, working

from replicate_job import Chain, Ref, Step
from replicate_job.batches.progress import Tally
from replicate_job.errors import JobError
from replicate_job.fleet.cancel import cancel_named
from replicate_job.fleet.create import create_rows
from replicate_job.fleet.follow import follow
from replicate_job.fleet.parts import Fleet
from replicate_job.fleet.status import status_of
from replicate_job.journal.postgres_fleet import FleetBatch
from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedModel, openapi_schema

Member = Callable[..., Awaitable[Fleet]]
Submitted = Callable[..., Awaitable[FleetBatch]]
Query = Callable[[str], list[dict[str, Any]]]
FILE: dict[str, Any] = {"type": "string", "format": "uri"}


def model(name: str, script: Script | Callable[[dict[str, Any]], Script]) -> ScriptedModel:
    schema = openapi_schema({"prompt": {"type": "string"}, "image": FILE}, FILE)
    return ScriptedModel(name=f"acme/{name}", official=True, schema=schema, script=script)


def paint(given: dict[str, Any]) -> Script:
    content = repr(sorted(given)).encode()
    return Script(duration=0.02, boot=0, output=OutputFile(content=content, name="a.png"))


CHAIN = Chain(
    [
        Step("draw", "acme/draw", {"prompt": Ref("prompt")}),
        Step("enlarge", "acme/enlarge", {"image": "{draw.output}"}),
        Step("frame", "acme/frame", {"image": "{enlarge.output}", "prompt": "{prompt}, framed"}),
    ]
)
BESIDE = Chain(
    [
        Step("draw", "acme/draw", {"prompt": "{prompt}"}),
        Step("enlarge", "acme/enlarge", {"image": "{draw.output}"}),
        Step("frame", "acme/frame", {"image": "{draw.output}"}),
    ]
)
pytestmark = pytest.mark.replicate_api(model("draw", paint), model("enlarge", paint), model("frame", paint))
FAILING = Script(end="failed", error="out of memory", duration=0.02, boot=0)


def made(api: ScriptedAPI) -> dict[str, int]:
    return dict(Counter(prediction.model.removeprefix("acme/") for prediction in api.predictions))


def rows(number: int) -> list[dict[str, Any]]:
    return [{"prompt": f"row {line}"} for line in range(1, number + 1)]


async def test_workers_create_each_step_once_the_one_before_it_has_ended(
    member: Member, submitted: Submitted, query: Query, api: ScriptedAPI, tmp_path: Path
) -> None:
    fleet, other = await member(), await member()
    batch = await submitted(fleet, rows(45), job=CHAIN, key="b", save_to=tmp_path / "out")
    async with working(other):
        results = await to_end(fleet, batch)
    assert made(api) == {"draw": 45, "enlarge": 45, "frame": 45}
    assert query("SELECT count(DISTINCT prediction_id) AS n FROM jobs") == [{"n": 135}]
    assert [result.line for result in results] == list(range(1, 46))
    by_id = {prediction.id: prediction for prediction in api.predictions}
    for result in results:
        steps = result.steps
        assert [(name, step.status, len(step.files)) for name, step in steps.items()] == [
            (name, "succeeded", 1) for name in ("draw", "enlarge", "frame")
        ]
        assert result.output == steps["frame"].output
        assert by_id[steps["enlarge"].prediction_id].input == {"image": steps["draw"].output}
        assert by_id[steps["frame"].prediction_id].input["prompt"] == f"row {result.line}, framed"
    status = await status_of(fleet.tables, batch)
    assert (status.succeeded, status.is_over, status.model) == (45, True, "draw > enlarge > frame")
    again = await submitted(fleet, rows(45), job=CHAIN, key="b", save_to=tmp_path / "out")
    assert len(await to_end(fleet, again)) == 45
    assert api.created == 135


async def test_a_step_that_fails_ends_its_row_and_is_made_anew_on_request_alone(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet = await member()
    api.models["acme/enlarge"] = model("enlarge", FAILING)
    batch = await submitted(fleet, rows(3), job=CHAIN, key="b")
    results = await to_end(fleet, batch)
    assert [(result.status, result.error, list(result.steps)) for result in results] == [
        ("failed", "out of memory", ["draw", "enlarge"])
    ] * 3
    assert (await status_of(fleet.tables, batch)).failed == 3
    api.models["acme/enlarge"] = model("enlarge", paint)
    again = await submitted(fleet, rows(3), job=CHAIN, key="b")
    assert [result.status for result in await to_end(fleet, again)] == ["failed"] * 3
    again = await submitted(fleet, rows(3), job=CHAIN, key="b", retry_failed=True)
    results = await to_end(fleet, again)
    assert [result.status for result in results] == ["succeeded"] * 3
    assert results[0].steps["enlarge"].key.startswith("b~2/")
    assert made(api) == {"draw": 3, "enlarge": 6, "frame": 3}


async def test_steps_beside_each_other_run_together(member: Member, submitted: Submitted, api: ScriptedAPI) -> None:
    fleet = await member()
    [result] = await to_end(fleet, await submitted(fleet, rows(1), job=BESIDE))
    assert (list(result.steps), result.status) == (["draw", "enlarge", "frame"], "succeeded")
    assert made(api) == {"draw": 1, "enlarge": 1, "frame": 1}


async def test_a_step_that_the_api_refuses_ends_its_row_with_the_reason(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet = await member()
    api.faults.next("create", "slow(0s)")
    api.faults.next("create", "422")
    batch = await submitted(fleet, rows(1), job=CHAIN)
    [result] = await to_end(fleet, batch)
    assert (result.status, result.problem.startswith("step enlarge: "), "422" in result.problem) == (
        "error",
        True,
        True,
    )
    assert result.steps["draw"].status == "succeeded"
    assert (await status_of(fleet.tables, batch)).wrong == 1


async def test_no_credit_stops_the_batch_and_it_goes_on_where_it_stopped(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet = await member()
    api.faults.next("create", "slow(0s)")
    api.faults.next("create", "402")
    batch = await submitted(fleet, rows(1), job=CHAIN, key="b")
    async with working(fleet):
        assert "402" in await asyncio.wait_for(follow(fleet.context, fleet.tables, batch, Tally()), 30)
    assert (await status_of(fleet.tables, batch)).is_over is False
    [result] = await to_end(fleet, await submitted(fleet, rows(1), job=CHAIN, key="b"))
    assert (result.status, made(api)) == ("succeeded", {"draw": 1, "enlarge": 1, "frame": 1})


async def test_a_canceled_chain_creates_no_further_step(member: Member, submitted: Submitted, api: ScriptedAPI) -> None:
    fleet = await member()
    api.models["acme/draw"] = model("draw", msgspec.structs.replace(paint({}), duration=0.5))
    batch = await submitted(fleet, rows(25), job=CHAIN, key="b")
    await create_rows(fleet, batch.number, 1, 20)
    assert (await status_of(fleet.tables, batch)).running == 20
    assert await cancel_named(fleet.context, "b", running=False) == {"unsent": 5, "running": 20}
    results = await to_end(fleet, batch)
    assert Counter(result.problem for result in results) == {
        "step enlarge: canceled before it was created": 20,
        "canceled before it was created": 5,
    }
    assert made(api) == {"draw": 20}


async def test_a_row_that_does_not_fit_has_its_problem(member: Member, submitted: Submitted, api: ScriptedAPI) -> None:
    fleet = await member()
    results = await to_end(fleet, await submitted(fleet, [{"prompt": 5}, {"prompt": "x"}], job=CHAIN))
    assert ["prompt" in result.problem for result in results] == [True, False]
    assert api.created == 3


async def test_a_file_in_a_step_is_refused_for_other_machines_have_it_not(
    member: Member, submitted: Submitted, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    chain = Chain([Step("enlarge", "acme/enlarge", {"image": tmp_path / "a.png"})])
    with pytest.raises(JobError, match="is a file of this machine"):
        await submitted(await member(), [{}], job=chain)


async def test_a_step_runs_for_each_element_and_its_outputs_are_gathered(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet, other = await member(), await member()
    several = openapi_schema({"prompt": {"type": "string"}}, {"type": "array", "items": FILE})
    files = [OutputFile(content=f"{number}".encode(), name=f"{number}.png") for number in range(3)]
    api.models["acme/draw"] = ScriptedModel(
        name="acme/draw", official=True, schema=several, script=Script(duration=0.02, boot=0, output=files)
    )
    chain = Chain(
        [
            Step("draw", "acme/draw", {"prompt": Ref("prompt")}),
            Step("enlarge", "acme/enlarge", {"image": "{each}"}, for_each=Ref("draw.output")),
            Step("frame", "acme/frame", {"image": "{enlarge.output[2]}"}),
        ]
    )
    batch = await submitted(fleet, rows(8), job=chain)
    async with working(other):
        made_of = await to_end(fleet, batch)
    assert made(api) == {"draw": 8, "enlarge": 24, "frame": 8}
    for result in made_of:
        assert list(result.steps) == ["draw", "enlarge[0]", "enlarge[1]", "enlarge[2]", "frame"]
        assert [result.steps[f"enlarge[{number}]"].input for number in range(3)] == [
            {"image": url} for url in result.steps["draw"].output
        ]
        assert result.steps["frame"].input == {"image": result.steps["enlarge[2]"].output}


async def test_a_step_that_a_later_submit_added_is_run_by_a_worker_that_knows_the_batch(
    member: Member, submitted: Submitted, tmp_path: Path
) -> None:
    fleet, submitter = await member(), await member()
    async with working(fleet):
        for steps in (CHAIN.steps[:1], CHAIN.steps):
            batch = await submitted(submitter, rows(2), job=Chain(steps), key="b", save_to=tmp_path / "out")
            results = await ended(submitter, batch)
    for result in results:
        assert [(name, len(step.files)) for name, step in result.steps.items()] == [
            (name, 1) for name in ("draw", "enlarge", "frame")
        ]

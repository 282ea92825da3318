"""Chains as rows of a fleet: each step is created once, by any free worker."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.e2e.s3 import S3
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
CHAIN_STEPS = [step.name for step in CHAIN.steps]
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
    status = await status_of(fleet.context, fleet.tables, batch)
    assert (status.succeeded, status.is_over, status.model) == (45, True, "draw > enlarge > frame")
    again = await submitted(fleet, rows(45), job=CHAIN, key="b", save_to=tmp_path / "out")
    assert len(await to_end(fleet, again)) == 45
    assert api.created == 135


async def test_a_failed_step_ends_its_row_and_the_step_is_retried_only_on_request(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet = await member()
    api.models["acme/enlarge"] = model("enlarge", FAILING)
    batch = await submitted(fleet, rows(3), job=CHAIN, key="b")
    results = await to_end(fleet, batch)
    assert [(result.status, result.error, list(result.steps)) for result in results] == [
        ("failed", "out of memory", ["draw", "enlarge"])
    ] * 3
    assert (await status_of(fleet.context, fleet.tables, batch)).failed == 3
    api.models["acme/enlarge"] = model("enlarge", paint)
    again = await submitted(fleet, rows(3), job=CHAIN, key="b")
    assert [result.status for result in await to_end(fleet, again)] == ["failed"] * 3
    again = await submitted(fleet, rows(3), job=CHAIN, key="b", retry_failed=True)
    results = await to_end(fleet, again)
    assert [result.status for result in results] == ["succeeded"] * 3
    assert results[0].steps["enlarge"].key.startswith("b~2/")
    assert made(api) == {"draw": 3, "enlarge": 6, "frame": 3}


async def test_independent_steps_run_at_the_same_time(member: Member, submitted: Submitted, api: ScriptedAPI) -> None:
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
    assert (await status_of(fleet.context, fleet.tables, batch)).wrong == 1


async def test_a_batch_stopped_without_credit_continues_where_it_stopped(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet = await member()
    api.faults.next("create", "slow(0s)")
    api.faults.next("create", "402")
    batch = await submitted(fleet, rows(1), job=CHAIN, key="b")
    async with working(fleet):
        assert "402" in await asyncio.wait_for(follow(fleet.context, fleet.tables, batch, Tally()), 30)
    assert (await status_of(fleet.context, fleet.tables, batch)).is_over is False
    [result] = await to_end(fleet, await submitted(fleet, rows(1), job=CHAIN, key="b"))
    assert (result.status, made(api)) == ("succeeded", {"draw": 1, "enlarge": 1, "frame": 1})


async def test_a_canceled_chain_creates_no_further_step(member: Member, submitted: Submitted, api: ScriptedAPI) -> None:
    fleet = await member()
    api.models["acme/draw"] = model("draw", msgspec.structs.replace(paint({}), duration=0.5))
    batch = await submitted(fleet, rows(25), job=CHAIN, key="b")
    await create_rows(fleet, batch.number, 1, 20)
    assert (await status_of(fleet.context, fleet.tables, batch)).running == 20
    assert await cancel_named(fleet.context, "b", running=False) == {"unsent": 5, "running": 20}
    results = await to_end(fleet, batch)
    assert Counter(result.problem for result in results) == {
        "step enlarge: canceled before it was created": 20,
        "canceled before it was created": 5,
    }
    assert made(api) == {"draw": 20}


async def test_canceled_chains_that_wait_for_the_rate_limit_are_not_started(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet, other = await member(), await member()
    batch = await submitted(fleet, rows(20), job=CHAIN, key="b", rate=20.0)
    fleet.context.client.creates.change(20.0)
    creating = asyncio.create_task(create_rows(fleet, batch.number, 1, 20))
    while not api.created:  # noqa: ASYNC110 - the server has no event to wait for
        await asyncio.sleep(0.01)
    await cancel_named(other.context, "b", running=False)
    await asyncio.wait_for(creating, 30)
    results = await to_end(other, batch)
    begun = sum(result.problem == "step enlarge: canceled before it was created" for result in results)
    unsent = sum(result.problem == "canceled before it was created" for result in results)
    assert begun + unsent == 20
    assert unsent
    assert made(api) == {"draw": begun}


async def test_an_invalid_row_has_a_problem(member: Member, submitted: Submitted, api: ScriptedAPI) -> None:
    fleet = await member()
    results = await to_end(fleet, await submitted(fleet, [{"prompt": 5}, {"prompt": "x"}], job=CHAIN))
    assert ["prompt" in result.problem for result in results] == [True, False]
    assert api.created == 3


async def test_a_local_file_in_a_step_is_refused(member: Member, submitted: Submitted, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    chain = Chain([Step("enlarge", "acme/enlarge", {"image": tmp_path / "a.png"})])
    with pytest.raises(JobError, match="is a file of this machine"):
        await submitted(await member(), [{}], job=chain)


async def test_a_step_runs_for_each_list_element_and_its_outputs_are_gathered(
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


async def test_a_worker_with_a_cached_batch_runs_a_step_that_a_later_submit_added(
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


async def test_workers_keep_to_one_cost_limit_for_all_steps_of_a_chain(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet, other = await member(), await member()
    prices = {"draw": "0.01/run", "enlarge": "0.02/run", "acme/frame": "0.03/run"}

    def spent() -> Decimal:
        return sum((Decimal(prices.get(name, "0.03/run")[:4]) * each for name, each in made(api).items()), Decimal(0))

    options: dict[str, Any] = {"job": CHAIN, "key": "b", "price": prices}
    batch = await submitted(fleet, rows(20), max_cost=Decimal("0.315"), **options)
    async with working(fleet, other):
        stopped = await asyncio.wait_for(follow(fleet.context, fleet.tables, batch, Tally()), 60)
    assert ("the limit is $0.315" in stopped, Decimal("0.28") < spent() <= Decimal("0.315")) == (True, True)
    status = await status_of(fleet.context, fleet.tables, batch)
    assert (status.spent, status.set_aside, status.max_cost) == (spent(), Decimal(0), Decimal("0.315"))
    batch = await submitted(fleet, rows(20), max_cost=Decimal(5), **options)
    async with working(other):
        results = await to_end(fleet, batch)
    assert made(api) == {"draw": 20, "enlarge": 20, "frame": 20}
    assert {(str(result.cost), result.cost_source) for result in results} == {("0.06", "user")}
    assert (await status_of(fleet.context, fleet.tables, batch)).spent == Decimal("1.2")


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


async def test_amounts_set_aside_for_requests_that_could_not_be_sent_are_released(
    member: Member, submitted: Submitted, api: ScriptedAPI, tmp_path: Path
) -> None:
    """Two parallel steps use a file that is gone. No amount stays set aside for them."""
    fleet = await member()
    (tmp_path / "own.png").write_bytes(b"own")
    both = Chain([Step(name, f"acme/{name}", {"image": "{sketch}"}) for name in ("enlarge", "frame")])
    given = [{"sketch": tmp_path / "own.png"}, *({"sketch": f"https://example.com/{n}.png"} for n in range(9))]
    options: dict[str, Any] = {"price": dict.fromkeys(("enlarge", "frame"), "0.01/run"), "save_to": tmp_path / "out"}
    batch = await submitted(fleet, given, job=both, max_cost=Decimal("0.07"), **options)
    assert batch.depot
    empty(Path(batch.depot.removeprefix("file://")))
    async with working(fleet):
        stopped = await asyncio.wait_for(follow(fleet.context, fleet.tables, batch, Tally()), 60)
    assert ("the limit is $0.07" in stopped, sum(made(api).values())) == (True, 7)
    status = await status_of(fleet.context, fleet.tables, batch)
    assert (status.spent, status.set_aside) == (Decimal("0.07"), Decimal(0))


async def test_the_cost_of_a_chain_includes_its_earlier_attempts(
    member: Member, submitted: Submitted, api: ScriptedAPI
) -> None:
    fleet = await member()
    api.models["acme/enlarge"] = model("enlarge", FAILING)
    options: dict[str, Any] = {"job": CHAIN, "key": "b", "price": dict.fromkeys(CHAIN_STEPS, "0.01/run")}
    [result] = await to_end(fleet, await submitted(fleet, rows(1), **options))
    assert (result.status, str(result.cost)) == ("failed", "0.02")
    api.models["acme/enlarge"] = model("enlarge", paint)
    [result] = await to_end(fleet, await submitted(fleet, rows(1), retry_failed=True, **options))
    assert [each.status for each in result.steps["enlarge"].earlier] == ["failed"]
    assert (result.status, str(result.cost)) == ("succeeded", "0.04")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with S3() as s3:
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        s3.make("pictures")
        yield "s3://pictures"


async def test_a_chain_with_expired_urls_continues_with_the_files_in_the_bucket(
    member: Member, submitted: Submitted, api: ScriptedAPI, bucket: str
) -> None:
    fleet = await member()
    batch = await submitted(fleet, rows(2), job=BESIDE, save_to=f"{bucket}/{{line}}/{{key}}-{{name}}")

    def paint_long_ago(given: dict[str, Any]) -> Script:
        return msgspec.structs.replace(paint(given), overrides={"completed_at": "2025-03-14T10:00:00.000000Z"})

    api.models["acme/draw"] = model("draw", paint_long_ago)
    results = await to_end(fleet, batch)
    assert [(result.status, result.problem) for result in results] == [("succeeded", "")] * 2
    assert made(api) == {"draw": 2, "enlarge": 2, "frame": 2}
    drawn = b64encode(repr(["prompt"]).encode()).decode()
    sent = [prediction.input["image"] for prediction in api.predictions if "image" in prediction.input]
    assert sent == [f"data:image/png;base64,{drawn}"] * 4
    assert len(await to_end(fleet, batch)) == 2

"""A batch keeps to its cost limit, whatever breaks and however often it is started."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.batches.budget import Budget, Cost, ModelCost
from replicate_job.batches.progress import Tally
from replicate_job.batches.rows import Row
from replicate_job.batches.runner import BatchRunner
from replicate_job.batches.spec import Batch
from replicate_job.errors import JobError
from replicate_job.flow.context import Context
from replicate_job.flow.plan import make_plan
from replicate_job.flow.resolved import Resolved
from replicate_job.job import Fallback, Job, Result
from replicate_job.pricing.forecast import Forecast
from replicate_job.pricing.learned import Learned
from replicate_job.pricing.price import Price, parse_terms
from replicate_job.testing import Script, ScriptedAPI
from replicate_job.testing.models import ScriptedModel
from replicate_job.wire.target import Target, parse_target

Connect = Callable[..., AbstractAsyncContextManager[Context]]
MODEL = "acme/private"
RESOLVED = Resolved(Target("model", "acme", "private"), f"/models/{MODEL}/predictions")
RATE = Decimal("0.001")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("REPLICATE_JOB_PRICES", raising=False)


def _batch(**options: Any) -> Batch:
    chosen: dict[str, Any] = {"id": "batch", "job": Job(MODEL), "read": lambda _: attrgetter("values")}
    return Batch(**chosen | {"concurrency": 64} | options)


def make(context: Context, most: str, price: str = "0.01/run", **options: Any) -> BatchRunner:
    batch = _batch(**{"max_cost": Decimal(most), "prices": {"": price}} | options)
    return BatchRunner(context, batch, RESOLVED, Tally())


def rows(count: int) -> list[Row]:
    return [Row(line, {"n": line}) for line in range(1, count + 1)]


async def run(drive: BatchRunner, given: list[Row], *, most: int = 10**9) -> list[Result]:
    """The results in the order of their lines; left early once there are ``most``."""
    found: list[Result] = []
    async with aclosing(drive.run(given)) as results:
        async for some in results:
            found += some
            if len(found) >= most:
                break
    return sorted(found, key=lambda result: result.line)


def taking(seconds: Callable[[int], float]) -> Callable[[dict[str, Any]], Script]:
    """A model that reports the given predict time for each row."""

    def script(values: dict[str, Any]) -> Script:
        metrics = {"predict_time": seconds(values.get("n", 1))}
        return Script(duration=0.01, output="done", overrides={"metrics": metrics})

    return script


def scripted(seconds: Callable[[int], float], **options: Any) -> ScriptedAPI:
    api = ScriptedAPI(**options)
    api.models[MODEL] = ScriptedModel(name=MODEL, official=True, script=taking(seconds))
    return api


async def test_with_a_known_price_a_batch_never_exceeds_its_cost_limit(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=0.01, output="done")) as api:
        async with connect(api) as context:
            drive = make(context, "0.5")
            results = await run(drive, rows(200))
            assert (len(results), api.created) == (50, 50)
            assert {(result.cost, result.cost_source) for result in results} == {(Decimal("0.01"), "user")}
            assert drive.stopped.startswith("$0.50 are spent, and one more costs about $0.01: the limit is $0.50")
            assert "it is not exceeded" in context.reporter.told[0]  # type: ignore[attr-defined] # the tests' own
            again = make(context, "0.8")
            assert len(await run(again, rows(200))) == 80
    assert api.created == 80


async def test_a_cost_limit_that_all_rows_fit_into_stops_nothing(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=0, output="done")) as api:
        async with connect(api) as context:
            drive = make(context, "0.2")
            assert len(await run(drive, rows(20))) == 20
    assert api.created == 20


FAULTS = "create:drop-after=0.15,create:drop-before=0.1,get:503=0.05"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
async def test_64_concurrent_rows_exceed_the_cost_limit_by_no_more_than_announced(connect: Connect, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same each time
    times = {line: chance.choice([0.5, 1, 2, 20]) for line in range(1, 1001)}
    with scripted(times.__getitem__, faults=FAULTS, seed=seed, list_lag=(0, 0.3)) as api:
        async with connect(api, settle=1) as context:
            for part in (10, 30, 60):  # left while 64 run
                await run(make(context, "1", "0.001/second"), rows(1000), most=part)
            drive = make(context, "1", "0.001/second")
            results = await run(drive, rows(1000))
        spent = sum((RATE * Decimal(str(times[prediction.input["n"]])) for prediction in api.predictions), Decimal(0))
    told = context.reporter.told[-1]  # type: ignore[attr-defined] # the tests' own
    assert "exceeded by $" in told
    assert drive.stopped
    assert spent <= 1 + 64 * Decimal("0.02")  # as each takes 20 s at most, and not 30 minutes
    assert spent >= Decimal("0.9")
    assert len(results) == api.created


async def test_the_first_prediction_runs_alone_if_its_cost_is_unknown(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=0, output="done", overrides={"metrics": {"predict_time": 10}})) as api:
        api.next(Script(duration=0.3, output="done", overrides={"metrics": {"predict_time": 10}}))
        async with connect(api) as context:
            found = []
            async with aclosing(make(context, "0.1", "0.001/second").run(rows(100))) as results:
                async for some in results:
                    found += [result.line for result in some]
    assert found[0] == 1  # it took longer than any other would have
    assert (len(found), api.created) == (10, 10)


@pytest.mark.long
async def test_an_uncertain_row_counts_toward_the_cost_limit_and_a_refused_row_does_not(connect: Connect) -> None:
    gone = Script(duration=0, overrides={"input": {}, "data_removed": True, "output": None})
    with ScriptedAPI(script=Script(duration=0, output="done")) as api:
        api.next(gone)
        api.faults.next("create", "drop-after")
        async with connect(api) as context:
            results = await run(make(context, "0.03", concurrency=1), rows(9))
            assert [result.status for result in results] == ["error", "succeeded", "succeeded"]
            assert len(await run(make(context, "0.05", concurrency=1), rows(9))) == 5
            api.faults.next("create", "422")
            more = make(context, "0.07", concurrency=1)
            assert [result.status for result in await run(more, rows(9))].count("error") == 2
    assert api.created == 7


async def test_predictions_of_an_earlier_run_are_collected_even_if_the_cost_limit_is_reached(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=0.4, output="done")) as api:
        async with connect(api) as context:
            drive = make(context, "0.3")
            task = asyncio.create_task(run(drive, rows(100)))
            async with asyncio.timeout(20):
                while api.created < 30:  # noqa: ASYNC110 - what changes is on the server's side
                    await asyncio.sleep(0.005)
            task.cancel()
            await asyncio.wait([task])
            again = make(context, "0.3")
            assert len(await run(again, rows(100))) == 30
            assert again.stopped
    assert api.created == 30


async def test_a_retry_and_the_failed_attempt_both_count_toward_the_cost_limit(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=0, end="failed", error="no")) as api:
        async with connect(api) as context:
            assert len(await run(make(context, "0.2"), rows(10))) == 10
            drive = make(context, "0.15", retry_failed=True)
            await run(drive, rows(10))
            assert drive.stopped
    assert api.created == 15


async def test_with_a_predict_time_limit_and_a_cost_limit_the_one_that_is_reached_first_stops_the_batch(
    connect: Connect,
) -> None:
    with scripted(lambda _: 10) as api:
        async with connect(api) as context:
            drive = make(context, "1", concurrency=1, max_predict_time=25)
            assert len(await run(drive, rows(10))) == 3
            assert drive.stopped == "30 s of predict time are spent, and 25 s is the limit"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"prices": {}}, "the price of acme/private is not known: give --price"),
        ({"prices": {"": "gpu-9000"}}, "--price (in Python price=): 'gpu-9000' is neither a price"),
        ({"prices": {"": "1/cat"}}, "'1/cat' is not a price"),
    ],
)
async def test_the_error_of_a_model_without_a_price_says_how_to_give_one(
    connect: Connect, options: dict[str, Any], says: str
) -> None:
    with ScriptedAPI() as api:
        async with connect(api) as context:
            with pytest.raises(JobError) as caught:
                make(context, "1", **options)
    assert says in str(caught.value)
    assert api.created == 0


FALLBACK = "acme/other"


async def test_predictions_of_a_fallback_model_count_with_its_own_price(connect: Connect) -> None:
    with scripted(lambda _: 10) as api:
        api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=Script(end="failed", error="no"))
        api.models[FALLBACK] = ScriptedModel(name=FALLBACK, official=True, script=taking(lambda _: 1))
        job = Job(MODEL, fallback=(Fallback(FALLBACK),))
        options: dict[str, Any] = {"job": job, "plan": make_plan(job), "prices": {"": "0.01/run"}, "concurrency": 1}
        async with connect(api) as context:
            with pytest.raises(JobError, match=f"the price of {FALLBACK} is not known: give --price {FALLBACK}=PRICE"):
                await run(make(context, "1", **options), rows(5))
            assert api.created == 0
            options["prices"] = {"": "0.01/run", FALLBACK: "0.03/run"}
            drive = make(context, "0.1", **options)
            found = await run(drive, rows(5))
    assert [str(result.cost) for result in found] == ["0.03", "0.03"]
    assert [str(each.cost) for result in found for each in result.earlier] == ["0.01", "0.01"]
    assert drive.stopped.startswith("$0.09 are spent, and one more costs about $0.03: the limit is $0.10")
    assert [prediction.model for prediction in api.predictions] == [MODEL, FALLBACK] * 2 + [MODEL]


@pytest.mark.parametrize(
    ("table", "spent"), [(f'[models]\n"{FALLBACK}" = "0.03/run"', "$0.06"), ("", "$0.02")], ids=["known", "unknown"]
)
async def test_predictions_of_an_earlier_runs_model_count_with_that_models_price_from_the_tables(
    table: str, spent: str, connect: Connect
) -> None:
    """If the tables lack the model, its predictions count like those of the batch's own model."""
    prices = Path(os.environ["XDG_CONFIG_HOME"]) / "replicate-job"
    prices.mkdir()
    (prices / "prices.toml").write_text(table)
    with scripted(lambda _: 1) as api:
        api.models[FALLBACK] = ScriptedModel(name=FALLBACK, official=True, script=taking(lambda _: 1))
        async with connect(api) as context:
            other = Resolved(parse_target(FALLBACK), f"/models/{FALLBACK}/predictions")
            assert len(await run(BatchRunner(context, _batch(job=Job(FALLBACK)), other, Tally()), rows(2))) == 2
            again = make(context, "0.08")
            found = await run(again, rows(12)[2:])
    assert context.reporter.told[0].startswith(f"{spent} of $0.08 are spent")  # type: ignore[attr-defined] # the tests' own
    assert again.stopped.startswith("$0.08 are spent, and one more costs about $0.01: the limit is $0.08")
    assert len(found) == (Decimal("0.08") - Decimal(spent[1:])) / Decimal("0.01")


async def test_a_deployment_has_the_price_of_the_hardware_that_the_api_names(connect: Connect) -> None:
    resolved = msgspec.structs.replace(
        RESOLVED, target=Target("deployment", "acme", "mine"), path="/deployments/acme/mine/predictions", hardware="cpu"
    )
    with scripted(lambda _: 10) as api:
        async with connect(api) as context:
            batch = Batch("b", Job("deployments/acme/mine"), lambda _: attrgetter("values"), max_cost=Decimal(1))
            drive = BatchRunner(context, batch, resolved, Tally())
            async for _ in drive.check(rows(3)):
                pass
    told = drive.estimates["deployments/acme/mine"].to_dict()
    assert (told["price"], told["cost_source"], told["estimate"]) == ("0.0001/second", "learned", None)
    assert (told["at_most"], told["excludes"]) == (Decimal("0.54"), "setup and idle time of its instances")


async def test_a_private_models_cost_says_that_idle_time_is_billed_too(connect: Connect) -> None:
    resolved = msgspec.structs.replace(RESOLVED, is_private=True)
    chosen = _batch()
    prices = Path(os.environ["XDG_CONFIG_HOME"]) / "replicate-job"
    prices.mkdir()
    (prices / "prices.toml").write_text(f'[models]\n"{MODEL}" = "cpu"')
    with scripted(lambda _: 10) as api:
        async with connect(api) as context:
            (result,) = await run(BatchRunner(context, chosen, resolved, Tally()), rows(1))
    assert result.charge
    assert (result.cost, result.cost_source) == (Decimal("0.001"), "user")
    assert result.charge.excludes == "setup and idle time of its instances"


class _World(msgspec.Struct):
    stopped: str = ""


@given(data=st.data(), together=st.integers(1, 16), limit=st.integers(1, 300), several=st.booleans())
async def test_in_any_order_of_ends_the_limit_is_exceeded_by_running_predictions_at_most(
    data: st.DataObject, together: int, limit: int, *, several: bool
) -> None:
    """The oracle is a plain sum: all admitted predictions at their final cost."""
    most = Decimal(limit) / 100
    costs = {"acme/dear": _by_second("0.01"), **({"acme/cheap": _by_second("0.005")} if several else {})}
    cost, models = Cost(most, costs), list(costs)
    world, running, admitted, paid = _World(), dict[str, tuple[str, int]](), 0, Decimal(0)

    def stop(reason: str) -> None:
        world.stopped = reason
        budget.cancel()

    budget = Budget([cost], Tally(), stop)
    while not world.stopped and admitted < 60:
        key, model = f"k{admitted}", data.draw(st.sampled_from(models))
        waiting = asyncio.create_task(budget.enter(key, Job(model), creates=True))
        while not waiting.done():
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if not waiting.done() or len(running) >= together:
                paid += _end(data, budget, running)
        if waiting.cancelled():
            break
        running[key] = (model, data.draw(st.integers(1, 10)))
        admitted += 1
        if len(running) >= together:
            paid += _end(data, budget, running)
    while running:
        paid += _end(data, budget, running)
    assert paid <= cost.most + together * Decimal("0.1")
    assert cost.spent == paid
    assert cost.set_aside == 0


def _by_second(price: str) -> ModelCost:
    found = Price(parse_terms(f"{price}/second"), "user")
    return ModelCost(found, Forecast(found, None, "10s"), Learned())


def _end(data: st.DataObject, budget: Budget, running: dict[str, tuple[str, int]]) -> Decimal:
    key = data.draw(st.sampled_from(sorted(running)))
    model, seconds = running.pop(key)
    budget.settle(key, Result("id", "succeeded", "m", {}, metrics={"predict_time": seconds}))
    return seconds * Decimal("0.005" if model == "acme/cheap" else "0.01")

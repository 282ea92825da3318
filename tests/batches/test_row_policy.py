"""Rows of a batch with further attempts, also after the batch ended between two attempts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replicate_job.batches.progress import Tally
from replicate_job.batches.results.record import encode, read_records, to_record
from replicate_job.batches.results.summary import Summary
from replicate_job.batches.rows import Row
from replicate_job.batches.runner import BatchRunner
from replicate_job.batches.spec import Batch
from replicate_job.flow.context import Context
from replicate_job.flow.plan import make_plan
from replicate_job.flow.resolved import Resolved
from replicate_job.job import Fallback, Job, Result
from replicate_job.testing import Script, ScriptedAPI, ScriptedModel, openapi_schema
from replicate_job.wire.target import Target

Connect = Callable[..., AbstractAsyncContextManager[Context]]
SCHEMA = openapi_schema({"n": {"type": "integer"}}, {"type": "string"})
OTHER = openapi_schema({"count": {"type": "integer", "maximum": 90}}, {"type": "string"})
RESOLVED = Resolved(Target("model", "acme", "first"), "/models/acme/first/predictions", schema=SCHEMA)
JOB = Job("acme/first")
BOTH = msgspec.structs.replace(JOB, fallback=(Fallback("acme/second", {"n": "count"}),))
INTERRUPTED = Script(end="failed", error="Prediction interrupted; please retry (code: PA)", duration=0, boot=0)
REFUSED = Script(end="failed", error="flagged as sensitive (E005)", duration=0, boot=0)
BROKEN = Script(end="failed", error="no", duration=0, boot=0, overrides={"metrics": {"predict_time": 4.0}})
WORDS = Script(output="words", duration=0, boot=0)


@pytest.fixture(autouse=True)
def _models(api: ScriptedAPI) -> None:
    for name, schema in {"acme/first": SCHEMA, "acme/second": OTHER}.items():
        api.models[name] = ScriptedModel(name=name, official=True, schema=schema, script=WORDS)


def make(context: Context, job: Job = JOB, *, plan: dict[str, Any] | None = None, **options: Any) -> BatchRunner:
    chosen: dict[str, Any] = {"id": "batch", "job": job, "read": lambda _: attrgetter("values")} | options
    return BatchRunner(context, Batch(**chosen, plan=make_plan(job, **(plan or {}))), RESOLVED, Tally())


def rows(*numbers: int) -> list[Row]:
    return [Row(line, {"n": number}) for line, number in enumerate(numbers, start=1)]


async def run(runner: BatchRunner, given: Iterable[Row]) -> list[Result]:
    found = [result async for some in runner.replay(given) for result in some]
    async with aclosing(runner.run(given)) as results:
        async for some in results:
            found += some
    return sorted(found, key=lambda result: result.line)


def statuses(result: Result) -> list[str]:
    return [each.status for each in (*result.earlier, result)]


async def test_each_row_has_its_own_attempts_and_each_attempt_is_a_job_in_the_journal(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    api.next(INTERRUPTED, INTERRUPTED, WORDS)
    async with connect(api, clock=fast) as context:
        [first] = await run(make(context, plan={"retries": 3}), rows(1))
        api.next(REFUSED)
        _, second = await run(make(context, plan={"retries": 3}), rows(1, 2))
        keys = [each.key for each in (*first.earlier, first)]
        entries = await context.journal.look_up(keys)
    name = first.key.partition("/")[2]
    assert keys == [f"batch/{name}", f"batch~2/{name}", f"batch~3/{name}"]
    assert {entry.state for entry in entries.values()} == {"collected"}
    assert [statuses(first), statuses(second)] == [["failed", "failed", "succeeded"], ["failed"]]
    assert len(api.predictions) == 4


async def test_a_batch_that_ended_between_two_attempts_resumes_with_the_next_one(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    api.next(INTERRUPTED, INTERRUPTED)
    async with connect(api, clock=fast) as context:
        await run(make(context), rows(1))
        await run(make(context, plan={"retries": 1}), rows(1))
        [result] = await run(make(context, plan={"retries": 2}), rows(1))
        asked = api.created
        [again] = await run(make(context, plan={"retries": 2}), rows(1))
    assert statuses(result) == ["failed", "failed", "succeeded"]
    assert again == result
    assert (asked, api.created) == (3, 3)


async def test_a_fallback_runs_the_rows_that_failed_on_the_first_model(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    api.next(BROKEN, BROKEN, WORDS)
    async with connect(api, clock=fast) as context:
        runner = make(context, BOTH, plan={"retries": 1})
        [result] = await run(runner, rows(7))
        [again] = await run(make(context, BOTH, plan={"retries": 1}), rows(7))
    assert (result.model, result.input) == ("acme/second", {"count": 7})
    assert [each.model for each in result.earlier] == ["acme/first", "acme/first"]
    assert again == result
    assert runner.tally.predict_time >= 8
    assert len(api.predictions) == 3


async def test_a_row_that_does_not_fit_the_fallback_has_a_problem_before_it_is_paid_for(
    api: ScriptedAPI, connect: Connect
) -> None:
    async with connect(api) as context:
        good, bad = await run(make(context, BOTH), rows(1, 91))
        runner = make(context, BOTH, id="other")
        failures = [result async for some in runner.check(rows(1, 91)) for result in some]
    assert (good.status, bad.status) == ("succeeded", "error")
    assert "acme/second: count: 91" in bad.problem
    assert [failure.line for failure in failures] == [2]
    assert api.created == 1


async def test_after_all_attempts_have_failed_retry_failed_starts_with_the_first_model_again(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    api.next(BROKEN, BROKEN, WORDS)
    async with connect(api, clock=fast) as context:
        await run(make(context, BOTH), rows(1))
        [result] = await run(make(context, BOTH, retry_failed=True), rows(1))
    assert [each.model for each in (*result.earlier, result)] == ["acme/first", "acme/second", "acme/first"]
    assert result.status == "succeeded"


async def test_attempts_count_toward_the_limit_and_an_attempt_beyond_it_waits_for_the_next_run(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    api.next(*[BROKEN] * 4)
    async with connect(api, clock=fast) as context:
        runner = make(context, plan={"retries": 9}, max_predict_time=10)
        found = await run(runner, rows(1))
        assert (found, api.created) == ([], 3)
        assert "12 s of predict time are spent" in runner.stopped
        again = make(context, plan={"retries": 9}, max_predict_time=10)
        assert await run(again, rows(1)) == []
        assert api.created <= 4
        [result] = await run(make(context, plan={"retries": 9}), rows(1))
    assert result.status == "succeeded"
    assert Counter(statuses(result))["failed"] == 4


async def test_an_uncertain_row_is_not_retried(connect: Connect) -> None:
    with ScriptedAPI(faults="list:503=1") as api:
        api.models["acme/first"] = ScriptedModel(name="acme/first", official=True, schema=SCHEMA)
        api.faults.next("create", "drop-after")
        async with connect(api, settle=0, listing=0.2) as context:
            [result] = await run(make(context, plan={"retries": 3}), rows(1))
        assert (result.status, api.count("create")) == ("error", 1)


async def test_attempts_add_up_in_the_record_and_in_the_summary(
    api: ScriptedAPI, connect: Connect, fast: Any, tmp_path: Path
) -> None:
    api.next(BROKEN, BROKEN, WORDS)
    async with connect(api, clock=fast) as context:
        [result] = await run(make(context, BOTH, plan={"retries": 1}), rows(7))
    (tmp_path / "results.jsonl").write_bytes(encode([to_record(result, tmp_path)]))
    [read] = read_records(tmp_path / "results.jsonl")
    assert [(each.model, each.error) for each in read.earlier] == [("acme/first", "no")] * 2
    for each in (result, read):
        summary = Summary()
        summary.add(each)
        assert summary.predict_time >= 8
        assert (summary.statuses, summary.retried, summary.earlier) == ({"succeeded": 1}, 1, 2)
    assert "2 attempts came before the last of 1 row" in "\n".join(summary.lines())

"""A batch: every row is created once, whatever breaks, and the next run continues it."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.asked import asked

from replicate_job.batches.progress import Tally
from replicate_job.batches.row_job import RowJobs
from replicate_job.batches.rows import Row
from replicate_job.batches.runner import BatchRunner, RowSource
from replicate_job.batches.spec import Batch, batch_id
from replicate_job.errors import AuthenticationError, JobError, OutputError, PaymentRequiredError
from replicate_job.flow.context import Context, Reporter, moment
from replicate_job.flow.prepare import write_request
from replicate_job.flow.resolved import Resolved
from replicate_job.job import Job, Result
from replicate_job.testing import OutputFile, Script, ScriptedAPI, openapi_schema
from replicate_job.testing.models import ScriptedModel
from replicate_job.wire.target import Target

Connect = Callable[..., AbstractAsyncContextManager[Context]]
JOB = Job("acme/private")
RESOLVED = Resolved(Target("model", "acme", "private"), "/models/acme/private/predictions")
FILES = Resolved(RESOLVED.target, RESOLVED.path, schema=openapi_schema({"n": {}}, {"type": "string", "format": "uri"}))
INSTANT = Script(duration=0, boot=0, output="done")
SLOW = Script(duration=1.5, output="done")
FAULTS = "create:drop-after=0.2,create:drop-before=0.1,create:500-after=0.1,get:503=0.05,list:503=0.05"


def make(context: Context, *, resolved: Resolved = RESOLVED, **options: Any) -> BatchRunner:
    chosen: dict[str, Any] = {"id": "batch", "job": JOB, "read": lambda _: attrgetter("values")} | options
    batch = Batch(**chosen)
    return BatchRunner(context, batch, resolved, Tally())


def rows(count: int, first: int = 1) -> list[Row]:
    return [Row(line, {"n": line}) for line in range(first, first + count)]


async def run(drive: BatchRunner, given: Iterable[Row], *, most: float = math.inf) -> list[Result]:
    """The results in the order of their lines; left early once there are ``most``."""
    found: list[Result] = []
    async with aclosing(drive.run(given)) as results:
        async for some in results:
            found += some
            if len(found) >= most:
                break
    return sorted(found, key=lambda result: result.line)


async def gather(drive: BatchRunner, given: RowSource, found: list[Result]) -> None:
    """Put results into ``found`` as they come, until the batch ends or raises an error."""
    async with aclosing(drive.run(given)) as results:
        async for some in results:
            found += some


async def replay(drive: BatchRunner, given: Iterable[Row]) -> list[Result]:
    return [result async for some in drive.replay(given) for result in some]


def lines(results: Iterable[Result]) -> list[int]:
    return [result.line for result in results]


async def wait_for(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what changes is on the server's side
            await asyncio.sleep(0.005)


def check_once(api: ScriptedAPI, results: list[Result], count: int) -> None:
    """Every line has its own prediction with its own input, and no other prediction exists."""
    made = {prediction.id: prediction.input for prediction in api.predictions}
    assert lines(results) == list(range(1, count + 1))
    assert len(made) == count
    assert {result.prediction_id for result in results} == made.keys()
    assert {result.status for result in results} == {"succeeded"}
    assert [made[result.prediction_id] for result in results] == [result.input for result in results]


@pytest.mark.long
@pytest.mark.parametrize(
    ("values", "script"),
    [
        (lambda line: {"n": line}, INSTANT),
        (lambda line: {"n": line}, SLOW),
        (lambda _: {"prompt": "the same"}, SLOW),
    ],
    ids=["instant", "slow", "identical"],
)
async def test_every_row_is_created_once_though_40_of_100_create_requests_break(
    connect: Connect, values: Callable[[int], dict[str, Any]], script: Script
) -> None:
    given = [Row(line, values(line)) for line in range(1, 301)]
    with ScriptedAPI(script=script, faults=FAULTS, seed=3, list_lag=(0, 2)) as api:
        async with connect(api, settle=3) as context:
            results = await run(drive := make(context), given)
            entries = await context.journal.look_up([result.key for result in results])
        struck = sum(request.fault.endswith("-after") for request in api.requests)
        check_once(api, results, 300)
    assert [result.input for result in results] == [row.values for row in given]
    assert {entry.state for entry in entries.values()} == {"collected"}
    assert len(entries) == 300
    assert (drive.tally.succeeded, drive.tally.created, drive.tally.running, drive.tally.waiting) == (300, 300, 0, 0)
    assert struck > 60  # the faults did strike


@pytest.mark.long
async def test_a_batch_that_is_closed_early_several_times_resumes_each_time(connect: Connect) -> None:
    given = rows(120)
    with ScriptedAPI(faults=FAULTS, seed=5, list_lag=(0, 0.3)) as api:
        api.next(*[INSTANT, Script(duration=1, output="done")] * 100)
        for left_at in (1, 30, 70):
            async with connect(api, settle=0.7) as context:
                drive = make(context)
                found = await run(drive, given, most=left_at)
                assert drive.detached["unknown"] == 0
                assert len(found) < 120
        async with connect(api, settle=0.7) as context:
            drive = make(context)
            before = await replay(drive, given)
            results = before + await run(drive, given)
        check_once(api, sorted(results, key=lambda result: result.line), 120)
    assert before


async def test_a_closed_batch_reports_running_predictions_and_the_next_run_adopts_them(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=math.inf, output="x")) as api:
        api.faults.next("create", *[None] * 5, "hang-after")
        async with connect(api) as context:
            drive = make(context, concurrency=6)
            task = asyncio.create_task(run(drive, rows(20)))
            await wait_for(lambda: len(api.predictions) == 6)
            task.cancel()
            await asyncio.wait([task])
            assert drive.detached == Counter(running=6)
            for prediction in api.predictions:
                prediction.finish()
            api.next(*[INSTANT] * 14)
            results = await run(make(context), rows(20))
        check_once(api, results, 20)


async def test_a_batch_that_is_closed_while_rows_start_ends_at_once(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=math.inf)) as api:
        async with connect(api) as context:
            drive = make(context)
            task = asyncio.create_task(run(drive, rows(200)))
            async with asyncio.timeout(10):
                while drive.tally.running < 50:  # noqa: ASYNC110 - their claims are on the way to the journal
                    await asyncio.sleep(0)
            task.cancel()
            async with asyncio.timeout(5):
                await asyncio.wait([task])
            assert drive.detached["unknown"] == 0


async def test_a_closed_batch_cancels_running_predictions_on_request(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=math.inf)) as api:
        async with connect(api) as context:
            drive = make(context, concurrency=4, cancels=lambda: True)
            task = asyncio.create_task(run(drive, rows(9)))
            await wait_for(lambda: len(api.predictions) == 4)
            task.cancel()
            await asyncio.wait([task])
        assert drive.detached == Counter(canceled=4)
        assert {prediction.status for prediction in api.predictions} == {"canceled"}


@pytest.mark.long
@pytest.mark.parametrize("script", [INSTANT, Script(duration=1, output="done")], ids=["instant", "slow"])
async def test_two_runs_of_one_batch_at_the_same_time_create_no_row_twice_and_both_get_every_row(
    connect: Connect, script: Script
) -> None:
    with ScriptedAPI(script=script, faults="create:drop-after=0.1", seed=1) as api:
        async with connect(api, settle=0.5) as one, connect(api, settle=0.5) as other:
            found = await asyncio.gather(run(make(one), rows(150)), run(make(other), reversed(rows(150))))
        for results in found:
            check_once(api, results, 150)


async def test_the_next_run_creates_only_the_appended_rows(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        await run(make(context), rows(5))
        results = await run(drive := make(context), rows(8))
    check_once(api, results, 8)
    assert api.count("create") == 8
    assert (drive.tally.stored, drive.tally.created, drive.tally.succeeded) == (5, 3, 8)


async def test_a_replay_yields_the_same_results_in_the_order_of_the_rows_without_a_request(
    connect: Connect, tmp_path: Path
) -> None:
    scripts = [
        Script(duration=0.2, output=OutputFile(content=b"x", name="x.txt"), logs="a\n"),
        Script(end="failed", error="bad luck"),
        INSTANT,
        Script(end="canceled"),
    ]
    with ScriptedAPI() as api:
        api.next(*scripts * 5)
        async with connect(api) as context:
            ran = await run(make(context, resolved=FILES, save=str(tmp_path)), rows(20))
            before = len(asked(api))
            replayed = await replay(drive := make(context, resolved=FILES, save=str(tmp_path)), rows(40))
            assert len(asked(api)) == before
            assert replayed == ran
            assert lines(replayed) == list(range(1, 21))
            assert drive.tally.stored == drive.tally.over == 20
            rest = await run(drive, rows(40))
        assert lines(rest) == list(range(21, 41))
        assert len({result.prediction_id for result in replayed + rest}) == api.created == 40


async def test_a_replay_leaves_out_unfinished_rows(connect: Connect) -> None:
    with ScriptedAPI(script=INSTANT) as api:
        api.next(Script(duration=math.inf))
        async with connect(api) as context:
            found = await run(make(context), rows(3), most=2)
            assert await replay(make(context), rows(3)) == found
    assert lines(found) == [2, 3]


async def test_with_a_limit_only_the_first_rows_are_taken(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        assert lines(await run(make(context, limit=3), rows(600))) == [1, 2, 3]
        assert lines(await run(make(context, limit=300), rows(600))) == list(range(1, 301))
        assert lines(await replay(make(context, limit=2), rows(600))) == [1, 2]
    assert api.created == 300


async def test_no_more_rows_run_at_the_same_time_than_the_concurrency_allows(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=0.1)) as api:
        async with connect(api) as context:
            await run(make(context, concurrency=5), rows(40))
        moments = [(each.created, 1) for each in api.predictions] + [(each.ended, -1) for each in api.predictions]
    running = most = 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    assert most == 5


SCHEMA = openapi_schema({"text": {"type": "string"}, "n": {"type": "integer"}}, required=["text"])
STRICT = Resolved(RESOLVED.target, RESOLVED.path, schema=SCHEMA)


async def test_a_bad_row_has_an_error_with_its_line_and_causes_no_request(api: ScriptedAPI, connect: Connect) -> None:
    given = [
        Row(1, {"text": "a"}),
        Row(2, {}, "it is no JSON"),
        Row(4, {"n": 1}),
        Row(5, {"text": "b", "n": "x"}),
        Row(6, {"text": "c\ud800"}),
    ]
    async with connect(api) as context:
        drive = make(context, resolved=STRICT)
        results = await run(drive, given)
    assert [(result.line, result.status) for result in results] == [
        (1, "succeeded"), (2, "error"), (4, "error"), (5, "error"), (6, "error"),
    ]  # fmt: skip
    assert [result.problem for result in results[:3]] == [
        "", "it is no JSON", "the input does not fit acme/private: text is required",
    ]  # fmt: skip
    assert api.created == 1
    assert (drive.tally.wrong, drive.tally.succeeded) == (4, 1)


async def test_a_check_counts_the_predictions_that_a_run_would_create_and_creates_nothing(
    api: ScriptedAPI, connect: Connect
) -> None:
    given = [Row(1, {"text": "a"}), Row(2, {"n": 1}), Row(3, {"text": "b"})]
    async with connect(api) as context:
        await run(make(context, resolved=STRICT), given[:1])
        drive = make(context, resolved=STRICT)
        failures = [result async for some in drive.check(given) for result in some]
    assert lines(failures) == [2]
    assert (drive.tally.read, drive.tally.stored, drive.tally.waiting, drive.tally.wrong) == (3, 1, 1, 1)
    assert api.created == 1


async def test_a_row_that_the_api_refuses_has_an_error_and_is_sent_again_by_the_next_run(
    api: ScriptedAPI, connect: Connect
) -> None:
    api.faults.next("create", None, "422")
    async with connect(api) as context:
        results = await run(make(context, concurrency=1), rows(3))
        assert [result.status for result in results] == ["succeeded", "error", "succeeded"]
        assert "422" in results[1].problem
        assert lines(await replay(make(context), rows(3))) == [1, 3]
        check_once(api, await run(make(context), rows(3)), 3)


@pytest.mark.long
async def test_after_a_402_running_rows_finish_and_the_next_run_creates_the_remaining_rows(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=1, output="done")) as api:
        api.faults.next("create", *[None] * 5, *["402"] * 1000)
        async with connect(api) as context:
            drive, found = make(context, concurrency=8), list[Result]()
            with pytest.raises(PaymentRequiredError, match="add credit"):
                await gather(drive, rows(50), found)
            assert {result.status for result in found} == {"succeeded"}
            assert len(found) == api.created == 5
            assert "402" in drive.stopped
            assert drive.detached == Counter()
            assert api.count("create") <= 5 + 8
            api.faults.clear()
            check_once(api, await run(make(context), rows(50)), 50)


@pytest.mark.long
async def test_a_401_ends_the_batch_and_loses_nothing(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=math.inf, output="done")) as api:
        async with connect(api) as context:
            drive = make(context)
            task = asyncio.create_task(run(drive, rows(80)))
            await wait_for(lambda: api.created == 80 and api.count("list") > 1)
            for operation in ("create", "get", "list"):
                api.faults.next(operation, *["401"] * 1000)
            for prediction in api.predictions:
                prediction.finish()
            with pytest.raises(AuthenticationError, match="401"):
                await asyncio.wait_for(task, 20)
            api.faults.clear()
            check_once(api, await run(make(context), rows(80)), 80)


async def test_fail_fast_creates_nothing_after_the_first_failure(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=0.3, output="done")) as api:
        api.next(INSTANT, Script(end="failed", duration=0, boot=0))
        async with connect(api) as context:
            drive = make(context, concurrency=4, fail_fast=True)
            results = await run(drive, rows(100))
    assert drive.stopped == "line 2 failed, and nothing is created after the first failure"
    assert lines(results) == list(range(1, api.created + 1))
    assert api.created <= 6


async def test_a_stopped_batch_creates_no_row_that_waits_for_another_of_the_same_name(connect: Connect) -> None:
    with ScriptedAPI() as api:
        api.next(Script(end="failed", duration=0.1))
        given = [Row(line, {"n": 0 if line == 1 else 1, "id": 0 if line == 1 else 1}) for line in range(1, 5)]
        async with connect(api, rate=1) as context:
            for _ in range(5):
                await context.client.take_slot()  # the burst is spent: a create a second
            drive = make(context, fail_fast=True, id_column="id")
            results = await run(drive, given)
    assert drive.stopped
    assert (lines(results), api.created) == ([1], 1)


async def test_nothing_is_created_after_the_predict_time_limit_is_reached(connect: Connect) -> None:
    script = Script(duration=0.05, overrides={"metrics": {"predict_time": 10.0}})
    with ScriptedAPI(script=script) as api:
        async with connect(api) as context:
            drive = make(context, concurrency=1, max_predict_time=25)
            results = await run(drive, rows(10))
            assert lines(results) == [1, 2, 3]
            assert drive.stopped == "30 s of predict time are spent, and 25 s is the limit"
            again = make(context, concurrency=1, max_predict_time=45)
            assert lines(await run(again, rows(10))) == [1, 2, 3, 4, 5]
    assert api.created == 5


async def test_after_a_stop_running_predictions_are_waited_for_to_their_end(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=0.5, output="done")) as api:
        async with connect(api) as context:
            drive = make(context, concurrency=3)
            task = asyncio.create_task(run(drive, rows(50)))
            await wait_for(lambda: api.created == 3)
            drive.stop("enough")
            check_once(api, await task, 3)
    assert drive.stopped == "enough"


async def test_a_row_whose_create_request_has_an_unknown_outcome_is_an_error(connect: Connect) -> None:
    gone = Script(duration=0, overrides={"input": {}, "data_removed": True, "output": None})
    with ScriptedAPI(script=INSTANT) as api:
        api.next(gone)
        api.faults.next("create", "drop-after")
        async with connect(api) as context:
            results = await run(make(context, concurrency=1), rows(3))
    assert [result.status for result in results] == ["error", "succeeded", "succeeded"]
    assert "it is not known whether a prediction was created" in results[0].problem
    assert api.created == 3


async def test_a_row_with_expired_outputs_has_a_problem_and_is_not_run_again(connect: Connect, tmp_path: Path) -> None:
    with ScriptedAPI(script=Script(output=OutputFile(content=b"x", name="x.txt"))) as api:
        api.next(Script(output=OutputFile(content=b"x", name="x.txt", expires=0)))
        async with connect(api) as context:
            drive = make(context, concurrency=1, resolved=FILES, save=str(tmp_path))
            results = await run(drive, rows(3))
            assert [(result.status, bool(result.problem)) for result in results] == [
                ("succeeded", True), ("succeeded", False), ("succeeded", False),
            ]  # fmt: skip
            assert (drive.tally.failed, drive.tally.succeeded, drive.tally.saved) == (1, 2, 2)
            assert await replay(make(context, resolved=FILES, save=str(tmp_path)), rows(3)) == results


async def test_a_failed_download_is_a_problem_of_its_row_and_retried_by_the_next_run(
    connect: Connect, tmp_path: Path
) -> None:
    with ScriptedAPI(script=Script(output=OutputFile(content=b"x", name="x.txt"))) as api:
        api.faults.next("download", "403")
        async with connect(api) as context:
            results = await run(make(context, concurrency=1, resolved=FILES, save=str(tmp_path)), rows(3))
            assert [bool(result.problem) for result in results] == [True, False, False]
            results = await run(make(context, resolved=FILES, save=str(tmp_path)), rows(3))
            assert [len(result.files) for result in results] == [1, 1, 1]
        assert api.created == 3


async def test_a_folder_that_takes_no_files_ends_the_batch_and_loses_nothing(connect: Connect, tmp_path: Path) -> None:
    with ScriptedAPI(script=Script(output=OutputFile(content=b"x", name="x.txt"))) as api:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "0000").write_text("in the way")
        async with connect(api) as context:
            with pytest.raises(OutputError, match="cannot be made"):
                await run(make(context, concurrency=2, resolved=FILES, save=str(tmp_path / "out")), rows(50))
            assert api.created < 10
            (tmp_path / "out" / "0000").unlink()
            results = await run(make(context, resolved=FILES, save=str(tmp_path / "out")), rows(50))
            check_once(api, results, 50)
        assert [path.parent.parent.parent for result in results for path in result.files] == [tmp_path / "out"] * 50


async def test_nothing_is_created_if_outputs_cannot_be_saved(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("in the way")
    async with connect(api) as context:
        with pytest.raises(JobError, match="outputs cannot be kept"):
            await run(make(context, save=str(tmp_path / "out" / "deeper")), rows(3))
    assert api.created == 0


async def test_an_iterable_that_raises_ends_the_batch_after_the_rows_that_it_yielded(
    api: ScriptedAPI, connect: Connect
) -> None:
    def broken() -> Iterator[Row]:
        yield from rows(7)
        raise OSError("the pipe broke")

    found: list[Result] = []
    async with connect(api) as context:
        with pytest.raises(OSError, match="the pipe broke"):
            await gather(make(context), broken(), found)
    assert sorted(lines(found)) == list(range(1, 8))


async def test_rows_may_come_from_an_async_iterable(api: ScriptedAPI, connect: Connect) -> None:
    async def come() -> AsyncIterator[Row]:
        for row in rows(5):
            await asyncio.sleep(0)
            yield row

    found: list[Result] = []
    async with connect(api) as context:
        await gather(make(context), come(), found)
    check_once(api, sorted(found, key=lambda result: result.line), 5)


async def test_each_run_with_retry_failed_creates_one_more_prediction_for_each_failed_row(connect: Connect) -> None:
    bad = Script(end="failed", duration=0, boot=0, error="bad luck")
    with ScriptedAPI(script=INSTANT) as api:
        api.next(INSTANT, bad, bad, INSTANT)
        async with connect(api) as context:
            first = await run(make(context, concurrency=1), rows(4))
            assert [result.status for result in first] == ["succeeded", "failed", "failed", "succeeded"]
            assert await run(make(context), rows(4)) == first
            api.next(INSTANT, bad)
            second = await run(make(context, concurrency=1, retry_failed=True), rows(4))
            assert [result.status for result in second] == ["succeeded", "succeeded", "failed", "succeeded"]
            assert await replay(make(context), rows(4)) == second
            assert lines(await replay(make(context, retry_failed=True), rows(4))) == [1, 2, 4]
            third = await run(make(context, retry_failed=True), rows(4))
            assert {result.status for result in third} == {"succeeded"}
            assert await replay(make(context), rows(4)) == third
    assert api.created == 7
    assert third[2].key.startswith("batch~3/3-")


async def test_a_retry_that_the_api_refuses_leaves_the_result_of_the_attempt_before_it(connect: Connect) -> None:
    with ScriptedAPI(script=INSTANT) as api:
        api.next(Script(end="failed"))
        async with connect(api) as context:
            first = await run(make(context), rows(1))
            api.faults.next("create", "422")
            assert [result.status for result in await run(make(context, retry_failed=True), rows(1))] == ["error"]
            assert await replay(make(context), rows(1)) == first
            again = await run(make(context, retry_failed=True), rows(1))
    assert [(result.status, result.key.partition("/")[0]) for result in again] == [("succeeded", "batch~2")]
    assert api.created == 2


async def test_rows_with_an_id_column_may_change_their_lines(api: ScriptedAPI, connect: Connect) -> None:
    given = [Row(line, {"n": line, "id": f"row {line}"}) for line in range(1, 6)]
    moved = [Row(6 - row.line, row.values) for row in reversed(given)]
    async with connect(api) as context:
        first = await run(make(context, id_column="id"), given)
        again = await run(make(context, id_column="id"), moved)
    assert [result.prediction_id for result in again] == [result.prediction_id for result in reversed(first)]
    assert lines(again) == [1, 2, 3, 4, 5]
    assert api.created == 5


@pytest.mark.parametrize("concurrency", [1, 10], ids=["one after the other", "together"])
async def test_two_lines_with_the_same_name_and_input_share_a_prediction(connect: Connect, concurrency: int) -> None:
    with ScriptedAPI(script=Script(duration=0.1, output="done")) as api:
        given = [Row(line, {"n": 1, "id": "a"}) for line in (1, 2, 3)]
        async with connect(api) as context:
            drive = make(context, id_column="id", concurrency=concurrency)
            results = await run(drive, given)
            assert await replay(make(context, id_column="id"), given) == results
    assert lines(results) == [1, 2, 3]
    assert {result.status for result in results} == {"succeeded"}
    assert len({result.prediction_id for result in results}) == api.created == drive.tally.created == 1


@pytest.mark.parametrize("concurrency", [1, 10], ids=["one after the other", "together"])
async def test_a_line_with_the_name_of_another_line_and_another_input_is_an_error(
    connect: Connect, concurrency: int
) -> None:
    with ScriptedAPI(script=Script(duration=0.1, output="done")) as api:
        given = [Row(1, {"n": 1, "id": "a"}), Row(2, {"n": 2, "id": "a"}), Row(3, {"n": 1, "id": "a"})]
        async with connect(api) as context:
            for _ in range(2):
                results = await run(make(context, id_column="id", concurrency=concurrency), given)
                assert [result.status for result in results] == ["succeeded", "error", "succeeded"]
                assert "has run with another input" in results[1].problem
    assert api.created == 1


async def test_two_failed_lines_of_one_name_share_one_retry(connect: Connect) -> None:
    with ScriptedAPI(script=Script(end="failed", duration=0.1)) as api:
        given = [Row(line, {"n": 1, "id": "a"}) for line in (1, 2)]
        async with connect(api) as context:
            await run(make(context, id_column="id"), given)
            results = await run(make(context, id_column="id", retry_failed=True), given)
    assert [result.status for result in results] == ["failed", "failed"]
    assert api.created == 2


def test_the_name_of_a_batch_depends_on_its_api_and_job_and_file() -> None:
    base = batch_id("https://api", JOB, Path("/a/prompts.jsonl"))
    assert base == batch_id("https://api", Job("acme/private", poll_interval=3), Path("/a/prompts.jsonl"))
    others = {
        batch_id("local", JOB, Path("/a/prompts.jsonl")),
        batch_id("https://api", Job("acme/other"), Path("/a/prompts.jsonl")),
        batch_id("https://api", Job("acme/private", {"seed": 1}), Path("/a/prompts.jsonl")),
        batch_id("https://api", JOB, Path("/b/prompts.jsonl")),
    }
    assert base.startswith("prompts-")
    assert len(others | {base}) == 5


@pytest.mark.long
async def test_a_slow_consumer_limits_how_many_rows_are_started(connect: Connect) -> None:
    taken = 0

    def endless() -> Iterator[Row]:
        nonlocal taken
        for row in rows(100_000):
            taken += 1
            yield row

    with ScriptedAPI(script=INSTANT) as api:
        async with connect(api) as context, aclosing(make(context, concurrency=4).run(endless())) as results:
            assert await anext(results)
            seen = -1
            while seen < (seen := api.created):  # noqa: ASYNC110 - what changes is on the server's side
                await asyncio.sleep(1)
            assert seen <= taken <= seen + 4 * 256
            assert api.created < 3000


async def test_a_batch_cannot_be_resumed_at_another_api(api: ScriptedAPI, connect: Connect) -> None:
    with ScriptedAPI() as elsewhere:
        async with connect(api) as context:
            await run(make(context), rows(2))
        async with connect(elsewhere) as context:
            with pytest.raises(JobError, match="choose another key"):
                await run(make(context), rows(2))
        assert elsewhere.created == 0


async def test_an_uncertain_row_gets_a_new_prediction_only_with_retry_uncertain(
    api: ScriptedAPI, connect: Connect
) -> None:
    async with connect(api, settle=0.1) as context:
        request = write_request(Job("acme/private", {"n": 1}), RESOLVED, {"n": 1})
        [item] = [RowJobs(JOB, RESOLVED, lambda _: attrgetter("values"), None).make(row) for row in rows(1)]
        claim = await context.journal.claim(
            f"batch/{item.name}", context.api, item.job, None, request=request, sent=moment(context), batch="batch"
        )
        await context.journal.uncertain(claim, "several could be it")
        await context.journal.release(claim)
        for _ in range(2):  # with this very request, and no job to tell them apart by
            await context.client.create_prediction(request.path, request.body, await context.client.take_slot())
        [unknown] = await run(make(context), rows(1))
        assert "with --retry-uncertain (in Python retry_uncertain=True) makes a new one" in unknown.problem
        assert api.created == 2
        [unknown] = await run(make(context, retry_failed=True), rows(1))
        assert (unknown.status, api.created) == ("error", 2)
        [made] = await run(make(context, retry_uncertain=True), rows(1))
    assert made.status == "succeeded"
    assert api.created == 3


@pytest.mark.long
async def test_any_exception_of_the_poller_ends_the_batch(
    connect: Connect, breaking: Callable[[str], Reporter]
) -> None:
    with ScriptedAPI(script=Script(duration=3, output="done")) as api:
        async with connect(api) as context, asyncio.timeout(20):
            api.faults.next("list", "503")
            api.faults.next("get", "503")
            drive = make(msgspec.structs.replace(context, reporter=breaking("note")))
            with pytest.raises(ZeroDivisionError):
                await run(drive, rows(100))


async def test_a_row_that_is_too_large_for_the_journal_is_an_error_of_that_row(
    api: ScriptedAPI, connect: Connect
) -> None:
    async with connect(api) as context:
        await context.journal._store.run(  # type: ignore[attr-defined]  # noqa: SLF001 - the limit of a gigabyte takes too long to reach
            lambda db: db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 50_000)
        )
        given = [*rows(2), Row(3, {"n": "x" * 60_000}), *rows(2, first=4)]
        results = await run(make(context), given)
    assert [result.status for result in results] == ["succeeded", "succeeded", "error", "succeeded", "succeeded"]
    assert "the job is too large for the journal" in results[2].problem
    assert len(api.predictions) == 4


STRANGE = (
    {"created_at": "0001-01-01T00:00:00Z"},
    {"created_at": "9999-12-31T23:59:59.999999Z"},
    {"created_at": "0001-01-01T00:00:00+14:00"},
    {"created_at": "9999-12-31T23:59:59-12:00", "completed_at": "9999-12-31T23:59:59-12:00"},
    {"created_at": "yesterday"},
)


@pytest.mark.long
async def test_predictions_with_extreme_times_in_the_list_delay_no_row(connect: Connect) -> None:
    def script(given: dict[str, Any]) -> Script:
        """The last rows are created without a blocking wait, and polled through the list."""
        strange = STRANGE[given["n"] % len(STRANGE)] if given["n"] > 70 else {}
        return Script(duration=3, output="done", overrides=strange)

    model = ScriptedModel(name="acme/private", official=True, script=script)
    with ScriptedAPI(model) as api:
        async with connect(api) as context, asyncio.timeout(30):
            results = await run(make(context), rows(85))
    check_once(api, results, 85)


async def test_a_response_that_is_nested_too_deep_fails_only_its_own_row(connect: Connect) -> None:
    def script(given: dict[str, Any]) -> Script:
        deep = msgspec.Raw(b"[" * given["n"] + b"]" * given["n"])
        return Script(duration=0, boot=0, output="done", overrides={"output": deep} if given["n"] > 10 else {})

    depths = [1, 800, 100_000, 2]
    with ScriptedAPI(ScriptedModel(name="acme/private", official=True, script=script)) as api:
        async with connect(api, listing=0.1) as context:
            results = await run(make(context), [Row(line, {"n": depth}) for line, depth in enumerate(depths, 1)])
    statuses = {depth: result.status for depth, result in zip(depths, results, strict=True)}
    assert len(api.predictions) == len(depths)
    assert {statuses[1], statuses[2], statuses[800]} == {"succeeded"}
    assert statuses[100_000] == "error"


UNREADABLE = ({"status": 5}, {"id": None}, {"output": msgspec.Raw(b"[" * 100_000 + b"]" * 100_000)})


@pytest.mark.long
@pytest.mark.parametrize("overrides", UNREADABLE, ids=["another type", "no id", "nested too deep"])
async def test_an_unreadable_prediction_in_the_list_delays_only_its_own_row(
    connect: Connect, overrides: dict[str, Any]
) -> None:
    with ScriptedAPI(script=Script(duration=3, output="done")) as api:
        async with connect(api) as context, asyncio.timeout(90):  # the last rows are watched in the list
            drive = make(context)
            running = asyncio.create_task(run(drive, rows(85), most=84))
            await asyncio.to_thread(api.wait_until, lambda: api.created == 85)
            poisoned = next(each for each in api.predictions if each.input == {"n": 80})
            poisoned.script = msgspec.structs.replace(poisoned.script, overrides=overrides)
            results = await running
    assert lines(results) == [line for line in range(1, 86) if line != 80]
    assert {result.status for result in results} == {"succeeded"}

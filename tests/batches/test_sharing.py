"""Rows that share one prediction because their inputs are equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from replicate_job.batches.progress import Tally
from replicate_job.batches.results.record import to_record
from replicate_job.batches.results.summary import Summary
from replicate_job.batches.rows import Row
from replicate_job.batches.runner import BatchRunner
from replicate_job.batches.spec import Batch
from replicate_job.flow.context import Context
from replicate_job.flow.plan import make_plan
from replicate_job.flow.resolved import Resolved
from replicate_job.job import Job, Result
from replicate_job.testing import OutputFile, Script, ScriptedAPI, openapi_schema
from replicate_job.wire.target import Target

Connect = Callable[..., AbstractAsyncContextManager[Context]]
JOB = Job("acme/private")
INPUTS = {"n": {"type": "integer"}, "image": {"type": "string", "format": "uri"}}
TEXT = Resolved(Target("model", "acme", "private"), "/models/acme/private/predictions")
FILES = Resolved(TEXT.target, TEXT.path, schema=openapi_schema(INPUTS, {"type": "string", "format": "uri"}))
WORDS = Script(output="words", duration=0, boot=0)
PICTURE = Script(output=OutputFile(content=b"\x89PNG\r\n", name="a.png"), duration=0, boot=0)
BROKEN = Script(end="failed", error="no", duration=0, boot=0)


def make(context: Context, *, resolved: Resolved = TEXT, **options: Any) -> BatchRunner:
    chosen: dict[str, Any] = {"id": "batch", "job": JOB, "read": lambda _: attrgetter("values"), "dedupe": True}
    return BatchRunner(context, Batch(**chosen | options), resolved, Tally())


def rows(*values: dict[str, Any]) -> list[Row]:
    return [Row(line, each) for line, each in enumerate(values, start=1)]


async def run(runner: BatchRunner, given: Iterable[Row], *, replay: bool = True) -> list[Result]:
    found = [result async for some in runner.replay(given) for result in some] if replay else []
    async with aclosing(runner.run(given)) as results:
        async for some in results:
            found += some
    return sorted(found, key=lambda result: result.line)


@pytest.mark.long
async def test_a_thousand_rows_with_a_hundred_different_inputs_share_a_hundred_predictions(
    connect: Connect, tmp_path: Path
) -> None:
    given = rows(*[{"n": line * 7 % 100} for line in range(1000)])
    with ScriptedAPI(script=PICTURE) as api:
        async with connect(api) as context:
            dry = make(context, resolved=FILES)
            assert [some async for some in dry.check(given) if some] == []
            runner = make(context, resolved=FILES, save=str(tmp_path / "out"))
            results = await run(runner, given)
            again = await run(make(context, resolved=FILES, save=str(tmp_path / "out")), given)
        assert (api.created, dry.tally.waiting) == (100, 100)
    assert [result.line for result in results] == list(range(1, 1001))
    assert all(path.is_file() for result in results for path in result.files)
    assert Counter(len(result.files) for result in results) == {1: 1000}
    assert Counter(result.reused for result in results) == {True: 900, False: 100}
    assert [result.input["n"] for result in results] == [line * 7 % 100 for line in range(1000)]
    assert again == results
    summary = Summary()
    for result in results:
        summary.add(result)
    assert (summary.rows, summary.reused, summary.files) == (1000, 900, 100)
    assert runner.tally.saved == 100


async def test_files_with_equal_contents_are_equal_inputs_even_if_their_paths_differ(
    api: ScriptedAPI, connect: Connect, tmp_path: Path
) -> None:
    paths = {name: tmp_path / name for name in ("a.png", "b.png", "c.png")}
    for name, path in paths.items():
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + (b"other" if name == "c.png" else b"same"))
    given = rows(*[{"image": path} for path in paths.values()])
    async with connect(api) as context:
        first = await run(make(context), given)
        again = await run(make(context), list(reversed(given)))  # the file of rows was sorted
    assert api.created == 2
    assert first[0].prediction_id == first[1].prediction_id != first[2].prediction_id
    assert [result.prediction_id for result in again] == [result.prediction_id for result in first]


async def test_rows_that_share_a_prediction_share_its_failure_and_one_retry(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    api.next(BROKEN, BROKEN, WORDS)
    given = rows({"n": 1}, {"n": 1}, {"n": 1})
    plan = make_plan(JOB, retries=1)
    async with connect(api, clock=fast) as context:
        failed = await run(make(context, plan=plan), given)
        results = await run(make(context, plan=plan, retry_failed=True), given)
    assert {result.status for result in failed} == {"failed"}
    assert {result.status for result in results} == {"succeeded"}
    assert (api.created, [len(result.earlier) for result in results]) == (3, [2, 0, 0])


async def test_without_dedupe_equal_rows_have_predictions_of_their_own(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        results = await run(make(context, dedupe=False), rows({"n": 1}, {"n": 1}))
    assert (api.created, [result.reused for result in results]) == (2, [False, False])


async def test_a_record_says_that_its_prediction_is_shared(api: ScriptedAPI, connect: Connect, tmp_path: Path) -> None:
    async with connect(api) as context:
        first, second = await run(make(context), rows({"n": 1}, {"n": 1.0}))
    assert "reused" not in to_record(first, tmp_path)
    assert to_record(second, tmp_path)["reused"] is True
    assert first.key == second.key

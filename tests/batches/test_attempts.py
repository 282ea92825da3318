"""The attempts of a row, one after the other, and the one that counts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import msgspec
import pytest

from replicate_job.batches.attempts import attempt_key, attempt_of, has_failed, latest
from replicate_job.flow.context import Context
from replicate_job.flow.lifecycle import State
from replicate_job.job import Job
from replicate_job.journal.entry import Entry
from replicate_job.testing import ScriptedAPI
from replicate_job.wire.prediction import Prediction

Connect = Callable[..., AbstractAsyncContextManager[Context]]
JOB = Job("acme/model")


@pytest.mark.parametrize("batch", ["prompts-12ab", "a~2", "a/b", "~", "7"])
@pytest.mark.parametrize("name", ["1-abcd", "x/y", "~3/x"])
def test_a_key_contains_the_number_of_the_attempt(batch: str, name: str) -> None:
    keys = [attempt_key(batch, name, attempt) for attempt in (1, 2, 10)]
    assert [attempt_of(batch, Entry(key, "api", JOB, "claimed", 0)) for key in keys] == [1, 2, 10]
    assert keys[0] == f"{batch}/{name}"


def entry(state: State, status: str = "", problem: str = "") -> Entry:
    entry = Entry("k", "api", JOB, state, 0, problem=problem)
    if not status:
        return entry
    found: Entry = msgspec.structs.replace(entry, prediction_id="p", status=status, prediction=Prediction("p", status))
    return found


@pytest.mark.parametrize(
    ("given", "failed"),
    [
        (entry("collected", "succeeded"), False),
        (entry("collected", "failed"), True),
        (entry("collected", "canceled"), True),
        (entry("collected", "aborted"), True),
        (entry("collected", "succeeded", "the outputs are gone"), True),
        (entry("ended", "failed"), False),
        (entry("created", "starting"), False),
        (entry("uncertain", problem="who knows"), False),
        (entry("claimed"), False),
    ],
)
def test_only_an_ended_job_without_a_success_has_failed(given: Entry, failed: bool) -> None:  # noqa: FBT001 - what is expected
    assert has_failed(given) is failed


async def finish(context: Context, key: str, status: str) -> None:
    claim = await context.journal.claim(key, context.api, JOB, None)
    await context.journal.created(claim, Prediction(f"of {key}", status), collected=True)


async def test_the_latest_attempt_of_a_row_is_its_last_one_that_the_api_did_not_refuse(
    api: ScriptedAPI, connect: Connect
) -> None:
    async with connect(api) as context:
        for key, status in {"b/one": "succeeded", "b/two": "failed", "b~2/two": "succeeded"}.items():
            await finish(context, key, status)
        for key in ("b/three", "b~2/three", "b~3/three"):
            await finish(context, key, "failed")
        await finish(context, "b/four", "failed")
        for key in ("b~2/four", "b/five"):
            claim = await context.journal.claim(key, context.api, JOB, None)
            await context.journal.refused(claim, "no")
        await finish(context, "b/six", "failed")
        await context.journal.claim("b~2/six", context.api, JOB, None)
        await finish(context, "b~2/one", "failed")  # behind one that succeeded nobody looks
        found = await latest(context, "b", ["one", "two", "three", "four", "five", "six", "seven"])
    assert {name: found[name].key for name in found} == {
        "one": "b/one",
        "two": "b~2/two",
        "three": "b~3/three",
        "four": "b/four",
        "six": "b~2/six",
    }


async def test_thousands_of_rows_are_looked_up_together(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        await finish(context, "b/1999", "succeeded")
        assert list(await latest(context, "b", map(str, range(2000)))) == ["1999"]
        assert await latest(context, "b", []) == {}

"""Detaching from a batch: the predictions of unanswered create requests are looked up, and journaled or canceled."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from replicate_job.batches import detach as module
from replicate_job.batches.detach import detach
from replicate_job.flow.context import Context, moment
from replicate_job.job import Job
from replicate_job.journal.entry import CreateRequest
from replicate_job.testing import Script, ScriptedAPI
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import Target

Connect = Callable[..., AbstractAsyncContextManager[Context]]
PATH = "/models/acme/private/predictions"
FOREVER = Script(duration=math.inf)


def request(number: int) -> CreateRequest:
    return CreateRequest(Target("model", "acme", "private"), PATH, b'{"input":{"n":%d}}' % number)


async def begin(context: Context, number: int, *, sent: bool = True, answered: bool = False) -> str:
    """A row whose create request is recorded. ``sent`` and ``answered`` say how far the request got."""
    key, job = f"b/{number}", Job("acme/private", {"n": number})
    claim = await context.journal.claim(key, context.api, job, None, request=request(number), sent=moment(context))
    if sent:
        prediction = await context.client.create_prediction(
            PATH, request(number).body, await context.client.take_slot()
        )
        if answered:
            await context.journal.created(claim, prediction)
    await context.journal.release(claim)
    return key


async def states(context: Context, keys: list[str]) -> dict[str, str]:
    return {key: entry.state for key, entry in (await context.journal.look_up(keys)).items()}


async def test_a_detached_row_is_journaled_if_its_prediction_was_created_and_is_otherwise_unsent(
    connect: Connect,
) -> None:
    with ScriptedAPI(script=FOREVER) as api:
        async with connect(api) as context:
            keys = [
                await begin(context, 1, answered=True),
                await begin(context, 2),
                await begin(context, 3, sent=False),
            ]
            assert await detach(context, [*keys, "b/never"], cancel=False) == Counter(running=2, unsent=1)
            assert await states(context, keys) == {"b/1": "created", "b/2": "created", "b/3": "claimed"}
            found = await context.journal.look_up(keys)
        assert [found[key].prediction_id for key in keys[:2]] == [each.id for each in api.predictions]


async def test_with_cancel_running_predictions_are_canceled(connect: Connect) -> None:
    with ScriptedAPI(script=FOREVER) as api:
        async with connect(api) as context:
            keys = [
                await begin(context, 1, answered=True),
                await begin(context, 2),
                await begin(context, 3, sent=False),
            ]
            assert await detach(context, keys, cancel=True) == Counter(canceled=2, unsent=1)
            assert (await states(context, keys))["b/3"] == "refused"
        assert {prediction.status for prediction in api.predictions} == {"canceled"}


async def test_detaching_does_not_cancel_ended_predictions(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        claim = await context.journal.claim("b/1", context.api, Job("acme/private"), None)
        await context.journal.created(claim, Prediction("p", "succeeded"), collected=True)
        assert await detach(context, ["b/1"], cancel=True) == Counter()
        assert await detach(context, [], cancel=True) == Counter()
    assert api.requests == []


async def test_a_row_whose_look_up_fails_is_reported_as_unknown(connect: Connect) -> None:
    with ScriptedAPI(script=FOREVER) as api:
        async with connect(api) as context:
            keys = [await begin(context, 1), await begin(context, 2, answered=True)]
            api.faults.next("list", "401")
            assert await detach(context, keys, cancel=False) == Counter(running=1, unknown=1)
            assert await states(context, keys) == {"b/1": "uncertain", "b/2": "created"}


async def test_detaching_takes_no_longer_than_its_limit(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 0.5)
    with ScriptedAPI(script=FOREVER) as api:
        async with connect(api) as context:
            keys = [await begin(context, 1), await begin(context, 2, answered=True)]
            api.faults.next("list", "hang")
            async with asyncio.timeout(5):
                assert await detach(context, keys, cancel=False) == Counter(running=1, unknown=1)
            # Nothing is held by who has left: the next one finds it.
            assert await detach(context, keys, cancel=False) == Counter(running=2)


async def test_detaching_waits_for_a_row_that_another_process_has_claimed(connect: Connect, heard: Any) -> None:
    with ScriptedAPI(script=FOREVER) as api:
        async with connect(api) as context, connect(api) as other:
            key = await begin(context, 1)
            entry = (await context.journal.look_up([key]))[key]
            claim = await other.journal.claim(key, other.api, entry.job, None)
            task = asyncio.create_task(detach(context, [key], cancel=False))
            async with asyncio.timeout(10):
                while not any("is being run by process" in line for line in heard.warnings):  # noqa: ASYNC110 - a reporter only hears
                    await asyncio.sleep(0.01)
            await other.journal.release(claim)
            assert await task == Counter(running=1)

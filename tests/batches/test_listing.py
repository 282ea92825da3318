"""One reading of the account's list serves all callers that look for a prediction at that time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from replicate_job.api.client import Client
from replicate_job.batches.listing import REMEMBERED, SharedList
from replicate_job.errors import AuthenticationError
from replicate_job.flow.context import Context
from replicate_job.testing import Script, ScriptedAPI
from replicate_job.wire.prediction import Prediction

Connect = Callable[..., AbstractAsyncContextManager[Context]]
HOUR = timedelta(hours=1)


async def create(context: Context, count: int) -> list[str]:
    async def one(number: int) -> str:
        slot = await context.client.take_slot()
        body = b'{"input":{"n":%d}}' % number
        return (await context.client.create_prediction("/models/acme/private/predictions", body, slot)).id

    return [await one(number) for number in range(count)]


async def read(scans: SharedList, *, before: timedelta = HOUR, after: timedelta = -HOUR) -> list[str]:
    now = datetime.now(UTC)
    listing = await scans.read(after=now + after, before=now + before)
    return [each.id for each in listing.predictions]


async def test_many_concurrent_callers_share_one_or_two_readings_of_the_list(
    api: ScriptedAPI, connect: Connect
) -> None:
    async with connect(api) as context:
        made, scans = await create(context, 5), SharedList(context.client)
        for found in await asyncio.gather(*(read(scans) for _ in range(50))):
            assert found == made[::-1]
    assert api.count("list") <= 2


async def test_a_caller_that_comes_during_a_reading_of_the_list_gets_the_next_reading(connect: Connect) -> None:
    with ScriptedAPI() as api:
        async with connect(api) as context:
            scans = SharedList(context.client)
            api.faults.next("list", "slow-after(500ms)")
            first = asyncio.create_task(read(scans))
            await asyncio.to_thread(api.wait_until, lambda: api.count("list") == 1)
            made = await create(context, 1)
            later = list(await asyncio.gather(read(scans), read(scans)))
            assert await first == []
            assert later == [made, made]
        assert api.count("list") == 2


async def test_a_reading_goes_through_all_pages(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        made = await create(context, 230)
        assert await read(SharedList(context.client)) == made[::-1]
    assert api.count("list") == 3


async def test_known_predictions_are_left_out_of_a_reading(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        made, scans = await create(context, 3), SharedList(context.client)
        scans.know(made[1])
        assert await read(scans) == [made[2], made[0]]
        for number in range(REMEMBERED):
            scans.know(f"another {number}")
        assert await read(scans) == made[::-1]


async def test_a_reading_covers_the_time_spans_of_all_callers(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        made, scans = await create(context, 2), SharedList(context.client)
        api.predictions[0].created = time.time() - 1800
        found = await asyncio.gather(read(scans, before=-timedelta(minutes=20)), read(scans, after=-HOUR / 60))
    assert list(map(set, found)) == [set(made), set(made)]


@pytest.mark.parametrize("fault", ["401", "redirect(http://127.0.0.1:9)"])
async def test_an_error_reaches_all_callers_and_the_next_caller_starts_a_new_reading(
    connect: Connect, fault: str
) -> None:
    with ScriptedAPI() as api:
        async with connect(api) as context:
            scans = SharedList(context.client)
            api.faults.next("list", fault)
            outcomes = await asyncio.gather(*(read(scans) for _ in range(3)), return_exceptions=True)
            assert all(isinstance(outcome, Exception) for outcome in outcomes)
            if fault == "401":
                assert {type(outcome) for outcome in outcomes} == {AuthenticationError}
            assert await read(scans) == []


async def test_a_canceled_caller_does_not_stop_the_others(connect: Connect) -> None:
    with ScriptedAPI() as api:
        async with connect(api) as context:
            made, scans = await create(context, 1), SharedList(context.client)
            api.faults.next("list", "slow(300ms)")
            tasks = [asyncio.create_task(read(scans)) for _ in range(3)]
            await asyncio.to_thread(api.wait_until, lambda: api.count("list") == 1)
            tasks[1].cancel()
            outcomes: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes[1], asyncio.CancelledError)
        assert [outcomes[0], outcomes[2]] == [made, made]


@pytest.mark.long
async def test_the_list_of_a_server_without_the_filter_is_read_no_further_than_needed(connect: Connect) -> None:
    with ScriptedAPI(script=Script(duration=0)) as api:
        account = api._account  # noqa: SLF001 - made to do as servers do that only resemble the API
        page = account.page
        account.page = lambda after, before, cursor: page(None, None, cursor)  # type: ignore[method-assign]  # noqa: ARG005 - they are ignored
        async with connect(api) as context:
            made = await create(context, 710)
            for prediction in api.predictions[:690]:
                prediction.created = time.time() - 2 * 3600
            assert set(made[690:]) <= set(await read(SharedList(context.client)))
        assert api.count("list") == 2


async def test_a_shared_list_closes_at_once_although_a_request_for_a_page_hangs(connect: Connect) -> None:
    with ScriptedAPI() as api:
        async with connect(api) as context:
            scans = SharedList(context.client)
            await scans.close()
            api.faults.next("list", "hang")
            task = asyncio.create_task(read(scans))
            await asyncio.to_thread(api.wait_until, lambda: api.count("list") == 1)
            async with asyncio.timeout(5):
                await scans.close()
            task.cancel()
            await asyncio.wait([task])


class Broken:
    """The API's client, except that its list raises an error."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def list_predictions(self, *, after: datetime, before: datetime) -> AsyncIterator[list[Prediction]]:
        async for _ in self._client.list_predictions(after=after, before=before):
            raise MemoryError
        yield []


async def test_any_exception_of_a_reading_reaches_all_its_callers_and_the_next_caller_is_served(
    api: ScriptedAPI, connect: Connect
) -> None:
    async with connect(api) as context, asyncio.timeout(10):
        await create(context, 1)
        scans = SharedList(Broken(context.client))
        for _ in range(2):
            outcomes = await asyncio.gather(*(read(scans) for _ in range(5)), return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {MemoryError}
        await scans.close()

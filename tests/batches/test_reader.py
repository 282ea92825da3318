"""Rows are taken from any iterable as they are needed, and the event loop is not blocked."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from replicate_job.batches.reader import AHEAD, FULL, read_ahead


async def test_every_row_comes_once_and_in_order() -> None:
    assert [row async for chunk in read_ahead(range(5000)) for row in chunk] == list(range(5000))


async def test_no_rows_give_no_rows() -> None:
    nothing: list[int] = []
    assert [chunk async for chunk in read_ahead(nothing)] == []


async def test_only_a_limited_number_of_rows_is_read_ahead() -> None:
    taken, full = 0, threading.Event()

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            if taken > AHEAD:
                full.set()
            yield taken

    async with aclosing(read_ahead(endless())) as chunks:
        first = await anext(chunks)
        assert await asyncio.to_thread(full.wait, 10)
        await asyncio.sleep(0.1)  # time in which a reader without a bound would go on
        assert taken <= len(first) + AHEAD + 1
        second = await anext(chunks)
        assert second[0] == first[-1] + 1
        assert len(second) <= AHEAD


async def test_fewer_rows_are_read_ahead_if_they_are_large() -> None:
    taken, full = 0, threading.Event()

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            if taken > 4:
                full.set()
            yield taken

    async with aclosing(read_ahead(endless(), lambda _: FULL // 4)) as chunks:
        first = await anext(chunks)
        assert await asyncio.to_thread(full.wait, 10)
        second = await anext(chunks)
        assert second[0] == first[-1] + 1
        assert len(first) <= 4
        assert len(second) <= 4


@pytest.mark.parametrize("count", [0, 1, 1000])
async def test_an_error_in_the_iterable_is_raised_after_all_rows_before_it(count: int) -> None:
    def broken() -> Iterator[int]:
        yield from range(count)
        raise LookupError("no more")

    found: list[int] = []

    async def take() -> None:
        async for chunk in read_ahead(broken()):
            found.extend(chunk)

    with pytest.raises(LookupError, match="no more"):
        await take()
    assert found == list(range(count))


async def test_the_event_loop_keeps_running_while_the_iterable_blocks_and_the_rows_still_arrive() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as pipe, os.fdopen(writing, "w") as other_end:
        async with aclosing(read_ahead(pipe)) as chunks:
            for number in range(3):
                other_end.write(f"{number}\n")
                other_end.flush()
                assert await asyncio.wait_for(anext(chunks), 10) == [f"{number}\n"]
            waiting = asyncio.ensure_future(anext(chunks))
            for _ in range(100):
                await asyncio.sleep(0)
            assert not waiting.done()
            other_end.write("last\n")
            other_end.close()
            assert await asyncio.wait_for(waiting, 10) == ["last\n"]
            assert [chunk async for chunk in chunks] == []


async def test_a_closed_reader_takes_no_more_rows() -> None:
    ended = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.set()

    async with aclosing(read_ahead(endless())) as chunks:
        await anext(chunks)
    assert await asyncio.to_thread(ended.wait, 10)


async def test_rows_are_taken_from_an_async_iterable_one_by_one() -> None:
    taken = 0

    async def come() -> AsyncIterator[int]:
        nonlocal taken
        for number in range(10):
            taken += 1
            yield number

    async with aclosing(read_ahead(come())) as chunks:
        assert await anext(chunks) == [0]
        assert taken == 1
        assert [chunk async for chunk in chunks] == [[number] for number in range(1, 10)]

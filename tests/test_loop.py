"""A loop in a thread: for callers that block, whom signals must reach."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Iterator

import pytest

from replicate_job.loop import LoopThread, iterate, new_loop

NAME = contextvars.ContextVar("name", default="nobody")


class StopError(Exception):
    """What the handler of a signal raises."""


@pytest.fixture(params=[asyncio.new_event_loop, new_loop], ids=["asyncio", "uvloop"])
def factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    made: Callable[[], asyncio.AbstractEventLoop] = request.param
    return made


@pytest.fixture
def stop() -> Iterator[Callable[[], None]]:
    """Has the main thread's handler of SIGUSR1 raise StopError; the signal comes in the thread that calls."""

    def handle(*_: object) -> None:
        raise StopError

    before = signal.signal(signal.SIGUSR1, handle)
    yield lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


async def value() -> str:
    await asyncio.sleep(0)
    return NAME.get()


async def fails() -> None:
    raise LookupError("gone")


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "replicate-job"]


def test_work_gives_its_value_or_its_error_and_no_thread_is_left(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with LoopThread(factory) as loop:
        NAME.set("ours")
        assert loop.run(value()) == "ours"  # as in the caller's context
        with pytest.raises(LookupError, match="gone"):
            loop.run(fails())
        assert threads()
    assert not threads()


def test_what_a_signal_handler_raises_is_raised_after_the_clean_up(
    factory: Callable[[], asyncio.AbstractEventLoop], stop: Callable[[], None]
) -> None:
    done = []

    async def work() -> None:
        asyncio.get_running_loop().call_soon(stop)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            done.append("cleaned up")

    with LoopThread(factory) as loop:
        with pytest.raises(StopError):
            loop.run(work())
        assert done == ["cleaned up"]
        assert not loop.is_interrupted


def test_a_second_one_leaves_at_once_and_the_end_of_the_loop_cancels_again(
    factory: Callable[[], asyncio.AbstractEventLoop], stop: Callable[[], None]
) -> None:
    done = []

    async def work() -> None:
        asyncio.get_running_loop().call_soon(stop)
        try:
            await asyncio.Event().wait()
        finally:
            asyncio.get_running_loop().call_soon(stop)
            try:
                await asyncio.Event().wait()
            finally:
                done.append("cleaned up")

    with LoopThread(factory) as loop:
        with pytest.raises(StopError):
            loop.run(work())
        assert done == []
    assert done == ["cleaned up"]
    assert not threads()


def test_items_that_are_left_twice_are_closed(
    factory: Callable[[], asyncio.AbstractEventLoop], stop: Callable[[], None]
) -> None:
    done = []

    async def items() -> AsyncGenerator[int, None]:
        yield 1
        asyncio.get_running_loop().call_soon(stop)
        try:
            await asyncio.Event().wait()
        finally:
            asyncio.get_running_loop().call_soon(stop)
            try:
                await asyncio.Event().wait()
            finally:
                done.append("cleaned up")

    numbers = iterate(items(), factory)
    assert next(numbers) == 1
    with pytest.raises(StopError):
        next(numbers)
    assert done == ["cleaned up"]
    assert not threads()


def test_items_that_are_left_early_are_closed(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    done = []

    async def items() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            done.append("closed")

    assert list(iterate(items(), factory)) == [1, 2]
    numbers = iterate(items(), factory)
    next(numbers)
    numbers.close()
    assert done == ["closed", "closed"]
    assert not threads()

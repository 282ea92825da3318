"""A loop in a thread, for callers that block; work in a thread, and until an event."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicate_job.aio import LoopThread, in_thread, is_interrupted, iterate, new_loop, unless
from replicate_job.errors import ClosedError, ReplicateJobError

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
            done.append(is_interrupted())

    with LoopThread(factory) as loop:
        with pytest.raises(StopError):
            loop.run(work())
        assert done == [False]


def test_the_work_knows_that_ctrl_c_has_ended_its_wait(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    done = []

    async def work() -> None:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            done.append(is_interrupted())

    with LoopThread(factory) as loop, pytest.raises(KeyboardInterrupt):
        loop.run(work())
    assert done == [True]
    assert not is_interrupted()


def test_work_of_many_threads_runs_together(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    barrier = asyncio.Barrier(8)

    async def meet() -> str:
        await barrier.wait()
        return NAME.get()

    with LoopThread(factory) as loop, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: loop.run(meet()), range(8))) == ["nobody"] * 8


def test_a_thread_that_waits_while_another_ends_the_loop_gets_a_clear_error(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    waits = threading.Event()

    async def work() -> None:
        waits.set()
        await asyncio.Event().wait()

    with LoopThread(factory) as loop, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: loop.run(work()))
        waits.wait()
        loop.close()
        with pytest.raises(ClosedError, match="is closed"):
            waiting.result()
        with pytest.raises(ClosedError, match="is closed"):
            loop.run(work())


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


async def test_the_work_is_done_in_a_thread_and_its_result_or_error_comes_back() -> None:
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 7, 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_waits_for_the_end_of_the_work(fails: bool) -> None:  # noqa: FBT001 - a parameter of the test
    is_begun, goes_on, ended = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(is_begun.set)
        goes_on.wait(10)
        ended.set()
        if fails:
            raise OSError

    task = asyncio.create_task(in_thread(work))
    await is_begun.wait()
    task.cancel()
    loop.call_later(0.05, goes_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


class Endless:
    """Work that ends only where it is canceled."""

    def __init__(self) -> None:
        self.is_begun, self.is_ended = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> bool:
        try:
            self.is_begun.set()
            return await asyncio.Event().wait()
        finally:
            self.is_ended.set()


async def test_what_the_work_gives_or_raises_comes_through() -> None:
    async def work(value: int) -> int:
        await asyncio.sleep(0)
        return 1 // value

    assert await unless(asyncio.Event(), work(1)) == 1
    with pytest.raises(ZeroDivisionError):
        await unless(asyncio.Event(), work(0))


async def test_work_that_is_not_wanted_never_begins() -> None:
    async def work() -> bool:
        raise AssertionError

    canceled = asyncio.Event()
    canceled.set()
    assert await unless(canceled, work()) is None


async def test_a_cancellation_ends_the_work() -> None:
    canceled, work = asyncio.Event(), Endless()
    task = asyncio.create_task(unless(canceled, work()))
    await work.is_begun.wait()
    canceled.set()
    assert await task is None
    assert work.is_ended.is_set()


async def test_who_waits_can_be_canceled_too_and_the_work_with_it() -> None:
    work = Endless()
    task = asyncio.create_task(unless(asyncio.Event(), work()))
    await work.is_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.is_ended.is_set()


async def test_a_slot_is_not_lost_to_one_who_gave_up_on_it() -> None:
    slots = asyncio.Semaphore(0)
    canceled = asyncio.Event()
    task = asyncio.create_task(unless(canceled, slots.acquire()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    slots.release()
    canceled.set()
    if not await task:
        assert not slots.locked()


def test_an_exit_in_a_task_is_raised_where_it_is_awaited_and_the_loop_runs_on(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def inner() -> None:
        await asyncio.create_task(leave())

    with LoopThread(factory) as loop:
        for work in (leave, inner):
            with pytest.raises(SystemExit):
                loop.run(work())
            assert loop.run(asyncio.sleep(0, "on")) == "on"
    assert not threads()


def test_a_call_from_the_loops_own_thread_is_an_error(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with LoopThread(factory) as loop:

        async def work() -> None:
            loop.run(value())

        async def end() -> None:
            loop.close()

        for call in (work, end):
            with pytest.raises(ReplicateJobError, match="in another thread"):
                loop.run(call())
        assert loop.run(asyncio.sleep(0, "on")) == "on"


def test_an_iteration_that_is_collected_in_the_loops_own_thread_is_closed(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """As garbage of a circle may be, in any thread."""
    closed = threading.Event()

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.set()

    with LoopThread(factory) as loop:
        iteration = loop.iterate(numbers())
        next(iteration)

        async def collect() -> None:
            iteration.close()

        loop.run(collect())
        assert closed.wait(10)


def test_a_loop_is_ended_by_many_threads(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def lasts(begun: threading.Event) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(100):
                await asyncio.sleep(0)

    for _ in range(10):
        loop = LoopThread(factory)
        with ThreadPoolExecutor(5) as pool:
            begun = threading.Event()
            running = pool.submit(loop.run, lasts(begun))
            begun.wait(10)
            for closed in [pool.submit(loop.close) for _ in range(4)]:
                closed.result(timeout=30)
            assert isinstance(running.exception(timeout=30), ClosedError)
    assert not threads()

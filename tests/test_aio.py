"""The loop thread for blocking callers; work in a thread, and work until an event."""

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
    """Raised by the signal handler."""


@pytest.fixture(params=[asyncio.new_event_loop, new_loop], ids=["asyncio", "uvloop"])
def factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    made: Callable[[], asyncio.AbstractEventLoop] = request.param
    return made


@pytest.fixture
def stop() -> Iterator[Callable[[], None]]:
    """Let the main thread's handler of SIGUSR1 raise StopError. The yielded function sends the signal to its thread."""

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


def test_run_returns_the_value_or_raises_the_error_and_leaves_no_thread(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with LoopThread(factory) as loop:
        NAME.set("ours")
        assert loop.run(value()) == "ours"  # the work runs in the caller's context
        with pytest.raises(LookupError, match="gone"):
            loop.run(fails())
        assert threads()
    assert not threads()


def test_an_exception_of_a_signal_handler_is_raised_after_the_clean_up(
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


def test_is_interrupted_is_true_inside_work_that_ctrl_c_cancels(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
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


def test_the_work_of_many_threads_runs_at_the_same_time(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    barrier = asyncio.Barrier(8)

    async def meet() -> str:
        await barrier.wait()
        return NAME.get()

    with LoopThread(factory) as loop, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: loop.run(meet()), range(8))) == ["nobody"] * 8


def test_a_waiting_thread_gets_an_error_when_another_thread_closes_the_loop(
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


def test_a_second_signal_ends_the_wait_at_once_and_closing_cancels_again(
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


def test_an_iteration_interrupted_twice_is_closed(
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


def test_an_iteration_left_early_is_closed(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
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


def test_an_iteration_whose_loop_has_ended_is_closed_without_an_error(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def items() -> AsyncGenerator[int, None]:
        yield 1
        yield 2

    with LoopThread(factory) as loop:
        numbers = loop.iterate(items())
        assert next(numbers) == 1
    numbers.close()
    with pytest.raises(StopIteration):
        next(numbers)


def test_an_iteration_is_closed_if_an_exception_comes_between_two_items(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    done = []

    async def items() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            done.append("closed")

    with LoopThread(factory) as loop:
        numbers = loop.iterate(items())
        next(numbers)
        with pytest.raises(KeyboardInterrupt):
            numbers.throw(KeyboardInterrupt)
        assert done == ["closed"]


async def test_the_function_in_thread_returns_the_result_or_raises_the_error() -> None:
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 7, 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_the_function_in_thread_waits_for_the_end_of_its_work_even_if_cancelled(fails: bool) -> None:  # noqa: FBT001 - a parameter of the test
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
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    loop.call_later(0.05, goes_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


def test_the_end_of_the_loop_waits_for_the_function_in_thread_before_it_goes_on_after_it() -> None:
    is_begun, goes_on, order = threading.Event(), threading.Event(), list[str]()

    def work() -> None:
        is_begun.set()
        goes_on.wait(10)
        order.append("the work ended")

    async def writer() -> None:
        try:
            await in_thread(work)
        finally:
            order.append("the file was closed")

    async def main() -> None:
        tasks.append(asyncio.create_task(writer()))
        await asyncio.to_thread(is_begun.wait, 10)
        asyncio.get_running_loop().call_later(0.05, goes_on.set)

    tasks = list[asyncio.Task[None]]()
    asyncio.run(main())
    assert order == ["the work ended", "the file was closed"]


class Endless:
    """Work that ends only when it is cancelled."""

    def __init__(self) -> None:
        self.is_begun, self.is_ended = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> bool:
        try:
            self.is_begun.set()
            return await asyncio.Event().wait()
        finally:
            self.is_ended.set()


async def test_the_function_unless_returns_the_result_or_raises_the_error() -> None:
    async def work(value: int) -> int:
        await asyncio.sleep(0)
        return 1 // value

    assert await unless(asyncio.Event(), work(1)) == 1
    with pytest.raises(ZeroDivisionError):
        await unless(asyncio.Event(), work(0))


async def test_work_is_not_started_if_its_event_is_already_set() -> None:
    async def work() -> bool:
        raise AssertionError

    canceled = asyncio.Event()
    canceled.set()
    assert await unless(canceled, work()) is None


async def test_setting_the_event_cancels_the_work() -> None:
    canceled, work = asyncio.Event(), Endless()
    task = asyncio.create_task(unless(canceled, work()))
    await work.is_begun.wait()
    canceled.set()
    assert await task is None
    assert work.is_ended.is_set()


async def test_cancelling_the_waiting_task_cancels_the_work() -> None:
    work = Endless()
    task = asyncio.create_task(unless(asyncio.Event(), work()))
    await work.is_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.is_ended.is_set()


async def test_a_semaphore_is_not_lost_to_a_cancelled_waiter() -> None:
    slots = asyncio.Semaphore(0)
    canceled = asyncio.Event()
    task = asyncio.create_task(unless(canceled, slots.acquire()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    slots.release()
    canceled.set()
    if not await task:
        assert not slots.locked()


def test_a_system_exit_in_a_task_is_raised_where_the_task_is_awaited_and_does_not_end_the_loop(
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


def test_a_blocking_call_from_the_thread_of_the_loop_raises_an_error(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with LoopThread(factory) as loop:

        async def work() -> None:
            loop.run(value())

        async def end() -> None:
            loop.close()

        for call in (work, end):
            with pytest.raises(ReplicateJobError, match="in another thread"):
                loop.run(call())
        assert loop.run(asyncio.sleep(0, "on")) == "on"


def test_an_iteration_garbage_collected_in_the_loops_thread_is_closed(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Garbage collection of a reference cycle can happen in any thread."""
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


def test_several_threads_can_close_a_loop(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
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

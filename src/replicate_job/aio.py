"""Additions to asyncio: a loop thread for blocking callers, work in a thread, work until an event."""

from __future__ import annotations

import asyncio
import atexit
import math
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import Any, Self, TypeVar, TypeVarTuple

from replicate_job.base_errors import ClosedError, ForkedError, ReplicateJobError
from replicate_job.forks import Owner

_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")
_HEED = 0.5
"""Seconds after which a wait is interrupted for a moment, so that Python can run signal handlers. A signal that comes
just before the wait, or in another thread, does not interrupt it."""

_EXIT = 1.0
"""The most seconds that the end of the interpreter waits for loop threads."""

_running: set[LoopThread] = set()
_is_exiting = False
_stranded: list[object] = []
"""In a fork, the parent process's loops. They are kept, since garbage collection would run their coroutines and
fail."""


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop of uvloop if uvloop is installed (by the extra ``[local]``), else an event loop of asyncio."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


_waiter: ContextVar[_Waiter | None] = ContextVar("waiter", default=None)


def is_interrupted() -> bool:
    """Whether Ctrl-C, and no other signal handler, has ended the blocking call that waits for this task."""
    waiter = _waiter.get()
    return waiter is not None and waiter.is_interrupted


class LoopThread:
    """``with LoopThread() as loop: loop.run(work())`` blocks, even inside a running event loop, as in a notebook.

    The loop runs in a thread of its own, which ends with the block. Unfinished tasks are cancelled. Several threads may
    call ``run`` at the same time. SystemExit and KeyboardInterrupt in a task are raised where it is awaited, and do not
    end the loop.
    """

    def __init__(
        self,
        new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
        name: str = "replicate-job",
    ) -> None:
        check_threads()
        self._owner = Owner()
        self._loop = new_loop()
        self._is_ending = False
        self._ended = _Ended()
        self._waiters: set[_Waiter] = set()
        self._closings: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        _running.add(self)  # added before the check, so that the exit finds every thread that passes the check
        if _is_exiting and threading.current_thread() is not threading.main_thread():
            self._loop.close()
            self._set_ended()
            raise ClosedError
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread, and cancel its tasks. In a fork of the process this does nothing.

        Raises ReplicateJobError in the loop's own thread.
        """
        if not self._owner.is_here:
            return
        self._check_thread()
        with suppress(RuntimeError):  # another thread has closed the loop
            self._loop.call_soon_threadsafe(self._stop)
        self._ended.wait()
        self._thread.join()

    def end(self, until: float) -> None:
        """End the thread as ``close`` does, but wait at most until that moment of the monotonic clock.

        Errors of the clean-up are not logged: at the interpreter's end the clean-up cannot start threads, and may fail.
        """
        if self._owner.is_here:
            with suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._loop.set_exception_handler, lambda *_: None)
                self._loop.call_soon_threadsafe(self._stop)
            self._ended.wait(until)

    def run(self, work: Awaitable[_T]) -> _T:
        """Block until the work is done. An exception from a signal handler cancels the work, and is raised afterwards.

        A second such exception is raised at once. Raises ForkedError in a fork of the process that made the loop, and
        ClosedError if the loop has ended. Raises ReplicateJobError in the loop's own thread, which would wait for
        itself.
        """
        if not self._owner.is_here:
            _stranded.append((self, work))
            raise ForkedError
        try:
            self._check_thread()
        except ReplicateJobError:
            _discard(work)
            raise
        waiter, tasks = _Waiter(), list[asyncio.Task[_T]]()
        self._waiters.add(waiter)

        async def main() -> _T:
            _waiter.set(waiter)
            return await work

        def begin() -> None:
            tasks.append(self._loop.create_task(main()))
            tasks[0].add_done_callback(lambda _: waiter.ended.set())

        try:
            self._call(begin)
            waiter.ended.wait()
        except BaseException as error:
            waiter.is_interrupted = isinstance(error, KeyboardInterrupt)
            self._call(lambda: tasks and tasks[0].cancel())
            waiter.ended.wait()
            raise
        finally:
            self._waiters.discard(waiter)
        if not tasks or (self._is_ending and _is_cut_off(tasks[0])):
            _discard(work)
            raise ClosedError
        return tasks[0].result()

    @property
    def _is_own_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def _check_thread(self) -> None:
        if self._is_own_thread:
            raise ReplicateJobError(
                "a call that blocks, in the thread of the client's own event loop (as in on_progress), would wait for "
                "itself for ever: make it in another thread"
            )

    def _call(self, function: Callable[[], object]) -> None:
        """Call the function in the loop. If the loop has ended, wake the waiting threads instead."""
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            self._release()

    def iterate(self, items: AsyncGenerator[_T, None]) -> Generator[_T, None, None]:
        """Yield the items, and block in between. The generator is closed if the caller stops early."""
        while True:
            try:
                item = self.run(anext(items))
            except StopAsyncIteration:
                return
            try:
                yield item
            except BaseException:
                # A fork has a copy of the generator, but not its thread. The end of the loop closes the generator.
                with suppress(ForkedError, ClosedError):
                    self._close(items)
                raise

    def _close(self, items: AsyncGenerator[Any, None]) -> None:
        if self._is_own_thread:  # garbage collection may end an iteration in any thread
            closing = self._loop.create_task(_aclose(items))
            self._closings.add(closing)
            closing.add_done_callback(self._closings.discard)
        else:
            self.run(items.aclose())

    def _stop(self) -> None:
        if not self._is_ending:  # a second stop would break off the clean-up
            self._is_ending = True  # from now on, tasks are cancelled by the clean-up and not by their callers
            self._loop.stop()

    def _serve(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:  # its exit cancels the remaining tasks
                while not self._is_ending:
                    with suppress(SystemExit, KeyboardInterrupt):  # the task keeps the exception for its awaiters
                        runner.get_loop().run_forever()
        except RuntimeError:
            if not _is_exiting:  # at the interpreter's end there is no thread to end the loop's executor with
                raise
        finally:
            self._set_ended()
            self._release()

    def _set_ended(self) -> None:
        _running.discard(self)
        self._ended.set()

    def _release(self) -> None:
        """Wake the threads whose work the loop did not start."""
        for waiter in list(self._waiters):
            waiter.ended.set()


def _is_cut_off(task: asyncio.Task[Any]) -> bool:
    """Whether the end of the loop has ended the task.

    At the interpreter's end no thread can be started, so a task's clean-up may fail with a RuntimeError.
    """
    return task.cancelled() or (_is_exiting and isinstance(task.exception(), RuntimeError))


def _discard(work: Awaitable[object]) -> None:
    """Close work that never ran."""
    if isinstance(work, Coroutine):
        work.close()


async def _aclose(items: AsyncGenerator[Any, None]) -> None:
    await items.aclose()


class _Waiter:
    """A thread that blocks until a task of a loop has ended."""

    def __init__(self) -> None:
        self.is_interrupted = False
        self.ended = _Ended()


class _Ended:
    """An event that is set once, and that threads wait for.

    It replaces ``threading.Event`` and ``join``. With those, an exception from a signal handler can leave a lock taken
    for ever, or report a running thread as ended.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        self.is_set = True
        with suppress(RuntimeError):  # the event was set already
            self._lock.release()

    def wait(self, until: float = math.inf) -> None:
        """Wait for the event, or until that moment of the monotonic clock."""
        while not self.is_set and (left := until - time.monotonic()) > 0:
            if self._lock.acquire(timeout=min(left, _HEED)):
                self._lock.release()  # lets the next waiting thread continue


@atexit.register
def _end_all() -> None:
    """End all loop threads before the interpreter ends, because daemon threads may still wait for calls.

    A thread of the HTTP library that answers such a call while the interpreter ends would abort the process. These
    calls, and later calls, raise ClosedError. Predictions run on.
    """
    global _is_exiting
    _is_exiting, until = True, time.monotonic() + _EXIT
    for thread in list(_running):
        thread.end(until)


def iterate(
    items: AsyncGenerator[_T, None], new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
) -> Generator[_T, None, None]:
    """``LoopThread.iterate`` in a thread that belongs to this iteration."""
    with LoopThread(new_loop) as loop:
        yield from loop.iterate(items)


async def in_thread(work: Callable[[*_Arguments], _T], *arguments: *_Arguments) -> _T:
    """Like ``asyncio.to_thread``, but a cancellation waits for the thread: no file is closed during a write.

    The end of the loop cancels all tasks. So the wait is for a future, which it leaves alone.
    """
    ended = asyncio.get_running_loop().run_in_executor(None, copy_context().run, work, *arguments)
    try:
        await through(ended)
    except asyncio.CancelledError:
        ended.exception()  # marks the exception as retrieved, or asyncio would log it
        raise
    return ended.result()


async def apart(work: Callable[[*_Arguments], _T], *arguments: *_Arguments) -> _T:
    """Do work that may block for ever, such as reading a pipe, in a daemon thread of its own.

    Neither a cancellation nor the end of the interpreter waits for the thread.
    """
    outcome, context = Future[_T](), copy_context()
    outcome.set_running_or_notify_cancel()  # a task that stops waiting does not cancel it

    def serve() -> None:
        try:
            outcome.set_result(context.run(work, *arguments))
        except BaseException as error:  # noqa: BLE001 - the waiting task gets every error
            outcome.set_exception(error)

    threading.Thread(target=serve, name="replicate-job input", daemon=True).start()
    return await asyncio.wrap_future(outcome)


async def through(future: asyncio.Future[Any]) -> None:
    """Wait until the future is done, through any number of cancellations. The last of them is raised afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        raise cancelled


def check_threads() -> None:
    """Raise ReplicateJobError if gevent or eventlet has replaced the threads that an event loop needs."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    by_gevent = gevent and any(map(gevent.is_module_patched, ("threading", "queue", "select")))
    if by_gevent or (eventlet and any(map(eventlet.is_monkey_patched, ("thread", "select")))):
        raise ReplicateJobError(
            f"{'gevent' if by_gevent else 'eventlet'} has patched this process, and replicate-job needs its threads as "
            "they were: call the command replicate-job with subprocess, or run it in a process that is not patched"
        )


async def first_of(*works: Coroutine[Any, Any, object]) -> int:
    """The index of the work that ends first. The others are cancelled. Raises the exception of the ended work."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        index = next(index for index, task in enumerate(tasks) if task.done())
        tasks[index].result()
        return index
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def unless(canceled: asyncio.Event, work: Coroutine[Any, Any, _T]) -> _T | None:
    """The result of the work. If ``canceled`` is set first, the work is cancelled and the result is None.

    Raises the work's exceptions.
    """
    if canceled.is_set():
        work.close()
        return None
    loop = asyncio.get_running_loop()
    tasks = (loop.create_task(work), loop.create_task(canceled.wait()))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].result() if tasks[0].done() else None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

"""Additions to asyncio: a loop in a thread for blocking callers, work in a thread, work until an event."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, Self, TypeVar, TypeVarTuple

from replicate_job.errors import ForkedError, ReplicateJobError
from replicate_job.forks import Owner

_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")
_HEED = 0.5
"""Seconds between two checks for signals: one that comes just before a wait, or in another thread, does not end it."""

_stranded: list[object] = []
"""Loops of the parent process, in a fork. Garbage collection would run their coroutines here, and fail."""


def new_loop() -> asyncio.AbstractEventLoop:
    """Uvloop's where it is installed, as with ``[local]``, else Python's own."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class LoopThread:
    """``with LoopThread() as loop: loop.run(work())`` blocks, also where an event loop runs already, as in a notebook.

    The loop runs in a thread of its own, which ends with the block; unfinished tasks are cancelled.
    """

    def __init__(
        self,
        new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
        name: str = "replicate-job",
    ) -> None:
        self.is_interrupted = False
        """Whether Ctrl-C ended the work, rather than another exception of a signal handler."""
        check_threads()
        self._owner = Owner()
        self._loop = new_loop()
        self._ended = _Ended()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._owner.is_here:  # the thread belongs to another process
            return
        self._note(kind)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._ended.wait()
        self._thread.join()

    def run(self, work: Awaitable[_T]) -> _T:
        """Block until the work is done. An exception of a signal handler cancels it, and is raised after its clean-up.

        A second such exception is raised at once. Raises ForkedError in a fork of the process that made the loop.
        """
        if not self._owner.is_here:
            _stranded.append((self, work))
            raise ForkedError
        ended, tasks = _Ended(), list[asyncio.Task[_T]]()

        async def main() -> _T:
            return await work

        def begin() -> None:
            tasks.append(self._loop.create_task(main()))
            tasks[0].add_done_callback(lambda _: ended.set())

        try:
            self._loop.call_soon_threadsafe(begin)
            ended.wait()
        except BaseException as error:
            self._note(type(error))
            self._loop.call_soon_threadsafe(lambda: tasks and tasks[0].cancel())
            ended.wait()
            raise
        return tasks[0].result()

    def _note(self, kind: type[BaseException] | None) -> None:
        self.is_interrupted = self.is_interrupted or (kind is not None and issubclass(kind, KeyboardInterrupt))

    def _serve(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:  # its end cancels what is left
                runner.get_loop().run_forever()
        finally:
            self._ended.set()


class _Ended:
    """An event that one thread sets once and another waits for.

    It replaces ``threading.Event`` and ``join``: there an exception of a signal handler can leave a lock taken for
    ever, or report a running thread as ended.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        self._is_set = True
        self._lock.release()

    def wait(self) -> None:
        while not self._is_set:
            self._lock.acquire(timeout=_HEED)


def iterate(
    items: AsyncGenerator[_T, None], new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
) -> Generator[_T, None, None]:
    """Yield the items of an async generator, and block between them. It is closed when the caller stops early."""
    with LoopThread(new_loop) as loop:
        while True:
            try:
                item = loop.run(anext(items))
            except StopAsyncIteration:
                return
            try:
                yield item
            except GeneratorExit:
                with suppress(ForkedError):  # a fork has a copy, without its thread
                    loop.run(items.aclose())
                raise


async def in_thread(work: Callable[[*_Arguments], _T], *arguments: *_Arguments) -> _T:
    """Like ``asyncio.to_thread``, but cancelled only when the thread is done: no file is closed during a write."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        task.exception()  # retrieved, or asyncio would log it as lost
        raise


def check_threads() -> None:
    """Raise ReplicateJobError if gevent or eventlet has replaced the threads that an event loop needs."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    by_gevent = gevent and any(map(gevent.is_module_patched, ("threading", "queue", "select")))
    if by_gevent or (eventlet and any(map(eventlet.is_monkey_patched, ("thread", "select")))):
        raise ReplicateJobError(
            f"{'gevent' if by_gevent else 'eventlet'} has patched this process, and replicate-job needs its threads as "
            "they were: call the command replicate-job with subprocess, or run it in a process that is not patched"
        )


async def unless(canceled: asyncio.Event, work: Coroutine[Any, Any, _T]) -> _T | None:
    """The result of the work. If ``canceled`` is set first, the work is canceled and the result is None.

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

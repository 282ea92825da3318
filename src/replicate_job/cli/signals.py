"""Handles SIGINT and SIGTERM while a command runs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from replicate_job.cli.exits import INTERRUPTED, TERMINATED
from replicate_job.cli.streams import give_up, tell

_unclosed: list[asyncio.Runner] = []
"""The command's loop. It is not closed, which would take a millisecond: the process ends next."""


class Terminated:
    """Says in ``came`` whether SIGTERM has come. SIGTERM leaves predictions running, while Ctrl-C cancels them.

    At the first signal, ``farewell`` is written to stderr, and ``hurry`` is called. A command that needs time to end
    sets ``farewell``.
    """

    def __init__(self) -> None:
        self.came = False
        self.farewell = ""
        self.hurry: Callable[[], object] = lambda: None


def run_async(
    work: Coroutine[Any, Any, int],
    terminated: Terminated,
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> int:
    """Run a command's coroutine, and return its exit code. SIGINT and SIGTERM cancel the coroutine.

    A second SIGINT ends the process at once, even while the journal is locked or the API has not answered.
    """

    async def main() -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task  # noqa: S101 - a coroutine runs in a task

        def stop() -> None:
            if terminated.farewell:
                tell(terminated.farewell)
            terminated.hurry()
            task.cancel()

        def terminate() -> None:
            terminated.came = True
            stop()

        def interrupt() -> None:
            loop.add_signal_handler(signal.SIGINT, give_up, INTERRUPTED)
            stop()

        with suppress(NotImplementedError):  # Windows has no such handlers
            loop.add_signal_handler(signal.SIGTERM, terminate)
            loop.add_signal_handler(signal.SIGINT, interrupt)
        try:
            return await work
        finally:
            await _end_others()

    runner = asyncio.Runner(loop_factory=new_loop)
    _unclosed.append(runner)
    try:
        return runner.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return TERMINATED if terminated.came else INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


async def _end_others() -> None:
    """Cancel the tasks that are left, and finish the async generators that were not exhausted."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others)
    await asyncio.get_running_loop().shutdown_asyncgens()

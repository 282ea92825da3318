"""Work that blocks, beside the event loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from replicate_job.errors import ReplicateJobError

_Value = TypeVar("_Value")
_Arguments = TypeVarTuple("_Arguments")


async def in_thread(work: Callable[[*_Arguments], _Value], *arguments: *_Arguments) -> _Value:
    """Like ``asyncio.to_thread``, but cancelled only when the thread is through: no file is closed under a write."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        task.exception()  # looked at, for nobody else will
        raise


def check_threads() -> None:
    """Raise ReplicateJobError where gevent or eventlet has taken the place of what an event loop's threads need."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    by_gevent = gevent and any(map(gevent.is_module_patched, ("threading", "queue", "select")))
    if by_gevent or (eventlet and any(map(eventlet.is_monkey_patched, ("thread", "select")))):
        raise ReplicateJobError(
            f"{'gevent' if by_gevent else 'eventlet'} has patched this process, and replicate-job needs its threads as "
            "they were: call the command replicate-job with subprocess, or run it in a process that is not patched"
        )

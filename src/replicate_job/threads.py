"""Work that blocks, beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

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

"""Waiting for something that may not be wanted any more."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Found = TypeVar("Found")


async def unless(canceled: asyncio.Event, work: Coroutine[Any, Any, Found]) -> Found | None:
    """What the work gives; None, and the work is canceled, if ``canceled`` is set before it ends.

    What the work raises is raised here.
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

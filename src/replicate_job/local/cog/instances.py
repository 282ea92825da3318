"""Decides which model servers run. At most a given number run together, and each stops after it has been idle."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from replicate_job.aio import unless
from replicate_job.local.cog.server import CogServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from replicate_job.local.environment.preparation import Launch

_SOON = 5.0
"""Seconds without a prediction after which a server stops that is not ready, or runs an older version of its model."""


class Instance:
    """A running server. It stops when ``timer`` fires.

    ``users`` is the number of predictions that use the server, including those that wait for one of its slots.
    """

    def __init__(self, launch: Launch, server: CogServer) -> None:
        self.launch, self.server = launch, server
        self.users = 0
        self.timer: asyncio.TimerHandle | None = None


class QueuedPrediction:
    """A prediction that waits for a server.

    ``may_join`` is whether a server of its version has started meanwhile. The prediction may use that server before
    earlier predictions in the queue get one.
    """

    def __init__(self, version: str) -> None:
        self.version = version
        self.woken = asyncio.Event()
        self.may_join = False


class Instances:
    """At most ``limit`` servers run at the same time.

    A server without predictions stops after ``idle`` seconds, or when a server of another model must start and
    ``limit`` is reached.

    While all servers are busy, every new prediction is queued, even if the server of its model runs. Otherwise models
    that are always busy would keep other models out for ever. There is one exception: when a server starts, all queued
    predictions of its version may use it. Otherwise, predictions of many models that arrive in rotation would start a
    server each.
    """

    def __init__(self, make: Callable[[Launch], CogServer], *, idle: float, limit: int) -> None:
        self._make, self._idle, self._limit = make, idle, limit
        self._running: dict[str, Instance] = {}  # by version, in order of their last use
        self._queue: deque[QueuedPrediction] = deque()
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def use(self, launch: Launch, canceled: asyncio.Event) -> AsyncIterator[CogServer | None]:
        """The server of this version, which may not be started yet. None if the prediction was canceled first."""
        instance = await unless(canceled, self._acquire(launch))
        if instance is None:
            yield None
            return
        try:
            yield instance.server
        finally:
            self._release(instance)

    async def close(self) -> None:
        for instance in list(self._running.values()):
            self._stop(instance)
        await asyncio.gather(*self._closing)

    async def _acquire(self, launch: Launch) -> Instance:
        queued = QueuedPrediction(launch.model.version)
        self._queue.append(queued)
        try:
            while True:
                is_next = self._queue[0] is queued or (queued.may_join and queued.version in self._running)
                if is_next and (instance := await self._find(launch)):
                    return instance
                queued.woken.clear()
                await queued.woken.wait()
        finally:
            self._queue.remove(queued)
            self._wake_first()

    async def _find(self, launch: Launch) -> Instance | None:
        """The running instance of this version, or a new one. None if ``limit`` servers run and all are busy."""
        version = launch.model.version
        instance = self._running.pop(version, None)  # inserted again below, as the last one used
        if instance is None:
            if len(self._running) >= self._limit:
                idle = next((running for running in self._running.values() if not running.users), None)
                if idle is None:
                    return None
                self._stop(idle)
            # A server that is being stopped still needs memory and processor time, so the new one starts after it.
            if self._closing:
                await asyncio.wait(self._closing)
            instance = Instance(launch, self._make(launch))
            for queued in self._queue:
                if queued.version == version:
                    queued.may_join = True
                    queued.woken.set()
        self._running[version] = instance
        instance.users += 1
        if instance.timer:
            instance.timer.cancel()
        for replaced in self._replaced(launch):
            self._set_timer(replaced, _SOON)
        return instance

    def _replaced(self, launch: Launch) -> list[Instance]:
        """Idle servers of other versions of this model."""
        return [
            instance
            for version, instance in self._running.items()
            if not instance.users
            and instance.launch.model.slug == launch.model.slug
            and version != launch.model.version
        ]

    def _release(self, instance: Instance) -> None:
        instance.users -= 1
        if not instance.users:
            slug = instance.launch.model.slug
            # A server stops early if its setup failed, or if a newer version runs, because it would only occupy memory.
            newest = [running for running in self._running.values() if running.launch.model.slug == slug][-1:]
            stays = instance.server.is_ready and newest in ([], [instance])
            self._set_timer(instance, self._idle if stays else min(self._idle, _SOON))
        self._wake_first()

    def _set_timer(self, instance: Instance, seconds: float) -> None:
        if instance.timer:
            instance.timer.cancel()
        instance.timer = asyncio.get_running_loop().call_later(seconds, self._stop, instance)

    def _stop(self, instance: Instance) -> None:
        if instance.timer:
            instance.timer.cancel()
        del self._running[instance.launch.model.version]
        task = asyncio.get_running_loop().create_task(instance.server.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        self._wake_first()

    def _wake_first(self) -> None:
        """Let the first prediction in the queue try again to get a server."""
        if self._queue:
            self._queue[0].woken.set()

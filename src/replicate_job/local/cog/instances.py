"""Which model servers run: at most so many at once, each as long as it is used and a while longer."""

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
"""Seconds that a server stays which is not ready, or whose model has a newer version that runs."""


class Instance:
    """A server and how many predictions it has, waiting ones with them. It ends when ``timer`` does."""

    def __init__(self, launch: Launch, server: CogServer) -> None:
        self.launch, self.server = launch, server
        self.users = 0
        self.timer: asyncio.TimerHandle | None = None


class QueuedPrediction:
    """Of one prediction that waits. It ``joins`` a server that started while it waited."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.called = asyncio.Event()
        self.joins = False


class Instances:
    """``most`` servers at once; one without predictions stops after ``idle`` seconds, or when another needs its place.

    Where all are busy, whoever needs a new one waits, and whoever comes later waits behind it: without that, models
    that are always busy would keep the others out for ever. But a server that starts takes all who wait for it then:
    without that, predictions of more models than ``most`` that come in turns would each start a server.
    """

    def __init__(self, make: Callable[[Launch], CogServer], *, idle: float, most: int) -> None:
        self._make, self._idle, self._most = make, idle, most
        self._running: dict[str, Instance] = {}  # by version; the one that was used last is at the end
        self._queue: deque[QueuedPrediction] = deque()
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def use(self, launch: Launch, canceled: asyncio.Event) -> AsyncIterator[CogServer | None]:
        """The server of this version, which may have to be started still; None where it was canceled first."""
        instance = await unless(canceled, self._take(launch))
        if instance is None:
            yield None
            return
        try:
            yield instance.server
        finally:
            self._give_back(instance)

    async def close(self) -> None:
        for instance in list(self._running.values()):
            self._end(instance)
        await asyncio.gather(*self._closing)

    async def _take(self, launch: Launch) -> Instance:
        turn = QueuedPrediction(launch.model.version)
        self._queue.append(turn)
        try:
            while True:
                may = self._queue[0] is turn or (turn.joins and turn.version in self._running)
                if may and (instance := await self._find(launch)):
                    return instance
                turn.called.clear()
                await turn.called.wait()
        finally:
            self._queue.remove(turn)
            self._call()

    async def _find(self, launch: Launch) -> Instance | None:
        """The one that runs, or a new one in a free place; None where there is none."""
        version = launch.model.version
        instance = self._running.pop(version, None)
        if instance is None:
            if len(self._running) >= self._most:
                idle = next((each for each in self._running.values() if not each.users), None)
                if idle is None:
                    return None
                self._end(idle)
            # What was ended has its memory and processor still: the new one comes after it.
            if self._closing:
                await asyncio.wait(self._closing)
            instance = Instance(launch, self._make(launch))
            for turn in self._queue:
                if turn.version == version:
                    turn.joins = True
                    turn.called.set()
        self._running[version] = instance
        instance.users += 1
        if instance.timer:
            instance.timer.cancel()
        for other in self._replaced(launch):
            self._set_timer(other, _SOON)
        return instance

    def _replaced(self, launch: Launch) -> list[Instance]:
        """Idle servers of other versions of this model."""
        return [
            each
            for version, each in self._running.items()
            if not each.users and each.launch.model.slug == launch.model.slug and version != launch.model.version
        ]

    def _give_back(self, instance: Instance) -> None:
        instance.users -= 1
        if not instance.users:
            slug = instance.launch.model.slug
            newest = [each for each in self._running.values() if each.launch.model.slug == slug][-1:]
            keep = instance.server.is_ready and newest in ([], [instance])
            self._set_timer(instance, self._idle if keep else min(self._idle, _SOON))
        self._call()

    def _set_timer(self, instance: Instance, seconds: float) -> None:
        if instance.timer:
            instance.timer.cancel()
        instance.timer = asyncio.get_running_loop().call_later(seconds, self._end, instance)

    def _end(self, instance: Instance) -> None:
        if instance.timer:
            instance.timer.cancel()
        del self._running[instance.launch.model.version]
        task = asyncio.get_running_loop().create_task(instance.server.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        self._call()

    def _call(self) -> None:
        """Whoever is first in the queue looks again."""
        if self._queue:
            self._queue[0].called.set()

"""The watcher: one process of a fleet polls all predictions, by reading the account's list on behalf of all workers."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress

from replicate_job.batches.poller import Poller
from replicate_job.errors import JournalError, NotFoundError, ReplicateJobError
from replicate_job.fleet.parts import Fleet, Rows
from replicate_job.flow.subject import SUBJECT, Known
from replicate_job.journal.postgres import WATCHER
from replicate_job.journal.postgres_fleet import End, Watched
from replicate_job.outputs.promise import broken_promise
from replicate_job.wire.prediction import Prediction

ROLE = WATCHER
TERM = 5.0
"""Seconds of the role's lease. After that, another process replaces a stopped watcher."""
RENEWED = 2.0
"""Seconds after which the lease is renewed."""
TRIED = 1.0
"""Seconds between two tries of another process to get the role."""
TICK = 0.5
"""Seconds between two writes of ends, and the shortest time between two searches for new predictions."""
READ_AT_ONCE = 10_000.0
"""The pause between two searches for new predictions is one second for each of this many running predictions."""
WRITTEN = 500
"""The most ends that are written in one transaction."""


class Watcher:
    """Tries to get the watcher's role while the process runs, and polls all predictions while it has the role.

    A process that was stopped may continue after another process got the role. That does no harm, since ends are final.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._clock = fleet, fleet.context.clock
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self._missing: set[str] = set()
        self._ends: list[End] = []
        self.is_elected = False

    async def run(self) -> None:
        fleet = self._fleet
        try:
            while True:
                try:
                    self.is_elected = await self._stand()
                    if self.is_elected:
                        await self._watch()
                except ReplicateJobError as error:
                    fleet.context.reporter.note(f"watching is interrupted: {error}")
                self.is_elected = False
                await self._clock.sleep(TRIED)
        finally:
            if self.is_elected:
                with suppress(JournalError):
                    await asyncio.shield(fleet.tables.resign(ROLE, fleet.api))

    async def _stand(self) -> bool:
        return await self._fleet.tables.elect(ROLE, self._fleet.api, TERM)

    async def _watch(self) -> None:
        """Watch until another process has the role."""
        poller = Poller(self._fleet.context)
        stood = looked = self._clock.now()
        await self._look(poller)
        try:
            while True:
                await self._clock.sleep(TICK)
                await self._write()
                if self._clock.now() - stood >= RENEWED:
                    stood = self._clock.now()
                    if not await self._stand():
                        return
                if self._clock.now() - looked >= len(self._waiting) / READ_AT_ONCE:
                    looked = self._clock.now()
                    await self._look(poller)
        finally:
            for task in self._waiting.values():
                task.cancel()
            if self._waiting:
                await asyncio.wait(self._waiting.values())
            self._waiting.clear()
            await poller.close()

    async def _look(self, poller: Poller) -> None:
        """Begin to wait for predictions that were created since the last search."""
        found, current = await self._fleet.tables.watched(self._fleet.api, self._waiting.keys() | self._missing)
        batches = await self._fleet.rows_named(watched.batch for watched in found if watched.batch)
        for watched in found:
            wait = self._wait(poller, watched, batches.get(watched.batch))
            self._waiting[watched.prediction_id] = asyncio.create_task(wait)
        for gone in [id_ for id_, task in self._waiting.items() if task.done() or id_ not in current]:
            self._waiting.pop(gone).cancel()

    async def _wait(self, poller: Poller, watched: Watched, rows: Rows | None) -> None:
        fleet = self._fleet
        SUBJECT.set(Known(key=watched.key, prediction=watched.prediction_id, batch=watched.batch))
        try:
            with rows.part(watched.key) if rows else nullcontext(), fleet.context.telemetry.step("wait"):
                end = await poller.wait(watched.prediction_id, watched.last, age=0)
            self._ends.append(End(end, collected=_is_all(watched, rows, end)))
        except NotFoundError as error:
            self._missing.add(watched.prediction_id)
            await fleet.tables.note_problem_of(watched, str(error))
        except ReplicateJobError as error:
            fleet.context.reporter.warn(f"{watched.prediction_id}: {error}; asking again")

    async def _write(self) -> None:
        while self._ends:
            some = self._ends[:WRITTEN]
            await self._fleet.tables.end(self._fleet.api, some)
            del self._ends[: len(some)]


def _is_all(watched: Watched, rows: Rows | None, end: Prediction) -> bool:
    """Whether the job is finished by its prediction's end, since there are no outputs to keep and no data to delete."""
    if rows is None:  # a job without a batch: the process that waits for the job keeps its outputs
        return False
    if watched.strips or end.data_removed:
        return False
    model = rows.made_by(watched.path, watched.version)
    if watched.saves and model.context.strategy.keeps(model.context, end):
        return False
    is_whole = end.status != "succeeded" or not model.resolved.makes_files
    return is_whole or not broken_promise(end.output, model.resolved.schema)

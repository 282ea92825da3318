"""A process that runs jobs. It can be stopped, killed, interrupted and asked to end, at each of its steps."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from replicate_job.api.client import Client
from replicate_job.errors import ReplicateJobError
from replicate_job.flow.context import Context
from replicate_job.job import Job, Result
from replicate_job.journal.entry import Entry

from .clocks import MachineClock
from .disk import REAL_BUSY, Disk, DiskJournal
from .loop import VirtualLoop
from .shape import alone, ask_account, open_journal, run, shared_scans
from .wire import BASE_URL, CONNECTING, JOB, Flight, Traffic, Wire

if TYPE_CHECKING:
    from .account import Account
    from .play import World

RENEWS = 5.0
"""Seconds between two renewals of a journal's lease: a third of it."""


class KilledError(BaseException):
    """Unwinds the tasks of a killed process, so that none of them acts any more."""


class Interruption(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """At step number ``step`` of a process: ``stop`` for ``seconds``, ``kill``, ``ctrl-c`` or ``term``."""

    step: int
    kind: str
    seconds: float = 0.0


class Ended(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """How a process left a job: with a result, an error, or neither if it was interrupted."""

    process: int
    key: str
    result: Result | None = None
    error: BaseException | None = None

    @property
    def prediction_id(self) -> str:
        """The id in its result, which an error can carry too; empty if there is none."""
        result = self.result or getattr(self.error, "result", None)
        return result.prediction_id if result else ""


class Silent:
    """A reporter that only logs."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def error(self, line: str) -> None:
        self._say(f"error: {line}")

    def warn(self, line: str) -> None:
        self._say(f"warning: {line}")

    def tell(self, line: str) -> None:
        self._say(f"told: {line}")

    def note(self, line: str) -> None:
        self._say(f"note: {line}")

    def observed(self, prediction: Any) -> None:
        pass


class Process:
    def __init__(  # noqa: PLR0913 - what a process is started with
        self,
        world: World,
        number: int,
        jobs: dict[str, Job],
        *,
        account: Account,
        clock: MachineClock,
        interruptions: tuple[Interruption, ...] = (),
        timeout: float | None = None,
        disk: Disk,
        traffic: Traffic,
        cache: Path,
    ) -> None:
        self._world, self.number, self._jobs = world, number, jobs
        self.account, self.clock = account, clock
        self._interruptions = {each.step: each for each in interruptions}
        self._timeout = timeout
        self.loop = VirtualLoop(lambda: world.now, world.advance)
        self.loop.set_exception_handler(self._unheard)
        self.steps = 0
        self.stopped_until = -math.inf
        self._stops: list[float] = []
        self.is_dead = self.is_over = self.is_leaving = self.is_cut_short = False
        self.disturbed: float | None = None
        self.rows: dict[str, Entry] = {}
        self._flights: set[Flight] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._journal = open_journal(disk.path, clock, REAL_BUSY, account.name)
        self._count_work(self._journal._store)  # noqa: SLF001 - what the journal does in the background counts too
        self.journal = DiskJournal(self._journal, disk, self)
        wire = Wire(self, account, traffic)
        client = Client(wire, clock=clock)
        self._account_note = ask_account(client, self.journal)
        self.context = Context(
            api=BASE_URL,
            client=client,
            account=self._account_note,
            strategy=cast("Any", alone()),
            journal=cast("Any", self.journal),
            fetch=cast("Any", wire.fetch),
            reporter=Silent(lambda line: world.log(f"{self.number}: {line}")),
            cache=cache,
            clock=clock,
        )
        if world.plan.way == "row":
            self.context = shared_scans(self.context)
        self._main = self.loop.create_task(self._run())

    def _count_work(self, store: Any) -> None:
        """Let time wait for the work of the journal's thread, also for work that no call of the journal awaits."""
        run = store.run

        async def counted(*arguments: Any, **named: Any) -> Any:
            self.loop.works += 1
            try:
                return await run(*arguments, **named)
            finally:
                self.loop.works -= 1

        store.run = store.read = counted

    @property
    def world_time(self) -> float:
        return self._world.now

    @property
    def is_stopped(self) -> bool:
        return self._world.now < self.stopped_until

    @property
    def due(self) -> float:
        """The time at which its next task continues."""
        return math.inf if self.is_dead or self.is_over else max(self.loop.wakes, self.stopped_until)

    def go_on(self) -> None:
        """Run until all of its tasks sleep, or until it is stopped or killed."""
        self.loop.run_until_idle()
        if self._main.done() and not self.is_over:
            self.is_over = True
            self._world.log(f"{self.number}: over")
            if error := self._main.exception():
                raise error

    async def _run(self) -> None:
        self._room = asyncio.Semaphore(self._world.plan.together)
        beat = asyncio.create_task(self._beat())
        self._tasks = [asyncio.create_task(self._job(key, job)) for key, job in self._jobs.items()]
        await asyncio.gather(*self._tasks)
        await self._account_note.close()
        beat.cancel()
        self.loop.works += 1
        with suppress(ReplicateJobError):
            self.rows = await self._journal.look_up(list(self._jobs))
        await self._journal.__aexit__(None, None, None)
        self.loop.works -= 1

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(RENEWS)
            with suppress(ReplicateJobError, KilledError):
                await self.journal.renew()

    async def _job(self, key: str, job: Job) -> None:
        JOB.set(key)
        end = Ended(self.number, key)
        try:
            async with self._room:
                result = await run(
                    self.context,
                    key,
                    job,
                    self._world.plan.way,
                    within=self._timeout,
                    leave=lambda: self.is_leaving,
                )
            end = Ended(self.number, key, result)
        except asyncio.CancelledError:
            pass
        except KilledError:
            return
        except Exception as error:  # noqa: BLE001 - the judge decides which errors are allowed
            end = Ended(self.number, key, error=error)
        self._world.log(f"{self.number}: {key} ends: {end.result or end.error!r}")
        self._world.ends.append(end)

    def _unheard(self, _loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
        """Record an error in a task that nothing awaits: it is a fault, unless the process was killed."""
        error = told.get("exception")
        if not self.is_dead and not isinstance(error, KilledError):
            self._world.ends.append(Ended(self.number, "", error=error or RuntimeError(told["message"])))

    async def point(self, name: str) -> None:
        """A step at which the plan may interrupt the process. Its other tasks run on to their own next step."""
        self.check_alive()
        found = self._interruptions.pop(self.steps, None)
        self.steps += 1
        self._world.log(f"{self.number}: {name}" + (f" -- {found.kind} {found.seconds:g}" if found else ""))
        if found:
            self._interrupt(found)
        self.check_alive()
        if found or self.is_stopped:
            await asyncio.sleep(max(0.0, self.stopped_until - self._world.now))

    def _interrupt(self, found: Interruption) -> None:
        self.disturbed = self._world.now if self.disturbed is None else self.disturbed
        match found.kind:
            case "stop":
                self.stopped_until = self._world.now + found.seconds
                if found.seconds > CONNECTING:
                    self._stops.append(self._world.now)
            case "kill":
                self.kill()
            case "ctrl-c" | "term":
                self.is_cut_short = True
                self.is_leaving = found.kind == "term"
                for task in self._tasks:
                    self.loop.call_soon(task.cancel)

    def check_alive(self) -> None:
        if self.is_dead:
            raise KilledError

    def has_slept(self, since: float) -> bool:
        """Whether it was stopped since then, for so long that another process may have taken over."""
        return any(since <= moment < self._world.now - CONNECTING for moment in self._stops)

    def take_off(self, flight: Flight, after: float) -> None:
        self._flights.add(flight)
        self._world.at(self._world.now + after, flight.land)

    def arrived(self, flight: Flight) -> None:
        self._flights.discard(flight)

    def kill(self) -> None:
        self.is_dead = True
        for flight in self._flights:
            flight.land()

    def close(self) -> None:
        """Unwind the remaining tasks, without any effect."""
        self.is_dead = True
        if not self.is_over:
            self.loop.run_until_complete(self._unwind())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    async def _unwind(self) -> None:
        self.loop.works += 1
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._journal.__aexit__(None, None, None)

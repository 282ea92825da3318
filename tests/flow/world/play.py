"""Runs a plan, and keeps its outcome."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable
from pathlib import Path

from replicate_job.journal.entry import Entry

from .account import Account
from .clocks import MachineClock
from .disk import Disk
from .plan import Life, Plan
from .process import Ended, Process
from .wire import Traffic

LONGEST = 1500.0
"""World seconds in which any process comes to its end, if it does not wait in vain."""
PATIENT = Life(polls=1000)
"""An undisturbed process. No limit of its jobs ends it before the slowest search and the slowest prediction."""


class World:
    """One run of the world.

    ``ends`` holds how each process left each job. ``rows`` are the journal's rows after the undisturbed process.
    ``last_rows`` are its rows after further undisturbed processes, the last of which must change nothing.
    """

    def __init__(self, plan: Plan, folder: Path, *, keep_log: bool = False) -> None:
        self.plan, self.now = plan, 0.0
        self.ends: list[Ended] = []
        self.replayed: list[Ended] = []
        self.creates_of_replay = 0
        self.rows: dict[str, Entry] = {}
        self.last_rows: dict[str, Entry] = {}
        self.lines: list[str] = []
        self._keep_log = keep_log
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self.accounts = [
            Account(lambda: self.now, plan.nature, seed=plan.seed, name=name) for name in ("mine", "other")
        ]
        self.traffic = Traffic(plan.network)
        self._folder = folder
        self._disk = Disk(folder / "journal.db", plan.faults, lambda: self.now)
        self._clock = MachineClock(lambda: self.now, plan.jumps)
        self._processes: list[Process] = []

    def ended_by_itself(self, number: int) -> bool:
        """Whether this process was neither killed nor asked to end."""
        process = self._processes[number]
        return not process.is_dead and not process.is_cut_short

    def log(self, line: str) -> None:
        if self._keep_log:
            self.lines.append(f"{self.now:9.2f} {line}")

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def at(self, moment: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), action))

    def play(self) -> None:
        state = random.getstate()
        random.seed(self.plan.seed)  # so that the product's own random numbers are the same in every run
        try:
            self._play()
        finally:
            random.setstate(state)

    def close(self) -> None:
        for process in self._processes:
            process.close()

    def _play(self) -> None:
        for foreign in self.plan.foreign:
            if foreign.at <= 0:
                self.now = foreign.at
                self.accounts[0].create(foreign.input)
                self.now = 0.0
            else:
                self.at(foreign.at, lambda given=foreign.input: self.accounts[0].create(given))  # type: ignore[misc]
        for life in self.plan.lives:
            self._wait(life.after)
            process = self._start(life)
            self._run(lambda process=process: process.disturbed is not None or process.is_over)  # type: ignore[misc]
        self._run(lambda: all(process.is_over or process.is_dead for process in self._processes))
        self._wait(self.plan.rest)
        self._disk.heal()
        self.traffic.heal()
        self.rows = self._last()
        if any(row.state == "uncertain" for row in self.rows.values()):
            self._last()
        created, ended = self.traffic.created, len(self.ends)
        self.last_rows = self._last()
        self.replayed, self.creates_of_replay = self.ends[ended:], self.traffic.created - created

    def _last(self) -> dict[str, Entry]:
        process = self._start(PATIENT)
        self._run(lambda: process.is_over)
        return process.rows

    def _start(self, life: Life) -> Process:
        if life.reboots:
            self._clock = MachineClock(lambda: self.now, self.plan.jumps, started=self.now - 20)
        self.log(f"process {len(self._processes)} starts: {life}")
        process = Process(
            self,
            len(self._processes),
            self.plan.jobs_in(life),
            account=self.accounts[life.stranger],
            clock=self._clock,
            interruptions=life.interruptions,
            timeout=life.timeout,
            disk=self._disk,
            traffic=self.traffic,
            cache=self._folder,
        )
        self._processes.append(process)
        return process

    def _wait(self, seconds: float) -> None:
        until = self.now + seconds
        self.at(until, lambda: None)
        self._run(lambda: self.now >= until, at_least=seconds + 1)

    def _run(self, is_enough: Callable[[], bool], *, at_least: float = 0) -> None:
        """Let time pass until ``is_enough``. Each process that is due runs until all of its tasks sleep."""
        given_up = self.now + max(LONGEST, at_least)
        while not is_enough():
            due = [process for process in self._processes if process.due <= self.now]
            if due:
                due[0].go_on()
                continue
            moment = min(
                self._events[0][0] if self._events else math.inf, *(each.due for each in self._processes), math.inf
            )
            assert moment < given_up, f"waits in vain at {self.now}"
            self.now = max(self.now, moment)
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()

"""Runs one plan and judges it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from .judge import judge
from .plan import Plan, smaller
from .play import World

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder in memory, where there is one


SHRINKING = 15.0
ROUND, CLOCK = 12, 9
"""Lines of a story that can come again and again, and characters of the time before each."""


def verdict(plan: Plan, *, keep_log: bool = False) -> tuple[list[str], World]:
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    world = World(plan, folder, keep_log=keep_log)
    try:
        world.play()
        return judge(world), world
    except AssertionError as error:
        return [f"hangs: {error}"], world
    finally:
        world.close()
        shutil.rmtree(folder, ignore_errors=True)


def kind(problem: str) -> str:
    return problem.partition(":")[0]


def shrink(plan: Plan, problem: str) -> Plan:
    """The smallest plan that breaks the same promise and is found within 15 seconds."""
    given_up = time.monotonic() + SHRINKING
    while True:
        for candidate in smaller(plan):
            if time.monotonic() > given_up:
                return plan
            if kind(problem) in map(kind, verdict(candidate)[0]):
                plan = candidate
                break
        else:
            return plan


def story(plan: Plan) -> str:
    """The log of a plan's run, and the promises that it breaks."""
    problems, world = verdict(plan, keep_log=True)
    return "\n".join([repr(plan), *_without_rounds(world.lines), *problems])


def _without_rounds(lines: list[str]) -> Iterator[str]:
    """Leave out lines that repeat, such as polls."""
    recent = deque[str](maxlen=ROUND)
    for line in lines:
        what = line[CLOCK:]
        if what not in recent:
            yield line
        recent.append(what)

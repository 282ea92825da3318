"""Measures calls from inside the process that makes them. Only the standard library, as every client imports it.

Each line of stdin is a turn: the calls are made, and a line of JSON says what they took.
"""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

WARMUP = 64
"""Calls before those that count: they open connections, and fill caches."""


def in_threads(call: Callable[[int], bool], count: int, workers: int) -> None:
    """Make ``count`` calls a turn, with ``workers`` threads."""
    call(-WARMUP)  # alone: replicate 1.0.7 makes its HTTP client at the first call, and several where several come
    with ThreadPoolExecutor(workers) as pool:
        _check(sum(pool.map(call, range(-WARMUP, 0))), WARMUP)
        for _ in sys.stdin:
            with _Meter(own=workers) as meter:
                done = sum(pool.map(call, range(count)))
            _check(done, count)
            meter.show()


async def in_tasks(call: Callable[[int], Awaitable[bool]], count: int, workers: int) -> None:
    """The same with ``workers`` tasks."""

    async def all_of(numbers: range) -> int:
        left, done = iter(numbers), 0

        async def work() -> None:
            nonlocal done
            for number in left:
                is_right = await call(number)
                done += is_right

        await asyncio.gather(*(work() for _ in range(workers)))
        return done

    _check(await all_of(range(-WARMUP, 0)), WARMUP)
    while await asyncio.to_thread(sys.stdin.readline):  # in a thread, as a client works on between the turns
        with _Meter(own=1) as meter:
            done = await all_of(range(count))
        _check(done, count)
        meter.show()


def _check(done: int, count: int) -> None:
    if done != count:
        raise SystemExit(f"only {done} of {count} calls gave the output")


class _Meter:
    """``own`` is how many threads the benchmark has made for itself."""

    def __init__(self, own: int = 0) -> None:
        self._own, self._ended = own, threading.Event()
        self.threads = self.descriptors = 0
        self._watcher = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._watcher.start()
        self._cpu, self._start = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._start, time.process_time() - self._cpu
        self._ended.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            if Path("/proc/self").exists():  # Linux
                threads, descriptors = (len([*Path(f"/proc/self/{kind}").iterdir()]) for kind in ("task", "fd"))
                self.threads = max(self.threads, threads - self._own - 1)
                self.descriptors = max(self.descriptors, descriptors)

    def show(self) -> None:
        figures = {name: getattr(self, name) for name in ("wall", "cpu", "threads", "descriptors")}
        print(json.dumps(figures), flush=True)

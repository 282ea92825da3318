"""Reads a batch's rows from any iterable as they are needed, without blocking the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import suppress
from typing import Generic, TypeVar

AHEAD = 256
"""The most rows that are read ahead, and handed over together."""
FULL = 16 * 1024**2
"""The most bytes of rows that are read ahead. A row may contain a picture."""

T = TypeVar("T")


async def read_ahead(
    rows: Iterable[T] | AsyncIterable[T], size: Callable[[T], int] = lambda _: 0
) -> AsyncGenerator[list[T], None]:
    """Yield the rows that are ready, in lists. An error of the iterable is raised after the rows before it.

    ``size`` estimates the bytes of a row. An iterable that may block is read in a thread of its own.
    """
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield [row]
        return
    reader = _Reader(rows, size)
    try:
        while chunk := await reader.take():
            yield chunk
    finally:
        reader.stop()


class _Reader(Generic[T]):
    """Reads in a daemon thread, since a process must be able to end while a read blocks."""

    def __init__(self, rows: Iterable[T], size: Callable[[T], int]) -> None:
        self._rows, self._size_of, self._size = rows, size, 0
        self._chunk: list[T] = []
        self._ended, self._stopped = False, False
        self._failure: BaseException | None = None
        self._taken = threading.Condition()
        self._loop, self._news = asyncio.get_running_loop(), asyncio.Event()
        threading.Thread(target=self._serve, name="rows", daemon=True).start()

    async def take(self) -> list[T]:
        """All rows that are ready, at least one; an empty list at the end."""
        while True:
            self._news.clear()
            with self._taken:
                chunk, self._chunk, self._size, ended = self._chunk, [], 0, self._ended
                self._taken.notify()
            if chunk:
                return chunk
            if self._failure:
                raise self._failure
            if ended:
                return []
            await self._news.wait()

    def stop(self) -> None:
        with self._taken:
            self._stopped = True
            self._taken.notify()

    def _serve(self) -> None:
        try:
            for row in self._rows:
                with self._taken:
                    while not (self._has_room() or self._stopped):
                        self._taken.wait()
                    if self._stopped:
                        return
                    self._chunk.append(row)
                    self._size += self._size_of(row)
                    is_news = len(self._chunk) == 1
                if is_news:
                    self._notify()
        except BaseException as error:  # noqa: BLE001 - ``take`` raises it
            self._failure = error
        finally:
            with self._taken:
                self._ended = True
            self._notify()

    def _has_room(self) -> bool:
        return len(self._chunk) < AHEAD and self._size < FULL

    def _notify(self) -> None:
        with suppress(RuntimeError):  # the loop was closed, so no more rows are wanted
            self._loop.call_soon_threadsafe(self._news.set)


class LineSet:
    """A set of line numbers, stored as one bit each."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, line: int) -> None:
        missing = (line >> 3) + 1 - len(self._bits)
        if missing > 0:
            self._bits.extend(bytes(missing))
        self._bits[line >> 3] |= 1 << (line & 7)

    def __contains__(self, line: int) -> bool:
        return line >> 3 < len(self._bits) and bool(self._bits[line >> 3] >> (line & 7) & 1)

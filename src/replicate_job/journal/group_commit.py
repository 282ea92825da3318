"""Group commit: writes of many tasks share a transaction. Writes that arrive meanwhile share the next transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from replicate_job.errors import JournalError
from replicate_job.journal.store import Undo

MOST = 200
"""The most writes in one transaction."""

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class _Write(Generic[Item, Outcome]):
    __slots__ = ("item", "outcome")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def fail(self, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            self.outcome.cancel()
        elif not self.outcome.done():
            self.outcome.set_exception(error)


class GroupCommit(Generic[Item, Outcome]):
    """``write`` writes any number of items in one transaction, and returns the outcomes in the order of the items.

    A single write starts immediately. Many writes at the same time cost only a few transactions.
    """

    def __init__(self, write: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome]]]) -> None:
        self._write = write
        self._waiting: list[_Write[Item, Outcome]] = []
        self._work: asyncio.Task[None] | None = None

    async def add(self, item: Item, undo: Undo | None = None) -> Outcome:
        """Write the item, and return its outcome. Raises the errors of ``write``.

        If this task is cancelled before the transaction begins, the item is not written. If the task is cancelled
        later, ``undo`` is called after the write. ``undo`` does not get the outcome, and the write may have failed.
        """
        write = _Write[Item, Outcome](item)
        self._waiting.append(write)
        if self._work is None:
            self._work = asyncio.create_task(self._serve())
        try:
            return await asyncio.shield(write.outcome)
        except asyncio.CancelledError:
            if write in self._waiting:
                self._waiting.remove(write)
            elif undo:
                with suppress(JournalError):
                    await asyncio.shield(self._undo(write, undo))
            raise

    async def _undo(self, write: _Write[Item, Outcome], undo: Undo) -> None:
        with suppress(JournalError):
            await write.outcome
        await undo()

    async def _serve(self) -> None:
        writes: list[_Write[Item, Outcome]] = []
        try:
            while writes := self._waiting[:MOST]:
                del self._waiting[:MOST]
                try:
                    outcomes = await self._write([write.item for write in writes])
                except JournalError as error:
                    for write in writes:
                        write.fail(error)
                else:
                    for write, outcome in zip(writes, outcomes, strict=True):
                        write.outcome.set_result(outcome)
        except BaseException as error:
            for write in [*writes, *self._waiting]:
                write.fail(error)
            self._waiting.clear()
            raise
        finally:
            self._work = None

"""What the journal needs of a database: transactions, which SQLite and PostgreSQL run each in their own way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol, TypeVar

T = TypeVar("T")


class Rows(Protocol):
    """The result of a statement. A row is read by its columns' names: ``row["key"]``."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Database(Protocol):
    """A connection inside a transaction. ``?`` stands for a value, in the order of ``values``."""

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Rows: ...


Work = Callable[[Database], T]
Sync = Literal["now", "soon"]
"""When work has to be where a power cut does not undo it; without one, it may come much later."""


class Store(Protocol):
    """Calls functions with the database, in transactions.

    Each sees one state of it, and no two write the same row. What is to hold between several rows that different
    transactions write needs a unique index.

    ``beats``: the holder of claims lives on, so that its heartbeat is written from time to time.
    """

    beats: bool

    @property
    def note(self) -> Any:
        """What the transaction that is under way has noted; None at its begin.

        The journal gets it once the transaction is committed. It is forgotten with the work that left it, when that is
        rolled back.
        """

    @note.setter
    def note(self, note: Any) -> None: ...

    @property
    def may_be_done(self) -> bool:
        """Whether the work under way was tried before, with a connection that broke at the commit."""

    async def run(self, work: Work[T], *, sync: Sync | None = None, undo: Work[Any] | None = None) -> T:
        """Call the work in a transaction, and return its value once it is committed.

        With the sync ``now``, it is on the disk then; with ``soon``, a moment later. An exception of the work undoes
        it. The work may be called more than once, each time with what it did before rolled back, unless it
        ``may_be_done``. Where nobody waits for it any more, ``undo`` is called after it, in a transaction of its own.
        Raises JournalError for the database's errors.
        """

    async def read(self, work: Work[T]) -> T:
        """Call work that changes nothing."""

    async def vacuum(self) -> None:
        """Give the space of deleted rows back, where the database does not by itself."""

    async def close(self) -> None: ...

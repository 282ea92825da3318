"""The interface of a database for the journal. SQLite and PostgreSQL each run transactions in their own way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Literal, Protocol, TypeVar

T = TypeVar("T")


class Rows(Protocol):
    """The result of a statement. Columns of a row are read by name: ``row["key"]``."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Database(Protocol):
    """A connection inside a transaction. Each ``?`` is replaced by a value, in the order of ``values``."""

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Rows: ...


Work = Callable[[Database], T]
Undo = Callable[[], Awaitable[object]]
Sync = Literal["now", "soon"]
"""When written data must be safe from a power cut: at the commit (``now``), or a moment later (``soon``). With None
instead, it may be much later."""


class Store(Protocol):
    """Runs work in transactions.

    Each transaction sees one state, and two transactions never write the same row at the same time. A rule over several
    rows that different transactions write needs a unique index. ``beats``: this process holds claims, so its heartbeat
    is written regularly.
    """

    beats: bool

    @property
    def note(self) -> Any:
        """The note of the current transaction, None at its start.

        The journal gets the note after the commit. A note is dropped if the work that set it is rolled back.
        """

    @note.setter
    def note(self, note: Any) -> None: ...

    @property
    def may_be_done(self) -> bool:
        """Whether the current work may have been committed before, on a connection that broke at the commit."""

    async def run(self, work: Work[T], *, sync: Sync | None = None, undo: Undo | None = None) -> T:
        """Call the work in a transaction, and return its value after the commit.

        With the sync ``now``, the work's data are then on the disk; with ``soon``, a moment later. An exception of the
        work undoes the work. The work may be called more than once. Earlier calls were rolled back, unless
        ``may_be_done`` is true. If the task is cancelled, ``undo`` is called after the work; a JournalError of ``undo``
        is ignored. Raises JournalError for the database's errors.
        """

    async def read(self, work: Work[T]) -> T:
        """Call work that only reads."""

    async def vacuum(self) -> None:
        """Return the space of deleted rows to the disk, if the database does not do this by itself."""

    async def close(self) -> None: ...

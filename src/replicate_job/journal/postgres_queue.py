"""Adds tasks to the queue, in the same transaction that writes the rows, or the ends of predictions, for the tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

from replicate_job.journal.store import Database

CHUNK = 20
"""The number of rows in a task."""
FEW = 5
"""The number of rows in a task of a batch whose rows have several jobs. It is small, since a row that waits for a dead
worker's lease delays its task."""
COLLECTED = 10
"""The number of jobs in a task that collects outputs."""


def queue_of(api: str) -> str:
    """The name of an API's queue. It contains a hash, since PostgreSQL limits the names of channels to 63 bytes."""
    return f"replicate-{blake2b(api.encode(), digest_size=6).hexdigest()}"


def parts_of(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def defer_rows(  # noqa: PLR0913 - the fields of a task
    db: Database,
    api: str,
    batch: int,
    parts: Sequence[tuple[int, int]],
    *,
    delay: float = 0.0,
    priority: int = 0,
) -> None:
    """Add a task for rows to the queue for each of ``parts``, which are pairs of a first and a last row number.

    A row's chunk is the first number of its task. If a task for the same chunk is waiting in the queue already, that
    task is extended to the last number. In a batch with a plan, two tasks with the same chunk never run together.
    """
    db.execute(
        "INSERT INTO procrastinate_jobs AS t (queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at)"
        " SELECT ?, 'rows', ?, CASE WHEN b.plan IS NOT NULL THEN b.number || '#' || f END, b.number || '#' || f,"
        " jsonb_build_object('batch', b.number, 'first', f, 'last', l),"
        " CASE WHEN ?::float8 > 0 THEN clock_timestamp() + make_interval(secs => ?) END"
        " FROM batches AS b, unnest(?::integer[], ?::integer[]) AS v (f, l) WHERE b.number = ?"
        " ON CONFLICT (queueing_lock) WHERE status = 'todo' DO UPDATE SET priority = greatest(t.priority,"
        " excluded.priority), scheduled_at = CASE WHEN t.scheduled_at IS NOT NULL AND excluded.scheduled_at IS NOT NULL"
        " THEN least(t.scheduled_at, excluded.scheduled_at) END, args = jsonb_set(excluded.args, '{last}',"
        " to_jsonb(greatest((t.args ->> 'last')::int, (excluded.args ->> 'last')::int)))",
        (
            *(queue_of(api), priority, delay, delay),
            *([first for first, _ in parts], [last for _, last in parts], batch),
        ),
    )


def defer_next(db: Database, api: str, places: Sequence[tuple[str, str]]) -> None:
    """Add the tasks of these open rows to the queue, ahead of the tasks of new rows.

    ``places`` are pairs of a batch's id and a row's name.
    """
    if not places:
        return
    found = db.execute(
        "SELECT r.batch, r.chunk, max(r.line) AS last FROM unnest(?::text[], ?::text[]) AS v (id, name) JOIN batches AS"
        " b ON b.id = v.id AND b.plan IS NOT NULL JOIN batch_rows AS r ON r.batch = b.number AND r.name = v.name AND"
        " r.is_open AND NOT r.reused GROUP BY r.batch, r.chunk",
        ([batch for batch, _ in places], [name for _, name in places]),
    )
    for row in found.fetchall():
        defer_rows(db, api, row["batch"], [(row["chunk"], row["last"])], priority=1)


def defer_collect(db: Database, api: str, seqs: Sequence[int], *, delay: float = 0.0) -> None:
    for part in parts_of(seqs, COLLECTED):
        db.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, priority, args, scheduled_at) SELECT ?, 'collect',"
            " 1, jsonb_build_object('seqs', ?::bigint[]),"
            " CASE WHEN ?::float8 > 0 THEN clock_timestamp() + make_interval(secs => ?) END",
            (queue_of(api), list(part), delay, delay),
        )

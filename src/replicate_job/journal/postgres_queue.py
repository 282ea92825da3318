"""The tasks of the queue, as they are written with the rows and the ends that need them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

from replicate_job.journal.store import Database

CHUNK = 20
"""Rows of one task."""
COLLECTED = 10
"""Jobs of one task whose outputs are to be kept."""


def queue_of(api: str) -> str:
    """The name of an API's queue: PostgreSQL's channels have names of 63 bytes."""
    return f"replicate-{blake2b(api.encode(), digest_size=6).hexdigest()}"


def parts_of(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def defer_rows(db: Database, api: str, batch: int, parts: Sequence[tuple[int, int]], *, delay: float = 0.0) -> None:
    """Put tasks into the queue; one that waits there gets these lines too. A row's chunk is the task's first line."""
    db.execute(
        "INSERT INTO procrastinate_jobs AS t (queue_name, task_name, queueing_lock, args, scheduled_at)"
        " SELECT ?, 'rows', ?::bigint || '#' || f, jsonb_build_object('batch', ?::bigint, 'first', f, 'last', l),"
        " CASE WHEN ?::float8 > 0 THEN clock_timestamp() + make_interval(secs => ?) END"
        " FROM unnest(?::integer[], ?::integer[]) AS v (f, l)"
        " ON CONFLICT (queueing_lock) WHERE status = 'todo' DO UPDATE SET scheduled_at = excluded.scheduled_at, args ="
        " jsonb_set(excluded.args, '{last}', to_jsonb(greatest((t.args ->> 'last')::int,"
        " (excluded.args ->> 'last')::int)))",
        (
            *(queue_of(api), batch, batch, delay, delay),
            *([first for first, _ in parts], [last for _, last in parts]),
        ),
    )


def defer_collect(db: Database, api: str, seqs: Sequence[int], *, delay: float = 0.0) -> None:
    for part in parts_of(seqs, COLLECTED):
        db.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, priority, args, scheduled_at) SELECT ?, 'collect',"
            " 1, jsonb_build_object('seqs', ?::bigint[]),"
            " CASE WHEN ?::float8 > 0 THEN clock_timestamp() + make_interval(secs => ?) END",
            (queue_of(api), list(part), delay, delay),
        )

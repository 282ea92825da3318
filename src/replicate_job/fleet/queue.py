"""The queue of tasks. A task only names the rows to work on, so a lost or repeated task costs only time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, LiteralString

import procrastinate
import psycopg
from procrastinate.connector import BaseConnector
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager

from replicate_job.aio import first_of
from replicate_job.journal.postgres_queue import queue_of
from replicate_job.journal.postgres_schema import SCHEMA
from replicate_job.journal.postgres_store import PostgresStore

HEARTBEAT = 2.0
"""Seconds between two heartbeats of the queue's worker."""
POLLED = 2.0
"""Seconds between two polls for tasks. New tasks also come by notification."""
RESTARTED = 1.0
"""Seconds until the queue's worker is restarted. The worker ends when its database cannot be reached."""
TRIES = 3
CONNECTIONS = 4
RECONNECTED = 4.0
"""Seconds after which the pool gives up on a connection that cannot be made. The next poll then immediately makes
another connection. Otherwise the pool doubles its pause with each try, and after an outage of a minute it may wait for
another minute."""
GRACE = 20.0
"""Seconds in which running tasks may finish after the worker is asked to stop."""

FAREWELL = 2.0
"""Additional seconds in which the queue's worker and its connections may close."""

Task = Callable[..., Awaitable[None]]


async def serve(
    store: PostgresStore,
    api: str,
    tasks: Mapping[str, Task],
    *,
    concurrency: int,
    interrupted: Callable[[str], object],
) -> None:
    """Run tasks until cancelled. Tasks that are running at that time may finish within ``GRACE`` seconds.

    If the database cannot be reached, ``serve`` waits for it, and calls ``interrupted`` with a line about the error.
    """
    for name in ("procrastinate", "psycopg", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # these loggers write a traceback for each failed try
    while True:
        try:
            await _serve(store, api, tasks, concurrency)
        except (procrastinate.exceptions.ProcrastinateException, psycopg.Error, OSError) as error:
            interrupted(next(iter(str(error.__cause__ or error).splitlines()), type(error).__name__))
        await asyncio.sleep(RESTARTED)


async def _serve(store: PostgresStore, api: str, tasks: Mapping[str, Task], concurrency: int) -> None:
    queue = queue_of(api)
    app = procrastinate.App(connector=_connector(store))
    jobs, running = _Jobs(app.connector), _Running()
    app.job_manager = jobs
    for name, task in tasks.items():
        app.task(name=name, queue=queue)(running.counted(task))
    await app.open_async()
    working = asyncio.create_task(
        app.run_worker_async(
            queues=[queue],
            concurrency=concurrency,
            fetch_job_polling_interval=POLLED,
            update_heartbeat_interval=HEARTBEAT,
            shutdown_graceful_timeout=GRACE,
            delete_jobs="always",
            install_signal_handlers=False,
        )
    )
    losing = asyncio.create_task(jobs.has_lost.wait())
    try:
        await asyncio.wait({working, losing}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        losing.cancel()
        working.cancel()
        await _end(app, working, running)


async def _end(app: procrastinate.App, working: asyncio.Task[None], running: _Running) -> None:
    """Let the tasks finish, and stop the queue's worker soon after that, since its database may be unreachable."""
    working.add_done_callback(lambda task: task.cancelled() or task.exception())  # marks its exception as retrieved
    with suppress(asyncio.CancelledError):
        await first_of(asyncio.wait({working}), running.is_none.wait())
        await asyncio.wait({working}, timeout=FAREWELL)
        await asyncio.wait({asyncio.create_task(app.close_async())}, timeout=FAREWELL)


class _Running:
    """Counts running tasks. ``is_none`` is set while no task runs."""

    def __init__(self) -> None:
        self._number, self.is_none = 0, asyncio.Event()
        self.is_none.set()

    def counted(self, task: Task) -> Callable[..., Any]:
        async def do(**arguments: Any) -> None:
            self._number += 1
            self.is_none.clear()
            try:
                await task(**arguments)
            finally:
                self._number -= 1
                if not self._number:
                    self.is_none.set()

        return do


class _Jobs(JobManager):
    """Finishes a task only if no other worker has got it meanwhile. The library's method would end the task's new run.

    If the end of a task cannot be written, ``has_lost`` is set. Then the queue's worker is restarted, and the task is
    run again.
    """

    def __init__(self, connector: BaseConnector) -> None:
        super().__init__(connector)
        self.has_lost = asyncio.Event()

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:  # noqa: ARG002, FBT001 - the library's signature
        query: LiteralString = (
            "DELETE FROM procrastinate_jobs WHERE id = %(number)s AND worker_id = %(worker)s AND status = 'doing'"
        )
        for _ in range(TRIES):
            try:
                await self.connector.execute_query_async(query, number=job.id, worker=job.worker_id)
            except procrastinate.exceptions.AppNotOpen:  # this process ends, and another worker will run the task
                return
            except procrastinate.exceptions.ConnectorException:
                await asyncio.sleep(RESTARTED)
            else:
                return
        self.has_lost.set()


def _connector(store: PostgresStore) -> procrastinate.PsycopgConnector:
    options = psycopg.conninfo.conninfo_to_dict(store.address())
    usual: dict[str, Any] = {
        "tcp_user_timeout": 10_000,
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "connect_timeout": 5,
        "application_name": "replicate-job queue",
    }
    return procrastinate.PsycopgConnector(
        conninfo="",
        kwargs={**usual, **options},
        configure=_search,  # not by an option of the connection, which PgBouncer refuses
        min_size=1,
        max_size=CONNECTIONS,
        timeout=10,
        reconnect_timeout=RECONNECTED,
    )


async def _search(connection: psycopg.AsyncConnection[Any]) -> None:
    """Set the schema with the queue's tables on a new connection."""
    await connection.execute(f"SET search_path = {SCHEMA}")
    await connection.commit()

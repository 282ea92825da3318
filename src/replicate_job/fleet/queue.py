"""The queue of tasks. It holds "look at the rows a to b" alone: a task that is lost or done twice costs time only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import procrastinate
import psycopg
from procrastinate.connector import BaseConnector
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager

from replicate_job.aio import unless
from replicate_job.journal.postgres_fleet import queue_of
from replicate_job.journal.postgres_schema import SCHEMA
from replicate_job.journal.postgres_store import PostgresStore

HEARTBEAT = 2.0
"""Seconds between two heartbeats of the queue's worker."""
POLLED = 2.0
"""Seconds between two looks for tasks, besides the notifications of new ones."""
RESTARTED = 1.0
"""Seconds until the queue's worker is started again, which ends when its database goes away."""
TRIES = 3
CONNECTIONS = 4
GRACE = 20.0
"""Seconds that tasks have to end in, once the worker is to stop."""

Task = Callable[..., Awaitable[None]]


async def serve(
    store: PostgresStore,
    api: str,
    tasks: Mapping[str, Task],
    *,
    concurrency: int,
    interrupted: Callable[[str], object],
) -> None:
    """Do tasks until cancelled: then those that were begun are finished first, within ``GRACE``.

    A database that goes away is waited for; ``interrupted`` gets one line about that.
    """
    for name in ("procrastinate", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they tell of each try, with tracebacks
    while True:
        try:
            await _serve(store, api, tasks, concurrency)
        except (procrastinate.exceptions.ProcrastinateException, psycopg.Error, OSError) as error:
            interrupted(next(iter(str(error.__cause__ or error).splitlines()), type(error).__name__))
        await asyncio.sleep(RESTARTED)


async def _serve(store: PostgresStore, api: str, tasks: Mapping[str, Task], concurrency: int) -> None:
    queue = queue_of(api)
    app = procrastinate.App(connector=_connector(store))
    jobs = app.job_manager = _Jobs(app.connector)
    for name, task in tasks.items():
        app.task(name=name, queue=queue)(_plain(task))
    async with app.open_async():
        working = app.run_worker_async(
            queues=[queue],
            concurrency=concurrency,
            fetch_job_polling_interval=POLLED,
            update_heartbeat_interval=HEARTBEAT,
            shutdown_graceful_timeout=GRACE,
            delete_jobs="always",
            install_signal_handlers=False,
        )
        await unless(jobs.has_lost, working)


class _Jobs(JobManager):
    """Finishes tasks without a word about those that are another worker's by now.

    Where the end of a task cannot be written, it ``has_lost`` it: with another worker in its place the task is given
    again.
    """

    def __init__(self, connector: BaseConnector) -> None:
        super().__init__(connector)
        self.has_lost = asyncio.Event()

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:  # noqa: FBT001 - as it is called
        for _ in range(TRIES):
            try:
                await super().finish_job(job, status, delete_job)
            except procrastinate.exceptions.ConnectorException as error:
                if isinstance(error.__cause__, psycopg.errors.RaiseException):
                    return
                await asyncio.sleep(RESTARTED)
            else:
                return
        self.has_lost.set()


def _plain(task: Task) -> Callable[..., Any]:
    async def do(**arguments: Any) -> None:
        await task(**arguments)

    return do


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
    searched = f"-c search_path={SCHEMA}"
    if given := options.get("options"):
        searched = f"{given} {searched}"
    return procrastinate.PsycopgConnector(
        conninfo="", kwargs={**usual, **options, "options": searched}, min_size=1, max_size=CONNECTIONS, timeout=10
    )

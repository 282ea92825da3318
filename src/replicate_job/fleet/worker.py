"""A worker runs tasks of the queue, and takes over the tasks of workers that died.

One worker at a time is also the watcher, which reads the list of the fleet's running predictions.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

from replicate_job.api.failures import backoff, is_transient
from replicate_job.errors import APIError, AuthenticationError, CertificateError, JournalError, TransportError
from replicate_job.fleet.collect import collect_jobs
from replicate_job.fleet.create import create_rows
from replicate_job.fleet.heartbeat_file import keep_heartbeat
from replicate_job.fleet.input_files import clean
from replicate_job.fleet.parts import Fleet, open_tables
from replicate_job.fleet.upkeep import Upkeep
from replicate_job.fleet.watcher import Watcher
from replicate_job.flow.background import Background
from replicate_job.flow.context import Context
from replicate_job.journal.postgres import PostgresJournal

CONCURRENCY = 6
"""The number of tasks that a worker runs at the same time. A higher number would leave too few tasks for other
workers."""


async def work(context: Context, concurrency: int = CONCURRENCY) -> None:
    """Work until cancelled. Running tasks may then finish within ``queue.GRACE`` seconds.

    Work begins once the API has returned the token's account: before that, another account might pay for its requests.
    Raises JobError if the journal is not in PostgreSQL, or if the token belongs to another account than the fleet's.
    Raises AuthenticationError if the API does not know the token.
    """
    tables = open_tables(context)
    fleet = Fleet(context, tables)
    assert isinstance(context.journal, PostgresJournal)  # noqa: S101 - for the type checker: only it has these tables
    upkeep, watcher = Upkeep(fleet, concurrency), Watcher(fleet)
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    background = Background(lambda error: None if failed.done() else failed.set_exception(error))
    # The heartbeat starts first, since the next steps may have to wait for the database.
    background.start(keep_heartbeat(context.cache, str(context.journal.url)))
    try:
        if account := await _ask_account(context):
            await tables.join(context.api, account)
        await upkeep.once()
        background.start(upkeep.run())
        background.start(watcher.run())
        background.start(clean(fleet))
        await _serve(fleet, context.journal, concurrency, failed)
    finally:
        await background.close()
        with suppress(JournalError):
            await tables.gone()


async def _ask_account(context: Context) -> str | None:
    """Wait until the API has returned the token's account. None if the API has answered that it has no accounts."""
    attempt = 0
    while True:
        try:
            return await context.account.ask()
        except (APIError, TransportError) as error:
            if isinstance(error, AuthenticationError | CertificateError):
                raise
            if not is_transient(error):
                return None
            if attempt == 0:
                context.reporter.warn(f"{error}; no work begins before the API has told the token's account")
            await context.clock.sleep(backoff(attempt))
            attempt += 1


async def _serve(fleet: Fleet, journal: PostgresJournal, concurrency: int, failed: asyncio.Future[None]) -> None:
    """Run the queue's tasks until cancelled, or until ``failed`` gets the error of another part of the worker."""
    from replicate_job.fleet.queue import serve  # noqa: PLC0415 - an extra, and slow to import

    context = fleet.context
    tasks = {"rows": partial(_rows, fleet), "collect": partial(_collect, fleet)}
    tell = partial(_tell, context)
    queue = asyncio.create_task(serve(journal.store, context.api, tasks, concurrency=concurrency, interrupted=tell))
    try:
        await asyncio.wait([queue, failed], return_when=asyncio.FIRST_COMPLETED)
        (queue if queue.done() else failed).result()
    finally:
        fleet.draining.set()
        queue.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait([queue])


def _tell(context: Context, line: str) -> None:
    context.reporter.warn(f"the queue is interrupted ({line}): waiting for the database")


async def _rows(fleet: Fleet, *, batch: int, first: int, last: int) -> None:
    await create_rows(fleet, batch, first, last)


async def _collect(fleet: Fleet, *, seqs: list[int]) -> None:
    await collect_jobs(fleet, seqs)

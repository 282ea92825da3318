"""The client for applications: one HTTP pool, one journal and one rate limit while it is open."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar, Unpack, cast

import msgspec

from replicate_job.aio import LoopThread, apart, is_interrupted, new_loop
from replicate_job.api.ratelimit import parse_rate
from replicate_job.arguments import read_argument, read_arguments
from replicate_job.calls import (
    BatchOptions,
    RunOptions,
    as_chain,
    read_ask,
    read_chain_ask,
    read_options,
    read_place,
    read_plan,
    refuse_plan,
    with_options,
)
from replicate_job.clock import SystemClock
from replicate_job.database import hide_password
from replicate_job.errors import ClosedError, ForkedError, JobError, JobTimeoutError, ReplicateJobError, UnknownJobError
from replicate_job.flow import by_name
from replicate_job.flow.cancel import cancel_interrupted
from replicate_job.flow.collect import result_of
from replicate_job.flow.context import Context, command_line
from replicate_job.flow.deadline import ExpiredError, deadline
from replicate_job.flow.follow import Emit
from replicate_job.flow.job_run import WATCHED_BLOCKING_WAIT, Ask
from replicate_job.flow.prepare import check_job
from replicate_job.flow.prune import Pruned, prune
from replicate_job.flow.pull import SINCE, Pull
from replicate_job.flow.remote import listed
from replicate_job.flow.resume import resume
from replicate_job.flow.run import run_job
from replicate_job.forks import Owner
from replicate_job.inputs.held import holds
from replicate_job.job import Job, Result
from replicate_job.progress import CallReporter, OnProgress
from replicate_job.quantity import duration
from replicate_job.session import open_session
from replicate_job.settings import read_settings
from replicate_job.text_stream import AsyncTextStream, TextStream, relay
from replicate_job.wire.target import parse_target

if TYPE_CHECKING:
    from replicate_job.batch_calls import RowSource
    from replicate_job.batches.progress import Tally
    from replicate_job.chain import Chain
    from replicate_job.fleet.status import BatchStatus
    from replicate_job.flow.plan import Plan
    from replicate_job.journal.postgres_fleet import FleetBatch, FleetTables
    from replicate_job.wire.holdings import DeploymentInfo, ModelInfo, TrainingInfo

_T = TypeVar("_T")

_WITH_LOCAL = {"resume", "show"}
"""The commands in hints that have the option ``--local``."""


class AsyncClient:
    """Runs jobs and batches from coroutines, with one HTTP pool, one journal and one rate limit.

    ``token``, ``base_url``, ``headers`` and ``journal`` (a file) replace the environment's values. ``headers`` are sent
    with every request to the API, and to no other host. ``rate`` is the highest rate of create requests, as
    ``"600/min"``, ``"10/s"``, ``"none"``. With ``local`` everything runs on this machine, on a server that lives as
    long as the client. ``save_to`` is the folder, the bucket or the template for output files (see ``RunOptions``).
    Without ``save_to`` nothing is saved, except that the files of local runs go to the user's state folder.
    ``allow_private_outputs`` allows downloads from this machine and private networks even if the API is elsewhere.
    ``on_progress`` is called with a ``Progress`` each time a prediction is observed. ``async with`` opens the client
    and closes it. Without ``async with`` the first call opens the client, and ``aclose`` closes it. A client belongs to
    the event loop and the process in which it was opened. A fork may use only a client that was not opened before the
    fork. Every method raises the errors of ``replicate_job.errors``, among them ClosedError after the end of the client
    or its loop, and ForkedError in a fork.

    A cancelled task leaves its prediction running: the same ``key``, or ``resume``, finishes it.
    """

    def __init__(  # noqa: PLR0913 - named options
        self,
        *,
        token: str | None = None,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        journal: str | Path | None = None,
        rate: str = "600/min",
        local: bool = False,
        save_to: str | Path | None = None,
        allow_private_outputs: bool = False,
        on_progress: OnProgress | None = None,
    ) -> None:
        rate = read_argument("rate", rate)
        save_to = read_argument("save_to", save_to)
        self._on_progress = read_argument("on_progress", on_progress)
        settings = {
            "token": token,
            "base_url": base_url,
            "headers": headers,
            "journal": journal,
            "local": local,
            "allow_private_outputs": allow_private_outputs,
        }
        self._settings, self._journal = read_settings(**read_arguments(settings)), journal
        try:
            self._rate = parse_rate(rate)
        except ValueError as error:
            raise JobError(f"rate: {error}") from None
        # The local server deletes its files when it stops, so outputs are saved by default.
        self._folder = self._settings.state / "outputs" if local and save_to is None else save_to
        self._opening, self._parts = asyncio.Lock(), AsyncExitStack()
        self._owner: Owner | None = None  # set when something is opened: until then a fork may use the client too
        self._context: Context | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._closing: asyncio.Task[None] | None = None
        self._calls, self._idle = Counter[asyncio.Task[Any]](), asyncio.Event()
        self._streams = set[AsyncGenerator[Any, None]]()

    @property
    def setting(self) -> tuple[object, ...]:
        """A value that is equal for clients with the same settings."""
        return self._settings, self._rate, self._folder, self._on_progress

    def __reduce__(self) -> NoReturn:
        # A client holds connections, and the token, which a task queue would store.
        raise TypeError("a client cannot be pickled or copied: make one in each process")

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client. Running calls raise ClosedError, and their predictions are left running.

        Closing it twice is allowed. If this call is cancelled, the client is closed all the same. In a fork of the
        process nothing is closed.
        """
        if (self._owner and not self._owner.is_here) or (self._closing and self._closing.done()):
            return
        if self._context and self._loop is not asyncio.get_running_loop():
            raise ClosedError("this client was opened in another event loop: close it there")
        self._is_closed = True
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        """Close the parts, in a task of its own: the task that waits for it may be cancelled."""
        for task in self._calls:
            task.cancel()
        while self._calls:
            self._idle.clear()
            await self._idle.wait()
        for stream in list(self._streams):
            with suppress(RuntimeError):  # the stream is being read at this moment
                await stream.aclose()
        async with self._opening:
            await self._parts.aclose()

    @with_options(RunOptions)
    async def run(
        self,
        job: Job | Chain | str,
        input: Mapping[str, Any] | None = None,
        **options: Unpack[RunOptions],
    ) -> Result:
        """Run a job, a chain, or a model by its name, and return its Result, whatever its status. See ``RunOptions``.

        ``input`` is merged over the job's input. A file in it, at any depth, is a ``pathlib.Path``, bytes, a file that
        is open for reading bytes, or a picture of Pillow; see ``replicate_job.arun``.
        """
        options = read_options(options, RunOptions)
        if chain := as_chain(job):
            return await self._run_chain(chain, input, options)
        ask = await self._aread(cast("Job | str", job), input, options)
        return await self._finish(ask, options.get("on_progress"), read_plan(ask.job, options))

    @with_options(RunOptions)
    async def submit(
        self,
        job: Job | str,
        input: Mapping[str, Any] | None = None,
        **options: Unpack[RunOptions],
    ) -> AsyncJobHandle:
        """Return once the prediction exists. ``handle.result()`` saves its outputs, within an hour of its end.

        ``handle.key`` names the job for ``get``, ``cancel`` and ``wait`` of any other process with the same journal.
        Raises what ``run`` raises before a prediction exists, such as InputError, ModelNotFoundError, UncertainError.
        """
        options = read_options(options, RunOptions)
        ask = await self._aread(job, input, options)
        refuse_plan(ask.job, options, "submit")
        begun = msgspec.structs.replace(ask, job=msgspec.structs.replace(ask.job, wait_for_completion=False))
        async with self._using(ask.job.model, options.get("on_progress")) as context:
            result = await run_job(context, begun)
        job = msgspec.structs.replace(ask.job, wait_for_completion=True)
        awaited = msgspec.structs.replace(ask, job=job, is_new=False)

        async def finish(seconds: float | None) -> Result:
            bounded = msgspec.structs.replace(awaited, timeout=seconds, called=SystemClock().now())
            return await self._finish(bounded, options.get("on_progress"))

        return AsyncJobHandle(self, result, finish)

    @with_options(RunOptions)
    def stream(
        self,
        job: Job | str,
        input: Mapping[str, Any] | None = None,
        **options: Unpack[RunOptions],
    ) -> AsyncTextStream:
        """Yield the output's text while the model writes it. Without a stream, the whole text comes at the end.

        The stream ends with the prediction. It raises what ``run`` raises, and PredictionError if the prediction did
        not succeed. Numbers, objects and files are in the stream's ``result``; an output without text is logged as a
        warning.
        """
        options = read_options(options, RunOptions)
        ask = self._read(job, input, options)
        refuse_plan(ask.job, options, "stream")

        async def read(emit: Emit) -> Result:
            async with self._using(ask.job.model, options.get("on_progress")) as context:
                return await run_job(context, msgspec.structs.replace(ask, emit=emit))

        return AsyncTextStream(read)

    @with_options(BatchOptions)
    def batch(self, job: Job | Chain | str, rows: RowSource, **options: Unpack[BatchOptions]) -> AsyncResults:
        """Run a job, or a model by its name, for every row. A row is an input that is merged over the job's input.

        Results come in the order in which rows end, with their ``line`` (from 1). A row that fails has a ``problem`` in
        its result. An error that all rows would share (no credit, no network) is raised once all running predictions
        have ended. Rows are read when they are needed, at most a few hundred ahead; an iterable is read in a thread of
        its own. A row may contain files, like the input of ``run``. All files but paths stay in memory until the row
        ends. ``rows`` may also be a DataFrame, or the path of a file that ``replicate-job batch`` accepts. An input
        with the value None, NaN, NaT or NA is left out.

        Leaving the loop early leaves predictions running: the same ``key``, or the same file, adopts them.
        """
        from replicate_job.batch_calls import BatchCall  # noqa: PLC0415 - for batches only

        call = BatchCall(job, rows, options, settings=self._settings, folder=self._folder)

        async def run() -> AsyncGenerator[list[Result], None]:
            on_progress = options.get("on_progress") or self._on_progress
            async with self._using(call.model, on_progress) as context:
                runner = await call.runner(context, is_watched=on_progress is not None)
            async with aclosing(self._iterate(runner.run(call.rows))) as chunks:
                async for results in chunks:
                    yield results

        return AsyncResults(run, call.tally)

    @with_options(BatchOptions)
    async def submit_batch(
        self, job: Job | Chain | str, rows: RowSource, **options: Unpack[BatchOptions]
    ) -> AsyncBatchHandle:
        """Give a batch to the workers of a fleet (``replicate-job worker``), and return once it is in the journal.

        The journal is in PostgreSQL. Rows and options are those of ``batch``. All rows are read and checked here; an
        invalid row becomes a result with a ``problem``. ``concurrency``, ``fail_fast`` and ``max_predict_time`` are not
        for a fleet. The client's ``rate`` applies to the batch. Local files in rows (a ``Path``, bytes, an open file)
        are copied to ``save_to``, where workers read them. Raises JobError for such files without ``save_to``.
        """
        from replicate_job.batches.spec import NOT_OF_FLEETS  # noqa: PLC0415 - for batches only

        if named := [name for name in NOT_OF_FLEETS if options.get(name)]:
            raise JobError(f"{named[0]} is not for batches of a fleet: leave it out")
        from replicate_job.batch_calls import BatchCall  # noqa: PLC0415 - for batches only

        call = BatchCall(job, rows, options, settings=self._settings, folder=self._folder)
        from replicate_job.fleet.parts import join, open_tables  # noqa: PLC0415 - an optional dependency
        from replicate_job.fleet.submit import submit  # noqa: PLC0415 - an optional dependency

        async with self._using(call.model, options.get("on_progress")) as context:
            tables = open_tables(context)
            await join(context, tables)
            batch, model = await call.prepare(context)
            await submit(context, tables, batch, model, call.rows, rate=self._rate)
        return AsyncBatchHandle(self, batch.id)

    def batch_handle(self, name: str) -> AsyncBatchHandle:
        """The batch with this id, which any process has submitted to the fleet of this journal."""
        name = read_argument("id", name)
        return AsyncBatchHandle(self, name)

    async def get(self, name: str) -> Result:
        """A job or a chain as it is now, by its key, or a job by its prediction's id.

        Data that the API has deleted come from the journal. Raises UnknownJobError for an unknown job or a job without
        a prediction, and UncertainError if a prediction may exist.
        """
        name = read_argument("name", name)
        async with self._using() as context:
            try:
                return await by_name.observe(context, name)
            except UnknownJobError:
                from replicate_job.batches.chains.by_name import observe_chain  # noqa: PLC0415 - for chains only

                if chain := await observe_chain(context, name):
                    return chain
                raise

    async def cancel(self, name: str) -> Result | None:
        """Cancel a job or a chain, by its key, or a job by its prediction's id. A job that has ended is not changed.

        If another call or process runs the job, that call ends with the canceled prediction. Returns None if the job
        certainly has no prediction; its key can then be used again. Raises UnknownJobError, UncertainError, and
        JobHeldError if another call or process runs the job and the account's list does not show its prediction within
        60 seconds.
        """
        name = read_argument("name", name)
        async with self._using() as context:
            try:
                return await by_name.cancel(context, name)
            except UnknownJobError:
                from replicate_job.batches.chains.by_name import cancel_steps  # noqa: PLC0415 - for chains only

                if chain := await cancel_steps(context, name):
                    return chain
                raise

    async def wait(
        self,
        name: str,
        *,
        key: str | None = None,
        save_to: str | Path | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - `asyncio.timeout` could not say what becomes of the job
    ) -> Result:
        """Wait for a job by its key, or for any prediction by its id, and keep its outputs.

        With ``key`` the prediction becomes the prediction of the job with that key. That job must not have a prediction
        yet. ``save_to`` replaces the job's own folder, or the client's folder for a prediction made elsewhere. Raises
        UnknownJobError, and JobTimeoutError after ``timeout`` seconds: the prediction runs on, and can be waited for
        again.
        """
        name = read_argument("name", name)
        key = read_argument("key", key)
        save_to = read_argument("save_to", save_to)
        timeout = read_argument("timeout", timeout)
        called = SystemClock().now()
        async with self._using() as context:
            save = read_place(save_to, self._folder)
            entry = await by_name.find_or_adopt(context, name, key=key, save=save, timeout=timeout, called=called)
            job = msgspec.structs.replace(entry.job, wait_for_completion=True)
            keep = entry.save if save_to is None else save
            return await run_job(context, Ask(job, entry.key, keep, timeout=timeout, called=called))

    async def resume(
        self,
        *,
        save_to: str | Path | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - `asyncio.timeout` could not say what becomes of the jobs
    ) -> AsyncGenerator[Result, None]:
        """Finish every unfinished job in the journal: wait for predictions, keep outputs, create what was not created.

        Results come in the order in which jobs end. A job that fails has a ``problem`` in its result. ``timeout`` is in
        seconds from the beginning of the iteration, for all jobs together; a job that has not ended by then has a
        ``problem`` too, and runs on. ``save_to`` replaces each job's own folder. Batches are not resumed: the same call
        of ``batch`` continues them. Raises JournalError.
        """
        save_to = read_argument("save_to", save_to)
        timeout = read_argument("timeout", timeout)
        called, place = SystemClock().now(), read_place(save_to)
        async with self._using() as context:
            asks = [
                Ask(
                    msgspec.structs.replace(entry.job, wait_for_completion=True),
                    entry.key,
                    entry.save and (entry.save if save_to is None else place),
                    timeout=timeout,
                    called=called,
                )
                for entry in await context.journal.unfinished(context.api)
            ]
        async with aclosing(self._iterate(resume(context, asks))) as outcomes:
            async for ask, outcome in outcomes:
                yield outcome if isinstance(outcome, Result) else _failure(ask, outcome)

    async def schema(self, model: str) -> dict[str, Any]:
        """The model's OpenAPI document; ``["components"]["schemas"]`` has ``Input`` and ``Output``.

        The document is cached for five minutes. Raises ModelNotFoundError, and JobError if the API shows no schema.
        """
        model = read_argument("model", model)
        async with self._using(model) as context:
            resolved = await context.strategy.resolve(context, parse_target(model))
        if resolved.schema is None:
            raise JobError(f"the API shows no schema for {model}")
        return resolved.schema

    async def search(self, query: str, *, limit: int = 20) -> list[ModelInfo]:
        """The public models that match the query best, best first. ``limit`` is 1 to 50. Raises JobError."""
        query = read_argument("query", query)
        limit = read_argument("limit", limit)
        from replicate_job.flow import holdings  # noqa: PLC0415 - few programs need it

        async with self._using() as context:
            return await holdings.search(context, query, limit=limit)

    async def models(self, owner: str) -> list[ModelInfo]:
        """The public models of a user or an organization.

        The API cannot list by owner, so this searches the public models for the owner's name. Raises JobError.
        """
        owner = read_argument("owner", owner)
        from replicate_job.flow import holdings  # noqa: PLC0415 - few programs need it

        async with self._using() as context:
            return [model async for model in holdings.models_of(context, owner)]

    async def example(self, model: str) -> Job:
        """A job with the example input of the model's page. Raises ModelNotFoundError, JobError without an example."""
        model = read_argument("model", model)
        from replicate_job.flow import holdings  # noqa: PLC0415 - few programs need it

        async with self._using() as context:
            return await holdings.example(context, model)

    async def readme(self, model: str) -> str:
        """The readme of the model, in Markdown. Raises ModelNotFoundError, and JobError if the model has no readme."""
        model = read_argument("model", model)
        from replicate_job.flow import holdings  # noqa: PLC0415 - few programs need it

        async with self._using() as context:
            return await holdings.readme(context, model)

    async def predictions(self, *, since: timedelta | None = None) -> AsyncGenerator[Result, None]:
        """The account's predictions, newest first, wherever they were made. ``since`` is the greatest age; None: all.

        A prediction that is in this journal has its ``key`` and the ``files`` that were kept.
        """
        since = read_argument("since", since)
        async with self._using() as context:
            found = listed(context, since=since)
        async with aclosing(self._iterate(found)) as predictions:
            async for prediction, entry in predictions:
                yield result_of(prediction, entry, entry.files if entry else ())

    async def pull(
        self,
        *names: str,
        since: timedelta | None = None,
        model: str | None = None,
        save_to: str | Path | None = None,
    ) -> AsyncGenerator[Result, None]:
        """Keep the outputs of predictions that were made on the web page or by other programs, once each.

        ``names`` are ids or URLs. Without names, all predictions up to the age ``since`` (two hours) are pulled, of all
        models or of one ``model``, version or deployment. ``save_to`` replaces the client's folder. Outputs that were
        kept before are not downloaded again.

        Yields every named prediction, and every prediction whose outputs this call kept or could not keep. If the
        outputs could not be kept, the result has a ``problem``. Raises JobError if no folder is given.
        """
        since, save_to = read_argument("since", since), read_argument("save_to", save_to)
        model = None if model is None else read_argument("model", model)
        names = tuple(read_argument("name", name) for name in names)
        place = read_place(save_to, self._folder)
        if place is None:
            raise JobError("save_to: name the folder that outputs go to, here or for the client")
        if names and (since is not None or model is not None):
            raise JobError("since and model are for predictions that are not named")
        target = None if model is None else parse_target(model)
        async with self._using() as context:
            pull = Pull(context, place, moves=save_to is not None)
            taken = pull.named(names) if names else pull.recent(SINCE if since is None else since, target)
        async with aclosing(self._iterate(taken)) as pulled:
            async for each in pulled:
                if names or each.fate == "kept" or each.error:
                    yield each.result

    async def train(  # noqa: PLR0913 - named options
        self,
        model: str,
        destination: str,
        input: Mapping[str, Any],
        *,
        key: str | None = None,
        wait_for_completion: bool = True,
        timeout: float | None = None,  # noqa: ASYNC109 - `asyncio.timeout` could not say what becomes of the training
        webhook: str | None = None,
        allow_unknown: bool = False,
    ) -> Result:
        """Train a version of a model. Like a job, a training is created once, waited for and recorded in the journal.

        ``model`` is ``owner/name:version``, or ``owner/name`` for its latest version. ``destination`` is the model
        (``owner/name``) that gets the new version, whose id is ``output["version"]`` of the Result. ``key`` identifies
        the training as it does a job: the same key never starts a second training. ``timeout`` is in seconds.

        ``get``, ``wait``, ``cancel`` and ``resume`` work as for any other job. Raises what ``run`` raises.
        """
        model = read_argument("model", model)
        destination = read_argument("destination", destination)
        if not destination:
            raise JobError("destination is empty: name the model that gets the trained version, as owner/name")
        options: RunOptions = {
            "key": key,
            "timeout": timeout,
            "wait_for_completion": wait_for_completion,
            "webhook": webhook,
            "allow_unknown": allow_unknown,
        }
        options = read_options(options, RunOptions)
        ask = await self._aread(Job(model, destination=destination), input, options)
        return await self._finish(msgspec.structs.replace(ask, save=None), None)

    async def trainings(self) -> list[TrainingInfo]:
        """The account's trainings, newest first."""
        from replicate_job.flow import holdings  # noqa: PLC0415 - few programs need it

        async with self._using() as context:
            return [training async for training in holdings.trainings(context)]

    async def training(self, training_id: str) -> TrainingInfo:
        """A training as it is now. Raises UnknownJobError."""
        training_id = read_argument("training_id", training_id)
        from replicate_job.flow import holdings  # noqa: PLC0415 - few programs need it

        async with self._using() as context:
            return await holdings.training(context, training_id)

    async def cancel_training(self, training_id: str) -> TrainingInfo:
        """Cancel a training. A training that has ended is not changed. Raises UnknownJobError."""
        training_id = read_argument("training_id", training_id)
        from replicate_job.flow import holdings  # noqa: PLC0415 - few programs need it

        async with self._using() as context:
            return await holdings.cancel_training(context, training_id)

    async def deployments(self) -> list[DeploymentInfo]:
        """The account's deployments, newest first."""
        from replicate_job.flow import holdings  # noqa: PLC0415 - few programs need it

        async with self._using() as context:
            return [deployment async for deployment in holdings.deployments(context)]

    async def deployment(self, name: str) -> DeploymentInfo:
        """A deployment by ``owner/name``, with its current release. Raises ModelNotFoundError."""
        name = read_argument("name", name)
        from replicate_job.flow import holdings  # noqa: PLC0415 - few programs need it

        async with self._using() as context:
            return await holdings.deployment(context, name)

    async def prune(self, *, older_than: timedelta, forget: bool = False, dry_run: bool = False) -> Pruned:
        """Delete the data of jobs that are over: inputs, outputs as returned by the API, logs, and cached schemas.

        Each job keeps its key, its prediction's id and its status, so that the key never creates a second prediction.
        With ``forget`` these are deleted too. ``dry_run`` only counts. Saved files are not deleted.

        Raises JournalError.
        """
        older_than = read_argument("older_than", older_than)
        forget = read_argument("forget", forget)
        dry_run = read_argument("dry_run", dry_run)
        async with self._using() as context:
            before = time.time() - older_than.total_seconds()
            return await prune(context.journal, context.cache, before, forget=forget, dry_run=dry_run)

    async def _run_chain(self, chain: Chain, input: Mapping[str, Any] | None, options: RunOptions) -> Result:
        from replicate_job.batches.chains.plan import plan_chain  # noqa: PLC0415 - as above
        from replicate_job.batches.chains.single import cancel_chain, run_chain  # noqa: PLC0415 - for chains only

        on_progress = options.get("on_progress")
        read = partial(read_chain_ask, chain, input, options, folder=self._folder)
        ask = await _read_apart(read, options, chain.steps[0].model)
        if on_progress or self._on_progress:
            ask = msgspec.structs.replace(ask, blocking_wait=WATCHED_BLOCKING_WAIT)
        async with self._using(chain.steps[0].model, on_progress) as context:
            try:
                plan = await plan_chain(context, chain)
                return await run_chain(context, plan, ask, retry_failed=options.get("retry_failed", False))
            except asyncio.CancelledError:
                if is_interrupted():
                    await cancel_chain(context, ask.key)
                raise

    async def _finish(self, ask: Ask, on_progress: OnProgress | None, plan: Plan | None = None) -> Result:
        if on_progress or self._on_progress:
            # A blocking wait reports nothing until its end, so it is shortened.
            ask = msgspec.structs.replace(ask, blocking_wait=WATCHED_BLOCKING_WAIT)
        async with self._using(ask.job.model, on_progress) as context:

            async def run(ask: Ask) -> Result:
                try:
                    return await run_job(context, ask)
                except asyncio.CancelledError:
                    if is_interrupted():
                        await cancel_interrupted(context, ask.key)
                    raise

            if plan is None:
                return await run(ask)
            from replicate_job.flow.plan import run_plan  # noqa: PLC0415 - only few calls have a plan

            return await run_plan(context, ask, plan, run)

    async def _aread(self, job: Job | str, input: Mapping[str, Any] | None, options: RunOptions) -> Ask:
        """As ``_read``, but reads files in the input in a thread."""
        inputs = (input, job.input_data if isinstance(job, Job) else None)
        if any(isinstance(values, Mapping) and holds(values) for values in inputs):
            model = job.model if isinstance(job, Job) else str(job)
            return await _read_apart(partial(self._read, job, input, options), options, model)
        return self._read(job, input, options)

    def _read(self, job: Job | str, input: Mapping[str, Any] | None, options: RunOptions) -> Ask:
        ask = read_ask(job, input, options, settings=self._settings, folder=self._folder)
        check_job(ask.job)
        return msgspec.structs.replace(ask, is_checked=True)

    async def _open(self, model: str = "") -> Context:
        """The client's context, which the first call opens. The local server starts ``model`` early."""
        self._owner = self._owner or Owner()
        self._owner.check()
        if self._is_closed:
            raise ClosedError
        loop = asyncio.get_running_loop()
        if self._context is None:
            async with self._opening:
                if self._is_closed:
                    raise ClosedError
                if self._context is None:
                    session = open_session(
                        self._settings, CallReporter(), model=model, rate=self._rate, line=self._line
                    )
                    self._context, self._loop = await self._parts.enter_async_context(session), loop
        if self._loop is not loop:
            raise ClosedError(
                "this client was opened in another event loop: open one in each loop, or use Client, which has its own"
            )
        return self._context

    def _line(self, *words: str) -> str:
        """A command for a hint, with the options that select this client's API and journal."""
        local = ["--local"] if self._settings.local and words[0] in _WITH_LOCAL else []
        journal = ["--journal", hide_password(str(self._journal))] if self._journal else []
        return command_line(*words, *local, *journal)

    @asynccontextmanager
    async def _using(self, model: str = "", on_progress: OnProgress | None = None) -> AsyncIterator[Context]:
        """The context for one call. Closing the client cancels the call."""
        context, task = await self._open(model), asyncio.current_task()
        if on_progress := on_progress or self._on_progress:
            context = msgspec.structs.replace(context, reporter=CallReporter(on_progress))
        assert task  # noqa: S101 - for the type checker: a coroutine runs in a task
        self._calls[task] += 1
        try:
            yield context
        except asyncio.CancelledError:
            if self._is_closed and task.uncancel() == 0:
                raise ClosedError from None
            raise
        finally:
            self._calls[task] -= 1
            if not self._calls[task]:
                del self._calls[task]
                self._idle.set()

    async def _iterate(self, items: AsyncGenerator[_T, None]) -> AsyncGenerator[_T, None]:
        """Yield the items. Closing the client ends the iteration, even between two items."""
        self._streams.add(items)
        try:
            async with aclosing(items):
                while True:
                    async with self._using():
                        try:
                            item = await anext(items)
                        except StopAsyncIteration:
                            return
                    yield item
        finally:
            self._streams.discard(items)


async def _read_apart(read: Callable[[], Ask], options: RunOptions, model: str) -> Ask:
    """Read the files of a call in a thread, within the call's timeout. A pipe may never end."""
    clock, timeout = SystemClock(), options.get("timeout")
    called = clock.now()
    try:
        async with deadline(clock, math.inf if timeout is None else called + timeout):
            ask = await apart(read)
    except ExpiredError:
        result = Result("", "starting", model=model, input={}, key=options.get("key") or "")
        told = f"the input was not read within {duration(timeout or 0)}: nothing was created, and nothing is paid"
        raise JobTimeoutError(told, result) from None
    return msgspec.structs.replace(ask, called=called)


class AsyncJobHandle:
    """A submitted job, with its prediction. ``key`` is its key in the journal."""

    def __init__(
        self, client: AsyncClient, submitted: Result, finish: Callable[[float | None], Awaitable[Result]]
    ) -> None:
        self._client, self._finish = client, finish
        self.key, self.prediction_id = submitted.key, submitted.prediction_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key}: prediction {self.prediction_id}>"

    async def status(self) -> str:
        """The prediction's current status: starting, processing, succeeded, failed, canceled or aborted."""
        return (await self._client.get(self.prediction_id)).status

    async def result(self, *, timeout: float | None = None) -> Result:  # noqa: ASYNC109 - the job runs on after it
        """Wait for the end, keep the outputs, and return the Result. A second call sends no request.

        Raises JobTimeoutError after ``timeout`` seconds. It can then be called again.
        """
        timeout = read_argument("timeout", timeout)
        return await self._finish(timeout)

    async def cancel(self) -> Result:
        """Cancel the prediction. A prediction that has ended is not changed."""
        result = await self._client.cancel(self.prediction_id)
        assert result  # noqa: S101 - for the type checker: a submitted job has a prediction
        return result


class AsyncBatchHandle:
    """A batch that was submitted to a fleet. ``id`` is its name, also for the commands.

    Its methods raise JobError if there is no such batch.
    """

    def __init__(self, client: AsyncClient, name: str) -> None:
        self._client, self.id = client, name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    async def status(self) -> BatchStatus:
        """The batch's progress by the journal: rows by state, workers, pace, and errors."""
        from replicate_job.fleet.status import status_of  # noqa: PLC0415 - an optional dependency

        async with self._finding() as (context, tables, batch):
            return await status_of(context, tables, batch)

    async def results(self, *, follow: bool = True) -> AsyncGenerator[Result, None]:
        """Yield the results of rows that have ended. With ``follow``, also those of the other rows when they end.

        Rows that have ended come in the order of their lines, and the other rows as they end. If the batch is stopped,
        as by its ``max_cost``, the rows whose predictions still run come last.
        """
        follow = read_argument("follow", follow)
        from replicate_job.fleet.results import results  # noqa: PLC0415 - an optional dependency

        async with self._finding() as (context, tables, batch):
            pages = results(context, tables, batch, follow=follow)
        async with aclosing(self._client._iterate(pages)) as chunks:  # noqa: SLF001 - a class of this module
            async for page in chunks:
                for result in page:
                    yield result

    async def cancel(self, *, running: bool = False) -> Mapping[str, int]:
        """Create no more predictions of the batch. With ``running``, also cancel its running predictions.

        Returns counts of rows that stay ``unsent``, and of predictions that were ``canceled``, still run (``running``),
        or could not be canceled (``unknown``).
        """
        running = read_argument("running", running)
        from replicate_job.fleet.cancel import cancel_batch  # noqa: PLC0415 - an optional dependency

        async with self._finding() as (context, tables, batch):
            return dict(await cancel_batch(context, tables, batch, running=running))

    @asynccontextmanager
    async def _finding(self) -> AsyncIterator[tuple[Context, FleetTables, FleetBatch]]:
        from replicate_job.fleet.parts import find_batch, open_tables  # noqa: PLC0415 - an optional dependency

        async with self._client._using() as context:  # noqa: SLF001 - a class of this module
            tables = open_tables(context)
            yield context, tables, await find_batch(tables, self.id, context.api)


class AsyncResults(AsyncIterable[Result]):
    """The results of a batch, for one ``async for``. ``tally`` counts its progress."""

    def __init__(self, run: Callable[[], AsyncGenerator[list[Result], None]], tally: Tally) -> None:
        self._run, self.tally = run, tally
        self._is_read = False

    async def __aiter__(self) -> AsyncGenerator[Result, None]:
        async with aclosing(self.chunks()) as chunks:
            async for results in chunks:
                for result in results:
                    yield result

    def chunks(self) -> AsyncGenerator[list[Result], None]:
        """Lists of results that are ready at the same time. This is faster for many rows."""
        if self._is_read:  # the rows cannot be read twice
            raise JobError("the results of this batch were read already: call batch again")
        self._is_read = True
        return self._run()


class Client:
    """``AsyncClient`` for blocking callers, with the same names. Several threads may use it at the same time.

    Its event loop runs in a thread of its own, from the first call until the client is closed. Ctrl-C in ``run`` and
    ``JobHandle.result`` cancels the prediction at the API and raises KeyboardInterrupt. Any other exception from a
    signal handler, such as SystemExit at SIGTERM, leaves the prediction running.
    """

    def __init__(  # noqa: PLR0913 - named options
        self,
        *,
        token: str | None = None,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        journal: str | Path | None = None,
        rate: str = "600/min",
        local: bool = False,
        save_to: str | Path | None = None,
        allow_private_outputs: bool = False,
        on_progress: OnProgress | None = None,
    ) -> None:
        self._client = AsyncClient(
            token=token,
            base_url=base_url,
            headers=headers,
            journal=journal,
            rate=rate,
            local=local,
            save_to=save_to,
            allow_private_outputs=allow_private_outputs,
            on_progress=on_progress,
        )
        self._starting = threading.RLock()  # reentrant, because a signal handler may call a method too
        self._thread: LoopThread | None = None

    @property
    def _loop(self) -> LoopThread:
        """The loop thread, started by the first call. Until then a fork may use the client."""
        with self._starting:
            self._thread = self._thread or LoopThread(new_loop)
            return self._thread

    def __reduce__(self) -> NoReturn:
        self._client.__reduce__()

    def __enter__(self) -> Self:
        try:
            self._loop.run(self._client.__aenter__())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the client and end its thread. Other threads' calls raise ClosedError, and their predictions run on.

        Closing it twice is allowed. In a fork of the process nothing is closed.
        """
        with suppress(ClosedError, ForkedError):
            self._loop.run(self._client.aclose())
        self._loop.close()

    @with_options(RunOptions)
    def run(
        self,
        job: Job | Chain | str,
        input: Mapping[str, Any] | None = None,
        **options: Unpack[RunOptions],
    ) -> Result:
        """Run a job, a chain, or a model by its name, block until its end, and return its Result, whatever its status.

        ``input`` is merged over the job's input. A file in it, at any depth, is a ``pathlib.Path``, bytes, a file that
        is open for reading bytes, or a picture of Pillow; see ``replicate_job.arun``. The options are those of
        ``RunOptions``. Raises the errors of ``replicate_job.errors``, JobTimeoutError after ``timeout`` among them.
        """
        return self._loop.run(self._client.run(job, input, **options))

    @with_options(RunOptions)
    def submit(
        self,
        job: Job | str,
        input: Mapping[str, Any] | None = None,
        **options: Unpack[RunOptions],
    ) -> JobHandle:
        """Block until the prediction exists. ``handle.result()`` saves its outputs, within an hour of its end.

        ``handle.key`` names the job for ``get``, ``cancel`` and ``wait`` of any other process with the same journal.
        Raises what ``run`` raises before a prediction exists, such as InputError, ModelNotFoundError, UncertainError.
        """
        return JobHandle(self._loop.run(self._client.submit(job, input, **options)), self._loop)

    @with_options(RunOptions)
    def stream(
        self,
        job: Job | str,
        input: Mapping[str, Any] | None = None,
        **options: Unpack[RunOptions],
    ) -> TextStream:
        """Yield the output's text while the model writes it. Without a stream, the whole text comes at the end.

        The stream blocks between two pieces, and ends with the prediction. It raises what ``run`` raises, and
        PredictionError if the prediction did not succeed. Numbers, objects and files are in the stream's ``result``; an
        output without text is logged as a warning. Closing the stream early leaves the prediction running.
        """
        return TextStream(partial(relay, self._client.stream(job, input, **options)), self._loop.iterate)

    @with_options(BatchOptions)
    def batch(self, job: Job | Chain | str, rows: RowSource, **options: Unpack[BatchOptions]) -> Results:
        """Run a job, or a model by its name, for every row. A row is an input that is merged over the job's input.

        The iteration blocks between two results, which come in the order in which rows end, with their ``line`` (from
        1). A row that fails has a ``problem`` in its result. An error that all rows would share (no credit, no network)
        is raised once all running predictions have ended. Rows are read when they are needed, at most a few hundred
        ahead; an iterable is read in a thread of its own. A row may contain files, like the input of ``run``. All files
        but paths stay in memory until the row has ended. ``rows`` may also be a DataFrame, or the path of a file that
        ``replicate-job batch`` accepts. An input with the value None, NaN, NaT or NA is left out.

        Leaving the loop early leaves predictions running: the same ``key``, or the same file, adopts them.
        """
        return Results(self._client.batch(job, rows, **options), self._loop)

    @with_options(BatchOptions)
    def submit_batch(self, job: Job | Chain | str, rows: RowSource, **options: Unpack[BatchOptions]) -> BatchHandle:
        """Give a batch to the workers of a fleet (``replicate-job worker``), and return once it is in the journal.

        The journal is in PostgreSQL. Rows and options are those of ``batch``. All rows are read and checked here; an
        invalid row becomes a result with a ``problem``. ``concurrency``, ``fail_fast`` and ``max_predict_time`` are not
        for a fleet. The client's ``rate`` applies to the batch. Local files in rows (a ``Path``, bytes, an open file)
        are copied to ``save_to``, where workers read them. Raises JobError for such files without ``save_to``.
        """
        return BatchHandle(self._loop.run(self._client.submit_batch(job, rows, **options)), self._loop)

    def batch_handle(self, name: str) -> BatchHandle:
        """The batch with this id, which any process has submitted to the fleet of this journal."""
        return BatchHandle(self._client.batch_handle(name), self._loop)

    def get(self, name: str) -> Result:
        """A job as it is now, by its key or its prediction's id. Data that the API has deleted come from the journal.

        Raises UnknownJobError for an unknown job or a job without a prediction, and UncertainError if a prediction may
        exist.
        """
        return self._loop.run(self._client.get(name))

    def cancel(self, name: str) -> Result | None:
        """Cancel a job, by its key or its prediction's id. A job that has ended is not changed.

        If another call or process runs the job, that call ends with the canceled prediction. Returns None if the job
        certainly has no prediction; its key can then be used again. Raises UnknownJobError, UncertainError, and
        JobHeldError if another call or process runs the job and the account's list does not show its prediction within
        60 seconds.
        """
        return self._loop.run(self._client.cancel(name))

    def wait(
        self,
        name: str,
        *,
        key: str | None = None,
        save_to: str | Path | None = None,
        timeout: float | None = None,
    ) -> Result:
        """Block until a job, by its key, or a prediction, by its id, has ended, and keep its outputs.

        The prediction may have been made elsewhere. With ``key`` it becomes the prediction of the job with that key,
        which must not have a prediction yet. ``save_to`` replaces the job's own folder, or the client's folder for a
        prediction made elsewhere. Raises UnknownJobError, and JobTimeoutError after ``timeout`` seconds: the prediction
        runs on, and can be waited for again.
        """
        return self._loop.run(self._client.wait(name, key=key, save_to=save_to, timeout=timeout))

    def resume(self, *, save_to: str | Path | None = None, timeout: float | None = None) -> Iterator[Result]:
        """Finish every unfinished job in the journal: wait for predictions, keep outputs, create what was not created.

        The iteration blocks between two results, which come in the order in which jobs end. A job that fails has a
        ``problem`` in its result. ``timeout`` is in seconds from the beginning of the iteration, for all jobs together;
        a job that has not ended by then has a ``problem`` too, and runs on. ``save_to`` replaces each job's own folder.
        Batches are not resumed: the same call of ``batch`` continues them. Raises JournalError.
        """
        save_to = read_argument("save_to", save_to)
        timeout = read_argument("timeout", timeout)
        return self._loop.iterate(self._client.resume(save_to=save_to, timeout=timeout))

    def schema(self, model: str) -> dict[str, Any]:
        """The model's OpenAPI document; ``["components"]["schemas"]`` has ``Input`` and ``Output``.

        The document is cached for five minutes. Raises ModelNotFoundError, and JobError if the API shows no schema.
        """
        return self._loop.run(self._client.schema(model))

    def search(self, query: str, *, limit: int = 20) -> list[ModelInfo]:
        """The public models that match the query best, best first. ``limit`` is 1 to 50. Raises JobError."""
        return self._loop.run(self._client.search(query, limit=limit))

    def models(self, owner: str) -> list[ModelInfo]:
        """The public models of a user or an organization.

        The API cannot list by owner, so this searches the public models for the owner's name. Raises JobError.
        """
        return self._loop.run(self._client.models(owner))

    def example(self, model: str) -> Job:
        """A job with the example input of the model's page. Raises ModelNotFoundError, JobError without an example."""
        return self._loop.run(self._client.example(model))

    def readme(self, model: str) -> str:
        """The readme of the model, in Markdown. Raises ModelNotFoundError, and JobError if the model has no readme."""
        return self._loop.run(self._client.readme(model))

    def predictions(self, *, since: timedelta | None = None) -> Iterator[Result]:
        """The account's predictions, newest first, wherever they were made. ``since`` is the greatest age; None: all.

        A prediction that is in this journal has its ``key`` and the ``files`` that were kept.
        """
        return self._loop.iterate(self._client.predictions(since=since))

    def pull(
        self,
        *names: str,
        since: timedelta | None = None,
        model: str | None = None,
        save_to: str | Path | None = None,
    ) -> Iterator[Result]:
        """Keep the outputs of predictions that were made on the web page or by other programs, once each.

        ``names`` are ids or URLs. Without names, all predictions up to the age ``since`` (two hours) are pulled, of all
        models or of one ``model``, version or deployment. ``save_to`` replaces the client's folder. Outputs that were
        kept before are not downloaded again.

        Yields every named prediction, and every prediction whose outputs this call kept or could not keep. If the
        outputs could not be kept, the result has a ``problem``. Raises JobError if no folder is given.
        """
        return self._loop.iterate(self._client.pull(*names, since=since, model=model, save_to=save_to))

    def train(  # noqa: PLR0913 - named options
        self,
        model: str,
        destination: str,
        input: Mapping[str, Any],
        *,
        key: str | None = None,
        wait_for_completion: bool = True,
        timeout: float | None = None,
        webhook: str | None = None,
        allow_unknown: bool = False,
    ) -> Result:
        """Train a version of a model. Like a job, a training is created once, waited for and recorded in the journal.

        ``model`` is ``owner/name:version``, or ``owner/name`` for its latest version. ``destination`` is the model
        (``owner/name``) that gets the new version, whose id is ``output["version"]`` of the Result. ``key`` identifies
        the training as it does a job: the same key never starts a second training. ``timeout`` is in seconds.

        ``get``, ``wait``, ``cancel`` and ``resume`` work as for any other job. Raises what ``run`` raises.
        """
        return self._loop.run(
            self._client.train(
                model,
                destination,
                input,
                key=key,
                wait_for_completion=wait_for_completion,
                timeout=timeout,
                webhook=webhook,
                allow_unknown=allow_unknown,
            )
        )

    def trainings(self) -> list[TrainingInfo]:
        """The account's trainings, newest first."""
        return self._loop.run(self._client.trainings())

    def training(self, training_id: str) -> TrainingInfo:
        """A training as it is now. Raises UnknownJobError."""
        return self._loop.run(self._client.training(training_id))

    def cancel_training(self, training_id: str) -> TrainingInfo:
        """Cancel a training. A training that has ended is not changed. Raises UnknownJobError."""
        return self._loop.run(self._client.cancel_training(training_id))

    def deployments(self) -> list[DeploymentInfo]:
        """The account's deployments, newest first."""
        return self._loop.run(self._client.deployments())

    def deployment(self, name: str) -> DeploymentInfo:
        """A deployment by ``owner/name``, with its current release. Raises ModelNotFoundError."""
        return self._loop.run(self._client.deployment(name))

    def prune(self, *, older_than: timedelta, forget: bool = False, dry_run: bool = False) -> Pruned:
        """Delete the data of jobs that are over: inputs, outputs as returned by the API, logs, and cached schemas.

        Each job keeps its key, its prediction's id and its status, so that the key never creates a second prediction.
        With ``forget`` these are deleted too. ``dry_run`` only counts. Saved files are not deleted.

        Raises JournalError.
        """
        return self._loop.run(self._client.prune(older_than=older_than, forget=forget, dry_run=dry_run))


class BatchHandle:
    """A batch that was submitted to a fleet. ``id`` is its name, also for the commands.

    Its methods raise JobError if there is no such batch.
    """

    def __init__(self, handle: AsyncBatchHandle, loop: LoopThread) -> None:
        self._handle, self._loop = handle, loop
        self.id = handle.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    def status(self) -> BatchStatus:
        """The batch's progress by the journal: rows by state, workers, pace, and errors."""
        return self._loop.run(self._handle.status())

    def results(self, *, follow: bool = True) -> Iterator[Result]:
        """Yield the results of rows that have ended. With ``follow``, also those of the other rows when they end.

        Rows that have ended come in the order of their lines, and the other rows as they end. If the batch is stopped,
        as by its ``max_cost``, the rows whose predictions still run come last.
        """
        return self._loop.iterate(self._handle.results(follow=follow))

    def cancel(self, *, running: bool = False) -> Mapping[str, int]:
        """Create no more predictions of the batch. With ``running``, also cancel its running predictions.

        Returns counts of rows that stay ``unsent``, and of predictions that were ``canceled``, still run (``running``),
        or could not be canceled (``unknown``).
        """
        return self._loop.run(self._handle.cancel(running=running))


class JobHandle:
    """A submitted job, with its prediction. ``key`` is its key in the journal. Its methods block."""

    def __init__(self, handle: AsyncJobHandle, loop: LoopThread) -> None:
        self._handle, self._loop = handle, loop
        self.key, self.prediction_id = handle.key, handle.prediction_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key}: prediction {self.prediction_id}>"

    def status(self) -> str:
        """The prediction's current status: starting, processing, succeeded, failed, canceled or aborted."""
        return self._loop.run(self._handle.status())

    def result(self, *, timeout: float | None = None) -> Result:
        """Block until the end, keep the outputs, and return the Result. A second call sends no request.

        Raises JobTimeoutError after ``timeout`` seconds. It can then be called again.
        """
        return self._loop.run(self._handle.result(timeout=timeout))

    def cancel(self) -> Result:
        """Cancel the prediction. A prediction that has ended is not changed."""
        return self._loop.run(self._handle.cancel())


class Results(Iterable[Result]):
    """The results of a batch, for one ``for``. ``tally`` counts its progress."""

    def __init__(self, results: AsyncResults, loop: LoopThread) -> None:
        self._results, self._loop = results, loop
        self.tally = results.tally

    def __iter__(self) -> Iterator[Result]:
        with closing(self._loop.iterate(self._results.chunks())) as chunks:
            for results in chunks:
                yield from results


def _failure(ask: Ask, error: ReplicateJobError) -> Result:
    """The error's own ``result``, or else a result without a prediction. Its ``problem`` is the error."""
    result = error.result or Result("", "error", ask.job.model, {}, key=ask.key)
    return msgspec.structs.replace(result, problem=str(error))

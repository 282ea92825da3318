"""Runs a job for each row. Each prediction is created once, even if an earlier run of the batch was killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from replicate_job.batches.attempts import attempt_key, attempt_of, attempts_before, has_failed, latest
from replicate_job.batches.blocking_wait import BlockingWaits
from replicate_job.batches.budget import Budget, Cost, Limit, PredictTime, bound, limit_cost
from replicate_job.batches.detach import detach
from replicate_job.batches.estimate import Estimate
from replicate_job.batches.naming import check_naming
from replicate_job.batches.prices import advise, check_said, learn, price_of, with_price
from replicate_job.batches.progress import Tally
from replicate_job.batches.rate_queue import RateQueue
from replicate_job.batches.reader import AHEAD, LineSet, read_ahead
from replicate_job.batches.result_queue import ResultQueue
from replicate_job.batches.row_job import Names, RowJob, RowJobs, another_input, is_of_row
from replicate_job.batches.rows.row import Row
from replicate_job.batches.spec import Batch, OtherModel
from replicate_job.batches.strategy import RowStrategy
from replicate_job.errors import JobError, KeyInUseError, OutputError, ReplicateJobError
from replicate_job.flow.background import Background
from replicate_job.flow.collect import lacks_files, result_of
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.flow.prepare import write_request
from replicate_job.flow.resolved import Resolved
from replicate_job.flow.run import run_job
from replicate_job.flow.subject import about
from replicate_job.inputs.content import Content
from replicate_job.inputs.upload import has_files
from replicate_job.job import Result
from replicate_job.journal.entry import BatchEntry, Entry
from replicate_job.outputs.place import check_combinations, check_place
from replicate_job.pricing.forecast import Forecast
from replicate_job.pricing.price import Price
from replicate_job.quantity import seconds
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import Target, parse_target

if TYPE_CHECKING:
    from replicate_job.batches.row_policy import Model, RowPolicy
    from replicate_job.batches.sharing import SharedNames
    from replicate_job.flow.policy import Policy
    from replicate_job.flow.reuse import Reuse

RowSource = Iterable[Row] | AsyncIterable[Row]


class RowStep(msgspec.Struct, frozen=True):
    """The step of a chain that a row's job runs, with the step's model. ``ended`` has the meaning of ``Ask.ended``."""

    name: str
    context: Context
    resolved: Resolved
    ended: Callable[[Prediction], None]


NO_TRAINING = "destination: a batch runs a model, and trains none"
UNTAKEN = 1000
"""The most results that wait for the caller. Above this number the batch begins no more rows."""
PACED = {"connects": 40, "throttle": 1e9}
"""The batch's changes to the retry policy: wait up to five minutes for a network, and without limit for a 429."""
WHOLE = {"wait_for_completion": True, "poll_interval": None, "max_poll_attempts": None, "fallback": ()}
"""Options of each row's job: it waits for its prediction's end, and ``RowPolicy`` runs the fallbacks instead."""
TICK = 0.2
"""Seconds between two updates of the numbers that change over time: the rate limit, and the room for more rows."""


class Start(msgspec.Struct, frozen=True):
    """The ``key`` of a row's first job in this run, or the ``problem`` of a row that gets no job.

    ``reused``: the row uses the job of an earlier row or of another batch. ``is_unsent``: the job has no prediction
    yet.
    """

    item: RowJob
    key: str
    problem: str = ""
    reused: bool = False
    is_unsent: bool = True


class _Model(msgspec.Struct, frozen=True):
    """One model of the batch, with the parts that make and run its rows' jobs."""

    name: str
    resolved: Resolved
    context: Context
    items: RowJobs


class BatchRunner:
    """One run of a batch: ``replay`` yields the results of rows that were over before, ``run`` those of the others.

    ``target`` is by default the model that the batch's job names. ``tally`` is the progress. ``estimates`` has the cost
    estimates of ``check``, by the name of the model (of the step, for a chain). ``advice`` says which price is missing
    for an estimate. ``stopped`` is the reason why the batch begins no more rows; empty before that. ``detached`` counts
    the outcomes of the predictions that were running when the batch was closed early (see ``detach``).
    """

    def __init__(
        self, context: Context, batch: Batch, resolved: Resolved, tally: Tally, target: Target | None = None
    ) -> None:
        if batch.job.destination:
            raise JobError(NO_TRAINING)
        self.tally, self.stopped, self.detached = tally, "", Counter[str]()
        self._batch = batch
        if batch.grid and batch.save:
            check_combinations(batch.save)
        retry_policy = msgspec.structs.replace(context.retry_policy, **PACED)
        shared = msgspec.structs.replace(context, retry_policy=retry_policy)
        self._target = target or parse_target(batch.job.model)
        self._strategy = RowStrategy(shared, batch.id, self._target, resolved, tally)
        self._context = msgspec.structs.replace(shared, strategy=self._strategy)
        models = {"": OtherModel(batch.job, batch.read, resolved), **batch.others}
        self._models = {name: self._model(model) for name, model in models.items()}
        self._rate_queue = RateQueue(self._context, tally)
        self._prices: dict[str, Price | None] = {}
        self._find_prices()
        self._budget = Budget([], tally, self.stop)
        self._started: dict[str, float] = {}
        self._blocking_waits = BlockingWaits(self._started, context.clock.now, batch.blocking_wait)
        self._replayed, self._began = LineSet(), context.clock.time()
        self._results = ResultQueue(UNTAKEN)
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._by_name: dict[str, asyncio.Task[None]] = {}
        self._ended = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._fault: BaseException | None = None
        self._is_named = False
        self.estimates: dict[str, Estimate] = {}
        self.advice = ""
        self._background = Background(self._fail)
        self._policy: RowPolicy | None = None
        self._reuse: Reuse | None = None
        self._reusable: dict[str, Result] = {}  # by the row's name, for the latest list of rows

    @property
    def batch(self) -> str:
        """The batch's id."""
        return self._batch.id

    def _model(self, model: OtherModel) -> _Model:
        is_own = model.job is self._batch.job
        shared, target = self._strategy.shared, self._target if is_own else parse_target(model.job.model)
        strategy = RowStrategy(self._context, self._batch.id, target, model.resolved, self.tally, shared=shared)
        job = msgspec.structs.replace(model.job, **WHOLE)
        combinations = len(self._batch.grid) if self._batch.grid else 1
        items = RowJobs(job, model.resolved, model.read, self._batch.id_column, combinations)
        context = msgspec.structs.replace(self._context, strategy=strategy)
        return _Model(model.job.model, model.resolved, context, items)

    def _find_prices(self) -> None:
        check_said(self._batch)
        several = bool(self._batch.others or self._batch.job.fallback)
        for model in self._models.values():
            self._find_price(model.name, model.resolved, several=several)

    def _find_price(self, model: str, resolved: Resolved, *, called: str = "", several: bool = True) -> None:
        """Find the model's price. Raises JobError if a cost limit needs a price and there is none."""
        price = self._prices[model] = price_of(self._context, self._batch, model, resolved)
        if price is None and self._batch.max_cost is not None:
            advice = advise(self._context, resolved, called=called, several=several)
            raise JobError(f"a limit of cost needs a price: {advice}")

    async def check(self, rows: RowSource) -> AsyncGenerator[list[Result], None]:
        """Check every row and yield the failures. No prediction is created.

        ``tally.waiting`` counts the predictions that a run would create; rows with the same name and input share one.
        ``tally.running`` counts rows whose prediction is running, ``tally.stored`` rows whose prediction has ended.
        """
        names = Names() if self._batch.id_column is not None else None
        await self._begin_estimates()
        is_new = await self._context.journal.api_of(f"{self._batch.id}/") is None
        async for results, others, entries in self._pass(rows, is_new=is_new):
            self.tally.read += len(results) + len(others)
            failures = []
            for item in others:
                if problem := self._find_problem(item, entries.get(item.name)):
                    failures.append(item.failure(problem))
                elif (entry := entries.get(item.name)) and self._is_made(item, entry):
                    self.tally.stored += 1  # a run creates no prediction for it, and at most downloads missing files
                elif item.repeats or item.name in self._reusable:
                    self.tally.stored += not item.repeats
                elif entry and self._runs(entry):
                    self.tally.running += 1
                elif names is None or (same := names.has_same(item)) is None:
                    self.tally.waiting += 1
                    self._estimate(item, entry)
                elif not same:
                    failures.append(item.failure(another_input(item.name)))
            self.tally.wrong += len(failures)
            yield failures

    def _estimate(self, item: RowJob, entry: Entry | None) -> None:  # noqa: ARG002 - chains ask with it
        """Count the predictions that the row would get."""
        if estimate := self.estimates.get(self._models[item.model].name):
            estimate.add(item.job.input_data)

    def _find_problem(self, item: RowJob, entry: Entry | None) -> str:
        """The reason why the row may not get a prediction of its own; empty if it may."""
        if entry is None:
            return self._check(item)
        if self._is_same(entry, item) or self._is_retried(entry):
            return ""
        return another_input(item.name)

    def _check(self, item: RowJob) -> str:
        """The problems of the row's input, for each model that may get the input; empty if the input fits."""
        return self._models[item.model].items.check(item) or (self._policy.check(item) if self._policy else "")

    def _is_same(self, entry: Entry, item: RowJob) -> bool:
        if self._batch.dedupe:
            return True  # the name is a hash of the input; only the paths of its files may differ
        if self._policy:
            return self._policy.is_same(entry, item)
        return self._context.journal.is_same(entry, item.job)

    async def starts(
        self, rows: RowSource, *, is_new: bool, prepare: Callable[[RowJob], Awaitable[RowJob]]
    ) -> AsyncGenerator[list[Start], None]:
        """Yield some rows at a time, each with its first job in this run. No prediction is created.

        ``is_new``: the journal has no jobs of this batch. Each row passes through ``prepare`` before it is checked.
        """
        names = Names() if self._batch.id_column is not None else None  # without an id column, a name contains the line
        async with aclosing(self._make_items(rows, is_new=is_new, prepare=prepare)) as chunks:
            async for items, entries in chunks:
                yield [self._start(item, entries.get(item.name), names) for item in items]

    def _start(self, item: RowJob, entry: Entry | None, names: Names | None) -> Start:
        if problem := self._find_problem(item, entry):
            return Start(item, "", problem)
        if names and not self._batch.dedupe and names.has_same(item) is False:
            return Start(item, "", another_input(item.name))
        if entry is None and (made := self._reusable.get(item.name)):
            return Start(item, made.key, reused=True)
        key = self._row_key(item, entry)
        is_unsent = entry is None or key != entry.key or entry.prediction_id is None
        return Start(item, key, reused=item.repeats, is_unsent=is_unsent)

    def _row_key(self, item: RowJob, entry: Entry | None) -> str:
        return self._first_key(item, entry)

    def _first_key(self, item: RowJob, entry: Entry | None) -> str:
        """The key of the job that the row begins or resumes."""
        if entry and not self._is_retried(entry):
            return entry.key
        return attempt_key(self._batch.id, item.name, attempt_of(self._batch.id, entry) + 1 if entry else 1)

    @property
    def policy(self) -> Policy | None:
        """The retry policy of failed rows; None if there are no retries. Known after ``open_policy``."""
        return self._policy.policy if self._policy else None

    @property
    def models(self) -> dict[str, Resolved]:
        """The models of the rows' jobs besides the batch's own, by their names; known after ``open_policy``."""
        found = {model.name: model.resolved for name, model in self._models.items() if name}
        if self._policy:
            fallbacks = zip(self._batch.job.fallback, self._policy.models[1:], strict=True)
            found |= {fallback.model: model.resolved for fallback, model in fallbacks}
        return found

    async def replay(self, rows: RowSource) -> AsyncGenerator[list[Result], None]:
        """Yield the results of rows that are over, in the order of the rows. Sends no requests."""
        async for results, _, _ in self._pass(rows):
            yield results

    async def _pass(
        self, rows: RowSource, *, is_new: bool = False
    ) -> AsyncGenerator[tuple[list[Result], list[RowJob], dict[str, Entry]], None]:
        """Yield some rows at a time: the results of rows that are over, the other rows, and all entries in the journal.

        The entries are by the row's name. ``is_new``: the journal has no jobs of this batch.
        """
        async with aclosing(self._make_items(rows, is_new=is_new)) as chunks:
            async for items, entries in chunks:
                over = [
                    (item, entry) for item in items if (entry := entries.get(item.name)) and self._is_over(item, entry)
                ]
                results = [self._stored(item, entry) for item, entry in over]
                for result in results:
                    self._count(result, stored=True)
                finished = {item.number for item, _ in over}
                for number in finished:
                    self._replayed.add(number)
                yield results, [item for item in items if item.number not in finished], entries

    async def _make_items(
        self,
        rows: RowSource,
        *,
        is_new: bool = False,
        prepare: Callable[[RowJob], Awaitable[RowJob]] | None = None,
    ) -> AsyncGenerator[tuple[list[RowJob], dict[str, Entry]], None]:
        """Yield some rows at a time as they are read, with their entries in the journal by the row's name."""
        left = self._batch.limit
        await self.open_policy()
        names = self._open_names()
        async with aclosing(read_ahead(rows, _size)) as chunks:
            async for chunk in chunks:
                taken = chunk[:left]
                for some in [taken] if self._batch.grid is None else self._batch.grid.rows(taken, AHEAD):
                    items = [self._models[row.point.model if row.point else ""].items.make(row) for row in some]
                    items = [await prepare(item) for item in items] if prepare else items
                    items = await names.rename(items) if names else items
                    entries = {} if is_new else await self._look_up(items)
                    if not (is_new or entries or self._is_named):
                        await check_naming(self._context, self._batch, (item.name for item in items))
                    self._is_named = True  # only the first rows are checked
                    await self._look_back(items, entries)
                    yield items, entries
                left = None if left is None else left - len(taken)
                if left == 0:
                    return

    async def _look_back(self, items: list[RowJob], entries: dict[str, Entry]) -> None:
        """Find the earlier attempts of these rows, and reusable results for the new rows."""
        if self._policy:
            self._policy.earlier = await attempts_before(self._context, self._batch.id, entries)
        if not self._reuse:
            return
        self._reusable = {}
        for name, model in self._models.items():
            new = [item for item in items if item.name and item.name not in entries and item.model == name]
            found = await self._reuse.find([item.job for item in new], model.resolved)
            self._reusable |= {item.name: made for item, made in zip(new, found, strict=True) if made}

    async def open_policy(self) -> None:
        """Prepare retries and fallbacks. Raises ModelNotFoundError for a fallback that does not exist."""
        plan = self._batch.plan
        if self._policy is None and plan and (plan.policy.retries or plan.policy.models > 1):
            if self._batch.others:
                raise JobError("retries and fallback are for batches of one model: leave them or the models out")
            # Imported only for batches with a policy.
            from replicate_job.batches.row_policy import Model, RowPolicy, resolve_fallbacks  # noqa: PLC0415

            batch, own = self._batch, Model(self._context, self._models[""].resolved)
            others = await resolve_fallbacks(own.context, batch.job.fallback, self._strategy)
            for fallback, model in zip(batch.job.fallback, others, strict=True):
                if fallback.model not in self._prices:
                    self._find_price(fallback.model, model.resolved)
            policy = RowPolicy(batch.id, plan.policy, [own, *others], batch.job.fallback, shares=batch.dedupe)
            self._policy = policy
        if self._reuse is None and plan and plan.reuse is not None:
            from replicate_job.flow.reuse import Reuse  # noqa: PLC0415 - as above

            self._reuse = Reuse(self._context, plan.reuse)

    def _open_names(self) -> SharedNames | None:
        if not self._batch.dedupe:
            return None
        from replicate_job.batches.sharing import SharedNames  # noqa: PLC0415 - only batches that ask for it

        return SharedNames(self._context)

    async def run(self, rows: RowSource) -> AsyncGenerator[list[Result], None]:
        """Yield results in lists as they are ready. Rows with a wrong input have results too.

        If an error stops the batch, it is raised after all running predictions have ended. An error of one row is in
        that row's result. If the generator is closed early, the batch detaches: predictions go on, and the journal has
        their ids.
        """
        batch = self._batch
        if batch.save:
            await check_place(batch.save, self._context.stores)
        before = await self._context.journal.api_of(f"{batch.id}/")
        if before not in {None, self._context.api}:
            raise JobError(f"the batch {batch.id} belongs to {before}, not {self._context.api}: choose another key")
        await self._open_budget()
        self._background.start(self._tick())
        work = self._background.start(self._work(rows))
        work.add_done_callback(lambda _: self._results.end())
        try:
            while results := await self._results.take():
                yield results
            if self._fault:
                raise self._fault
        finally:
            await self._background.close()
            await self._detach()

    def stop(self, reason: str) -> None:
        """Create no more predictions. Running predictions go on to their end."""
        self.stopped = self.stopped or reason
        if self._reading:
            self._reading.cancel()
        self._rate_queue.cancel()
        self._budget.cancel()

    @property
    def limited(self) -> str:
        """The option of the limit that stopped the batch; empty if no limit stopped it."""
        return self._budget.reached.option if self._budget.reached else ""

    async def _begin_estimates(self) -> None:
        for model in self._models.values():
            await self._begin_estimate(model.name, model.name, model.resolved)

    async def _begin_estimate(self, name: str, model: str, resolved: Resolved) -> None:
        """Set ``estimates[name]`` for the model's predictions, or set ``advice`` if the model has no price."""
        if price := self._prices[model]:
            forecast = Forecast(price, resolved.schema, self._cancel_after(model))
            self.estimates[name] = Estimate(price, forecast, await learn(self._context, model, price))
        elif not self._context.ephemeral:
            called, several = "" if name == model else name, len(self._prices) > 1
            self.advice = advise(self._context, resolved, called=called, several=several)

    def _cancel_after(self, model: str) -> str | None:  # noqa: ARG002 - one for all models
        """The ``cancel_after`` of the model's jobs."""
        return self._batch.job.cancel_after

    async def _open_budget(self) -> None:
        batch, limits = self._batch, list[Limit]()
        if batch.max_predict_time is not None:
            limits.append(PredictTime(Decimal(batch.max_predict_time)))
        if cost := await self.open_cost():
            limits.append(cost)
        self._budget = Budget(limits, self.tally, self.stop)
        open_ones = await self._budget.open(self._context, batch.id)
        if cost:
            together = min(batch.concurrency, self.tally.total or batch.concurrency) + open_ones
            self._context.reporter.tell(cost.state(self.bound(cost, together)))

    def bound(self, cost: Cost, together: int) -> str:
        """A message that says by how much the limit may be exceeded while ``together`` rows run."""
        values = self._batch.job.input_data
        return bound([cost.asks(values, model) for model in self._paid_models], together)

    async def open_cost(self) -> Cost | None:
        """The cost limit, with nothing spent yet; None if the batch has no cost limit."""
        most = self._batch.max_cost
        if most is None:
            return None
        await self.open_policy()
        models, prices = self._paid_models, self.prices
        learned = {name: await learn(self._context, name, prices[name]) for name in models}
        return limit_cost(most, prices, models, learned, self._cancel_after)

    @property
    def _paid_models(self) -> dict[str, Resolved]:
        """The models that make the predictions, by their names."""
        own = self._models[""]
        return {own.name: own.resolved, **self.models}

    @property
    def secrets(self) -> tuple[str, ...]:
        """The names of the models' secret inputs."""
        return tuple({name for model in self._models.values() for name in model.resolved.secrets})

    @property
    def prices(self) -> dict[str, Price]:
        """The known prices of the batch's models, by the models' names."""
        return {name: price for name, price in self._prices.items() if price}

    def _fail(self, error: BaseException) -> None:
        """End the batch after an error that all rows share."""
        self._fault = self._fault or error
        self.stop(str(error))

    async def _tick(self) -> None:
        while True:
            self._rate_queue.update_tally()
            self._ended.set()
            await asyncio.sleep(TICK)

    async def _work(self, rows: RowSource) -> None:
        batch, telemetry = self._batch, self._context.telemetry
        with about(batch), telemetry.batch(batch.job.model, batch.id, self.tally) as scope:
            self._reading = asyncio.create_task(self._read(rows))
            self._budget.check()  # earlier runs may have reached a limit
            await asyncio.wait([self._reading])
            if not self._reading.cancelled():
                self._fault = self._fault or self._reading.exception()
            while self._tasks:
                await asyncio.wait(self._tasks)
            if self._fault:
                scope.failed(self._fault)

    async def _detach(self) -> None:
        under_way = list(self._started)
        tasks = [*self._tasks, *([self._reading] if self._reading else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        try:
            if under_way:
                self.detached = await detach(self._context, under_way, cancel=self._batch.cancels())
        finally:
            await self._strategy.close()

    async def _read(self, rows: RowSource) -> None:
        batch, is_begun = self._batch, False
        async with aclosing(self._make_items(rows)) as chunks:
            async for items, entries in chunks:
                if not is_begun:  # a batch without rows leaves nothing in the journal
                    started = BatchEntry(batch.id, self._context.api, batch.source, batch.command, self._began)
                    await self._context.journal.begin_batch(started)
                    is_begun = True
                for item in items:
                    self.tally.read += 1
                    await self._begin(item, entries.get(item.name))
        self._budget.reading(goes_on=False)

    async def _look_up(self, items: list[RowJob]) -> dict[str, Entry]:
        return await latest(self._context, self._batch.id, {item.name for item in items if item.name})

    async def _begin(self, item: RowJob, entry: Entry | None) -> None:
        """Start the row's job as soon as there is room. If the row is over, queue its result immediately."""
        if entry and self._is_over(item, entry):
            if item.number not in self._replayed:
                result = self._stored(item, entry)
                self._count(result, stored=True)
                await self._results.put(result)
            return
        if entry is None and (problem := self._check(item)):
            await self._give(item.failure(problem))
            return
        if entry is None and (made := self._reusable.get(item.name)):
            key = attempt_key(self._batch.id, item.name)
            await self._give(msgspec.structs.replace(made, line=item.line, key=key, grid=item.grid))
            return
        while len(self._tasks) >= self._blocking_waits.room(self._batch.concurrency):
            self._budget.reading(goes_on=False)
            self._ended.clear()
            await self._ended.wait()
        self._budget.reading(goes_on=True)
        earlier = self._policy.earlier.get(item.name, ()) if self._policy else ()
        task = asyncio.create_task(self._job(item, entry, earlier, self._by_name.get(item.name)))
        self._by_name[item.name] = task
        self._tasks[task] = item.name
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        name = self._tasks.pop(task)
        if self._by_name.get(name) is task:
            del self._by_name[name]
        self._ended.set()
        if not task.cancelled() and (error := task.exception()):
            self._fail(error)

    def _is_over(self, item: RowJob, entry: Entry) -> bool:
        """Whether the row has all its predictions and files.

        A row whose name belongs to another input is not over; claiming its job raises an error.
        """
        return self._is_made(item, entry) and not self._lacks_files(entry)

    def _lacks_files(self, entry: Entry) -> bool:
        return lacks_files(entry, self._batch.save)

    def _runs(self, entry: Entry) -> bool:
        """Whether the row's last prediction runs, so that no more predictions are created for the row."""
        return entry.prediction_id is not None and entry.step != "done"

    def _is_made(self, item: RowJob, entry: Entry) -> bool:
        """Whether all predictions of the row exist and are over. Some of their files may be missing."""
        if entry.step != "done" or entry.prediction is None or self._is_retried(entry):
            return False
        if self._policy and self._policy.next_model(item, entry) is not None:
            return False
        return self._is_same(entry, item)

    def _is_retried(self, entry: Entry) -> bool:
        """Whether the row gets a new attempt because of ``retry_failed`` or ``retry_uncertain``.

        An attempt of this run is not retried in this way.
        """
        wanted = self._batch.retry_uncertain if entry.state == "uncertain" else self._batch.retry_failed
        is_due = entry.state == "uncertain" or has_failed(entry)
        return wanted and is_due and entry.claimed_at < self._began

    def _stored(self, item: RowJob, entry: Entry) -> Result:
        earlier: tuple[Result, ...] = ()
        if self._policy and not item.repeats:
            before = self._policy.earlier.get(item.name, ())
            earlier = tuple(self._recall(item, each) for each in before if each.prediction)
        return msgspec.structs.replace(
            self._recall(item, entry),
            line=item.line,
            problem=entry.problem,
            grid=item.grid,
            earlier=earlier,
            reused=item.repeats,
        )

    def _recall(self, item: RowJob, entry: Entry) -> Result:  # noqa: ARG002 - policies ask with it
        """The result of an attempt, with the price of its model."""
        assert entry.prediction  # noqa: S101 - an attempt that is over has one
        return self._priced(entry.job.model, result_of(entry.prediction, entry, entry.files))

    async def _job(
        self,
        item: RowJob,
        entry: Entry | None,
        earlier: tuple[Entry, ...],
        same: asyncio.Task[None] | None,
    ) -> None:
        """Run the row's job. If an earlier row has the same name, wait for that row's job and use its result."""
        made: list[Result] = []
        if entry and self._is_made(item, entry):
            self.tally.fetched += 1
        try:
            if same or item.repeats:
                if same:
                    await asyncio.wait([same])
                found = await self._look_up([item])
                entry = found.get(item.name)
                if self._policy:
                    earlier = (await attempts_before(self._context, self._batch.id, found)).get(item.name, ())
                    self._policy.earlier[item.name] = earlier
                if entry and self._is_over(item, entry):
                    await self._give(self._stored(item, entry))
                    return
            result = await self._result(item, entry, earlier, made)
        except ReplicateJobError as error:
            if not is_of_row(error):
                raise
            problem = another_input(item.name) if isinstance(error, KeyInUseError) else str(error)
            result = msgspec.structs.replace(error.result or item.failure(problem), problem=problem)
        await self._give(msgspec.structs.replace(result, line=item.line, grid=item.grid, earlier=tuple(made)))

    def _result(
        self, item: RowJob, entry: Entry | None, earlier: tuple[Entry, ...], made: list[Result]
    ) -> Awaitable[Result]:
        """The result of the row's last attempt. The results of earlier attempts are appended to ``made``."""
        if self._policy:
            is_retried = entry is not None and self._is_retried(entry)
            attempts = self._policy.attempts(item, entry, earlier, is_retried=is_retried)
            return attempts.to_end(
                self._attempt, made, recall=self._recall, spend=self._spend_attempt, pause=self._rate_queue.pause
            )
        return self._last_attempt(item, entry)

    def _last_attempt(self, item: RowJob, entry: Entry | None, step: RowStep | None = None) -> Awaitable[Result]:
        is_new = entry is None or self._is_retried(entry)
        return self._attempt(item, self._first_key(item, entry), None if is_new else entry, step=step)

    def _own(self, item: RowJob) -> tuple[Context, Resolved]:
        model = self._models[item.model]
        return model.context, model.resolved

    async def _attempt(
        self,
        item: RowJob,
        key: str,
        entry: Entry | None,
        model: Model | None = None,
        *,
        step: RowStep | None = None,
    ) -> Result:
        """Run one prediction of the row, with the batch's model or another model."""
        other = step or model
        context, resolved = (other.context, other.resolved) if other else self._own(item)
        request, slot = None, None
        if entry and self._batch.dedupe and not context.journal.is_same(entry, item.job):
            item = msgspec.structs.replace(item, job=entry.job)  # the same files under other paths
        if entry is None and not has_files(item.job.input_data):
            request = write_request(item.job, resolved, item.job.input_data)
        await self._budget.enter(key, item.job, creates=entry is None or entry.prediction_id is None)
        slot = await self._rate_queue.wait() if request else None
        begun = self._started[key] = self._context.clock.now()
        self.tally.running += 1
        ask = Ask(
            item.job,
            key,
            self._batch.place(item.line),
            blocking_wait=self._blocking_waits.choose(),
            chain_step=step.name if step else None,
            ended=step.ended if step else None,
        )
        try:
            result = await run_job(context, ask, request, slot)
        except ReplicateJobError as error:
            if isinstance(error, OutputError) and error.result:
                error.result = self._priced(item.job.model, error.result)
                self._budget.settle(key, error.result)
            else:
                await self._budget.fail(key, self._context)
            raise
        finally:
            self.tally.running -= 1
            del self._started[key]
        result = self._priced(item.job.model, result)
        self._budget.settle(key, result)
        if entry is None:
            self._blocking_waits.took(self._context.clock.now() - begun)
        return result

    def _priced(self, model: str, result: Result) -> Result:
        """The result with the batch's price for the model. A result of another model keeps the price of the tables."""
        return with_price(result, self._prices[model]) if model in self._prices else result

    async def _give(self, result: Result) -> None:
        self._count(result)
        await self._results.put(result)
        if self._batch.fail_fast and (result.status != "succeeded" or result.problem):
            self.stop(f"line {result.line} failed, and nothing is created after the first failure")
        self._budget.check()

    def _spend(self, result: Result) -> None:
        self.tally.predict_time += seconds(result.metrics.get("predict_time")) or 0.0

    def _spend_attempt(self, result: Result) -> None:
        self._spend(result)
        self._budget.check()

    def _count(self, result: Result, *, stored: bool = False) -> None:
        tally = self.tally
        tally.stored += stored
        if result.status == "error":
            tally.wrong += 1
        elif result.status == "succeeded" and not result.problem:
            tally.succeeded += 1
        else:
            tally.failed += 1
        if result.reused:
            return
        if stored or not self._policy:  # with a policy, each attempt was counted at its end
            for each in result.attempts:
                self._spend(each)
        for each in result.predictions:
            for path in each.files:
                with suppress(OSError):
                    tally.bytes += path.stat().st_size if isinstance(path, Path) else 0
                    tally.saved += 1


def _size(row: Row) -> int:
    """The approximate size of a row in bytes. Only texts and files in memory count."""
    size = 0
    for value in row.values.values():
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, Content):
            size += value.size
        elif isinstance(value, list):
            size += sum(item.size for item in value if isinstance(item, Content))
    return size

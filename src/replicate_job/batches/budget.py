"""Limits on the money and the predict time that a batch may spend, over all its runs."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from replicate_job.batches.prices import with_price
from replicate_job.batches.progress import Tally
from replicate_job.flow.collect import result_of
from replicate_job.flow.context import Context
from replicate_job.flow.resolved import Resolved
from replicate_job.job import Job, Result
from replicate_job.journal.entry import Entry
from replicate_job.pricing.charge import is_free
from replicate_job.pricing.forecast import Forecast
from replicate_job.pricing.learned import Learned
from replicate_job.pricing.price import Price
from replicate_job.quantity import count, duration, money, seconds
from replicate_job.wire.prediction import TERMINAL

SHARE = 0.95
"""The quantile of the learned costs that is set aside for a running prediction."""
LIMITED = "the limit is"
"""The phrase in the ``stopped`` reason of a batch that has reached its cost limit."""
_NONE = Decimal(0)


def _cost_of(result: Result) -> Decimal | None:
    """The cost of a result; None if it is not known."""
    if is_free(result.price, result.stand_in):
        return _NONE
    charge = result.charge
    return charge.cost if charge else None


class Limit(ABC):
    """A limit on what a batch spends, in USD or in seconds.

    ``most`` is the limit, ``spent`` the sum of the ended predictions. ``option`` is the command's option for the limit.
    """

    option = "--max-cost"

    def __init__(self, most: Decimal) -> None:
        self.most, self.spent = most, _NONE

    @abstractmethod
    def used(self, result: Result, model: str = "") -> Decimal | None:
        """The cost or the seconds of an ended prediction; None if not known."""

    @abstractmethod
    def hold(self, values: Mapping[str, Any], number: int = 1, model: str = "") -> None:
        """Set an amount aside for each of ``number`` predictions with that input. A -1 releases one amount."""

    @abstractmethod
    def admits(self, values: Mapping[str, Any], model: str = "") -> bool:
        """Whether one more prediction with that input stays within the limit."""

    @abstractmethod
    def reason(self) -> str:
        """The reason why no more predictions are created."""

    def spend(self, amount: Decimal, model: str = "") -> None:  # noqa: ARG002 - one sum for all models
        self.spent += amount

    def state(self, bound: str) -> str:
        """A message that says how much money is spent, and by how much the limit may be exceeded."""
        state = f"{money(self.spent)} of {money(self.most)} are spent"
        return f"{state}: nothing is created before the limit is larger" if self.is_spent else f"{state}; {bound}"

    @property
    def is_spent(self) -> bool:
        return self.spent >= self.most


class PredictTime(Limit):
    """A limit on predict time, in seconds. Nothing is set aside, so running predictions may exceed the limit."""

    option = "--max-predict-time"

    def used(self, result: Result, model: str = "") -> Decimal:  # noqa: ARG002 - one for all
        return Decimal(seconds(result.metrics.get("predict_time")) or 0)

    def hold(self, values: Mapping[str, Any], number: int = 1, model: str = "") -> None:
        pass

    def admits(self, values: Mapping[str, Any], model: str = "") -> bool:  # noqa: ARG002 - as above
        return not self.is_spent

    def reason(self) -> str:
        return f"{self.spent:.0f} s of predict time are spent, and {self.most:.0f} s is the limit"


class ModelCost:
    """The costs of one model's predictions: the learned costs of ended ones, and the amount set aside for the others.

    For a running prediction, the 95th percentile of the learned costs is set aside (the highest, if few are learned),
    but at least the cost that its input asks for.

    Until a cost is learned, the cost that the input asks for by the price table is set aside. If the input does not
    determine a cost, the first prediction runs alone.
    """

    def __init__(self, price: Price, forecast: Forecast, learned: Learned) -> None:
        self._price, self._forecast, self._learned = price, forecast, learned
        self._asked, self._untold, self._worst, self._held = _NONE, 0, _NONE, 0
        self._is_told = True

    def used(self, result: Result) -> Decimal | None:
        """The cost of an ended prediction by the model's price; None if the cost is not known."""
        return _cost_of(with_price(result, self._price))

    def learn(self, amount: Decimal) -> None:
        """Add the cost of an ended prediction to the learned costs."""
        if amount:
            self._learned.add(amount)

    def hold(self, values: Mapping[str, Any], number: int) -> None:
        """Set an amount aside for each of ``number`` predictions with that input. A -1 releases one amount."""
        self._held += number
        expected = self._forecast.expected(values)
        if expected is None:
            self._untold += number
            self._worst += number * (self._forecast.most(values) or _NONE)
        else:
            self._asked += number * expected

    @property
    def set_aside(self) -> Decimal:
        usual = self.usual
        return self._asked + self._worst if usual is None else max(self._asked, usual * self._held)

    @property
    def usual(self) -> Decimal | None:
        """The learned cost that is set aside for a prediction; None if nothing is learned."""
        return self._learned.quantile(SHARE)

    def fits(self, values: Mapping[str, Any], room: Decimal) -> bool:
        """Whether one more prediction with that input costs at most ``room``."""
        usual, expected = self.usual, self._forecast.expected(values)
        self._is_told = expected is not None
        if usual is None and expected is None:
            return not self._untold and room > 0
        return max(usual or _NONE, expected or _NONE) <= room

    @property
    def next_one(self) -> str:
        """A message with the learned cost of one more prediction, and from how many predictions it is learned.

        Empty if no cost is learned.
        """
        if not self.usual:
            return ""
        known, number = "", len(self._learned)
        if self._learned.is_few and not self._is_told:
            known = f" (the dearest of {number} so far)" if number > 1 else " (as the only one so far)"
        return f", and one more costs about {money(self.usual)}{known}"

    def asks(self, values: Mapping[str, Any]) -> Asks:
        """The cost of a prediction with that input, as far as the input determines it."""
        return Asks(self._forecast.expected(values), self._forecast.most(values), self._forecast.longest)


class Cost(Limit):
    """A limit in USD for all models of a batch together.

    ``models`` has the costs of each model by the model's name, the batch's own model first. An earlier run of the batch
    may have used another model. The predictions of that model are priced by the price tables, or, if the tables lack
    the model, by the price of the batch's own model.
    """

    def __init__(self, most: Decimal, models: Mapping[str, ModelCost]) -> None:
        super().__init__(most)
        self._models, self._own = models, next(iter(models.values()))
        self._full = self._own if len(models) == 1 else None

    def used(self, result: Result, model: str = "") -> Decimal | None:
        if found := self._models.get(model):
            return found.used(result)
        known = _cost_of(result)
        return self._own.used(result) if known is None else known

    def hold(self, values: Mapping[str, Any], number: int = 1, model: str = "") -> None:
        self._model(model).hold(values, number)

    def spend(self, amount: Decimal, model: str = "") -> None:
        super().spend(amount, model)
        if found := self._models.get(model):
            found.learn(amount)

    @property
    def set_aside(self) -> Decimal:
        return sum((model.set_aside for model in self._models.values()), _NONE)

    def admits(self, values: Mapping[str, Any], model: str = "") -> bool:
        found = self._model(model)
        fits = found.fits(values, self.most - self.spent - self.set_aside)
        if len(self._models) > 1:
            self._full = None if fits else found
        return fits

    def reason(self) -> str:
        more = f" and {money(self.set_aside)} set aside for what is under way or uncertain" if self.set_aside else ""
        next_one = self._full.next_one if self._full else ""
        return f"{money(self.spent)} are spent{more}{next_one}: {LIMITED} {money(self.most)}"

    def asks(self, values: Mapping[str, Any], model: str) -> Asks:
        """The cost of a prediction of that model with that input, as far as the input determines it."""
        return self._models[model].asks(values)

    def _model(self, name: str) -> ModelCost:
        return self._models.get(name, self._own)


def limit_cost(
    most: Decimal,
    prices: Mapping[str, Price],
    models: Mapping[str, Resolved],
    learned: Mapping[str, Learned],
    cancel_after: Callable[[str], str | None],
) -> Cost:
    """The limit for all these models together, with nothing spent yet.

    ``prices``, ``models`` and ``learned`` are by the model's name. ``cancel_after`` takes the name, and returns the
    ``cancel_after`` of the model's jobs.
    """
    costs = {
        name: ModelCost(prices[name], Forecast(prices[name], model.schema, cancel_after(name)), learned[name])
        for name, model in models.items()
    }
    return Cost(most, costs)


class Asks(msgspec.Struct, frozen=True):
    """The cost of a prediction, or of several ``calls`` of a chain.

    ``expected`` and ``most`` are in USD, None if not known; ``longest`` is the most seconds of one prediction.
    """

    expected: Decimal | None
    most: Decimal | None
    longest: float
    calls: int = 1

    def times(self, calls: int) -> Asks:
        """The cost of this many calls."""
        expected, most = self.expected, self.most
        expected, most = expected and expected * calls, most and most * calls
        return Asks(expected, most, self.longest, self.calls * calls)

    def __add__(self, other: Asks) -> Asks:
        expected = None if self.expected is None or other.expected is None else self.expected + other.expected
        most = None if self.most is None or other.most is None else self.most + other.most
        return Asks(expected, most, max(self.longest, other.longest), self.calls + other.calls)


def bound(models: Sequence[Asks], together: int) -> str:
    """A message that says by how much a limit may be exceeded while ``together`` predictions of these models run."""
    if all(model.most is not None and model.expected == model.most for model in models):
        return "it is not exceeded, if predictions make what their input asks for"
    if any(model.most is None for model in models):
        return "how far it may be exceeded is not known: nothing in the input bounds what a prediction makes"
    dearest = max(models, key=lambda model: model.most or _NONE)
    most = dearest.most or _NONE
    limit = f"{money(most)}, the cost of {duration(dearest.longest)}"
    each = limit if dearest.expected is None and dearest.calls == 1 else money(most)
    number = (
        f"{together:,}" if dearest.calls == 1 else f"{count(together, 'row')} of up to {dearest.calls:,} predictions"
    )
    return (
        f"it may be exceeded by {money(most * together)} at most: {number} together, each of at most {each}; "
        "each uncertain prediction may add as much"
    )


class Budget:
    """Admits predictions while no limit is reached. Without limits it admits every prediction.

    Once no more predictions are admitted, ``stop`` is called with the reason, and ``reached`` is the limit that was
    reached.
    """

    reached: Limit | None = None

    def __init__(self, limits: list[Limit], tally: Tally, stop: Callable[[str], None]) -> None:
        self._limits, self._tally, self._stop = limits, tally, stop
        self._held: dict[str, Job] = {}
        self._live: set[str] = set()
        self._left: set[str] = set()  # keys of unfinished jobs of earlier runs that have not resumed
        self._is_reading = True
        self._changed, self._queue = asyncio.Event(), asyncio.Lock()
        self._waiting: set[asyncio.Task[Any]] = set()
        self._is_off = False

    async def open(self, context: Context, batch: str) -> int:
        """Count what the batch has spent in earlier runs. Return the number of predictions whose cost is unknown."""
        if self._limits:
            async for entries in context.journal.scan(batch=batch):
                for entry in entries:
                    self._recall(entry)
        self._left = set(self._held)
        return len(self._held)

    @property
    def held(self) -> Mapping[str, Job]:
        """The jobs of the predictions for which an amount is set aside, by the jobs' keys."""
        return self._held

    def _recall(self, entry: Entry) -> None:
        prediction = entry.prediction
        if prediction and prediction.status in TERMINAL:
            self._hold(entry.key, entry.job)
            self._spend(entry.key, result_of(prediction, entry))
        elif entry.prediction_id or entry.state in {"intended", "uncertain"}:
            self._hold(entry.key, entry.job)

    def check(self) -> None:
        """Stop once a limit is reached, but only after the unfinished jobs of earlier runs have resumed."""
        for limit in self._limits:
            if limit.is_spent and not self._awaits_rows:
                self._reach(limit)

    def _reach(self, limit: Limit) -> None:
        if not self._is_off:
            self.reached = limit
        self._stop(limit.reason())

    def reading(self, *, goes_on: bool) -> None:
        """Set whether rows are being read. While they are, the unfinished jobs of earlier runs may still resume."""
        if goes_on != self._is_reading:
            self._is_reading = goes_on
            self._changed.set()

    @property
    def _awaits_rows(self) -> bool:
        return self._is_reading and bool(self._left)

    async def enter(self, key: str, job: Job, *, creates: bool) -> None:
        """Wait until the row's prediction may be created. A row with a running prediction does not wait.

        Raises CancelledError if no more predictions are admitted.
        """
        if not self._limits:
            return
        if creates and key not in self._held:
            task = asyncio.current_task()
            assert task  # noqa: S101 - a coroutine runs in a task
            self._tally.waiting += 1
            self._waiting.add(task)
            try:
                await self._admit(key, job)
            finally:
                self._waiting.discard(task)
                self._tally.waiting -= 1
        self._live.add(key)
        self._left.discard(key)

    async def _admit(self, key: str, job: Job) -> None:
        async with self._queue:  # predictions are admitted in the order of the rows
            while full := next((limit for limit in self._limits if not limit.admits(job.input_data, job.model)), None):
                if not self._live and not self._awaits_rows:
                    self._reach(full)
                if self._is_off:
                    raise asyncio.CancelledError
                self._changed.clear()
                await self._changed.wait()
            if self._is_off:
                raise asyncio.CancelledError
            self._hold(key, job)
            self._live.add(key)

    def settle(self, key: str, result: Result) -> None:
        """Count the cost of the row's ended prediction. If the cost is not known, the amount stays set aside."""
        if self._limits:
            self._live.discard(key)
            self._spend(key, result)
            self._changed.set()

    async def fail(self, key: str, context: Context) -> None:
        """Release the amount that was set aside for a row whose job failed, if the row certainly has no prediction."""
        if not self._limits:
            return
        self._live.discard(key)
        entry = (await context.journal.look_up([key])).get(key)
        if entry is None or (entry.prediction_id is None and entry.state in {"claimed", "refused"}):
            self._release(key)
        self._changed.set()

    def cancel(self) -> None:
        """Admit no more predictions."""
        self._is_off = True
        current = asyncio.current_task() if self._waiting else None
        for task in self._waiting - {current}:
            task.cancel()

    def _hold(self, key: str, job: Job) -> None:
        if key not in self._held:
            self._held[key] = job
            for limit in self._limits:
                limit.hold(job.input_data, model=job.model)

    def _release(self, key: str) -> None:
        if job := self._held.pop(key, None):
            for limit in self._limits:
                limit.hold(job.input_data, -1, job.model)

    def _spend(self, key: str, result: Result) -> None:
        if key not in self._held:
            return
        model = self._held[key].model
        amounts = [limit.used(result, model) for limit in self._limits]
        if None in amounts:
            return
        self._release(key)
        for limit, amount in zip(self._limits, amounts, strict=True):
            limit.spend(amount or _NONE, model)

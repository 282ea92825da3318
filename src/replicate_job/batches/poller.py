"""Polls thousands of predictions in rounds. Each request reads a page of the account's list, up to 100 predictions."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from replicate_job.api.failures import backoff, is_transient
from replicate_job.errors import AnswerTooLargeError, NoAnswerError, ReplicateJobError
from replicate_job.flow.background import Background
from replicate_job.flow.context import Context
from replicate_job.flow.subject import SUBJECT, Subject, about
from replicate_job.flow.wait import Watch
from replicate_job.telemetry import COUNTS, now
from replicate_job.wire.prediction import Prediction, parse_time

INTERVAL = 1.0
"""Seconds from the start of one round to the start of the next; more if the rate limit requires it."""
SHARE = 0.8
"""The share of the rate limit that the rounds may use. The rest is for looking up predictions and models."""
PACE = 50.0
"""The rate limit that is assumed if none is known, in requests a second."""
GROUP = 98
"""The most predictions in the time span of one request for the list, which returns a page of 100."""
SINGLY = 2
"""A group of at most this many predictions is polled one by one, without the list."""
PAD = timedelta(milliseconds=1)
"""The time by which a request's time span is widened at each end, since the API does not say whether the span includes
its ends."""
MISSES = 3
"""A prediction that the list has lacked in this many rounds is then polled on its own, in every other round."""


class _Waiting(msgspec.Struct, eq=False):
    """A prediction that a caller waits for.

    ``created`` is the creation time by the API's clock, None until a response contains it. ``misses`` counts the latest
    rounds in which the list lacked the prediction.
    """

    watch: Watch
    end: asyncio.Future[Prediction]
    created: datetime | None = None
    logs: str | None = None
    misses: int = 0
    subject: Subject | None = None

    def observed(self, prediction: Prediction) -> None:
        self.created, self.misses = self.created or parse_time(prediction.created_at), 0
        prediction = prediction.with_logs(self.logs)
        self.logs = prediction.logs
        if prediction.is_terminal and not self.end.done():
            self.end.set_result(prediction)

    def failed(self, error: BaseException) -> None:
        if not self.end.done():
            self.end.set_exception(error)


class Poller:
    """Polls for all waiting callers. Sends no requests while no caller waits."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: dict[str, _Waiting] = {}
        self._background = Background(self._fail)
        self._work: asyncio.Task[None] | None = None
        self._most = GROUP

    async def wait(self, prediction_id: str, last: Prediction | None, *, age: float) -> Prediction:
        """Wait for the prediction's end, however long it takes, and return the prediction.

        ``last`` is its last known state, ``age`` its least age in seconds. Raises an APIError that is not transient,
        and any other error that ended the rounds.
        """
        if last and last.is_terminal:
            return last
        future: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        watch = Watch(self._context, prediction_id, age=age)
        created, logs = (parse_time(last.created_at), last.logs) if last else (None, None)
        self._waiting[prediction_id] = _Waiting(watch, future, created, logs, subject=SUBJECT.get())
        if self._work is None or self._work.done():
            self._work = self._background.start(self._go_round())
        try:
            return await future
        finally:
            del self._waiting[prediction_id]

    def _fail(self, error: BaseException) -> None:
        for one in self._waiting.values():
            one.failed(error)

    async def close(self) -> None:
        await self._background.close()

    async def _go_round(self) -> None:
        clock, failures = self._context.clock, 0
        SUBJECT.set(None)  # the first caller started this task, but the task serves all callers
        COUNTS.polled(self, now())
        try:
            while self._waiting:
                started, began = clock.now(), now()
                cost, failed = await self._round()
                failures = failures + 1 if failed else 0
                if not failed:
                    COUNTS.polled(self, began)
                share = SHARE * (self._context.client.others.pace or PACE)
                pause = max(INTERVAL, cost / share) - (clock.now() - started)
                await clock.sleep(max(0.0, pause, backoff(failures, ceiling=30) if failures else 0.0))
        finally:
            COUNTS.rests(self)

    async def _round(self) -> tuple[int, bool]:
        """Poll every waiting prediction one time. Return the number of requests, and whether reading a list failed."""
        listed = [one for one in self._waiting.values() if one.created and one.misses < MISSES]
        listed.sort(key=_created, reverse=True)
        self._most = min(GROUP, self._most + 1)  # ``_most`` was halved if a page was too large to be read
        groups = list(_groups(listed, self._most))[::-1]  # the oldest are likely to end first
        singly = [one for one in self._waiting.values() if one.created is None or one.misses >= MISSES]
        outcomes = await asyncio.gather(*map(self._ask_listed, groups), *map(self._ask_singly, singly))
        return sum(cost for cost, _ in outcomes), any(failed for _, failed in outcomes)

    async def _ask_singly(self, one: _Waiting) -> tuple[int, bool]:
        try:
            with about(one.subject):
                prediction = await one.watch.look()
        except ReplicateJobError as error:
            one.failed(error)
            return 1, False
        if prediction:
            misses = min(one.misses, MISSES - 1)
            one.observed(prediction)
            one.misses = misses  # below MISSES, so the next round uses the list; one more miss leads here again
        return 1, False

    async def _ask_listed(self, group: list[_Waiting]) -> tuple[int, bool]:
        """Poll a group by list requests, newest first. Return the number of requests, and whether one failed.

        Each request after the first starts at the newest prediction that no page has reached.
        """
        cost = 0
        while len(group) > SINGLY:
            try:
                group = await self._ask_page(group)
            except AnswerTooLargeError:
                middle = len(group) // 2
                self._most = min(self._most, max(SINGLY, middle))
                outcomes = [await self._ask_listed(half) for half in (group[:middle], group[middle:])]
                return cost + 1 + sum(asked for asked, _ in outcomes), any(failed for _, failed in outcomes)
            except ReplicateJobError as error:
                if not is_transient(error):
                    for one in group:
                        one.failed(error)
                if isinstance(error, NoAnswerError):  # one of the predictions may be the cause
                    for one in group:
                        one.misses += 1
                self._context.reporter.note(f"{error}; asking again")
                return cost + 1, True
            cost += 1
        for one in group:
            cost += (await self._ask_singly(one))[0]
        return cost, False

    async def _ask_page(self, group: list[_Waiting]) -> list[_Waiting]:
        """Request one page. Return the predictions of the group that are older than the page."""
        after, before = _created(group[-1]) - PAD, _created(group[0]) + PAD
        page = await self._context.client.page_predictions(after=after, before=before)
        for prediction in page.results:
            if one := self._waiting.get(prediction.id):
                with about(one.subject):
                    one.observed(one.watch.observed(prediction))
        shown = {prediction.id for prediction in page.results}
        reached = parse_time(page.results[-1].created_at) if page.next and page.results else None
        left = [one for one in group if reached and _created(one) < reached]
        # The page reached none of the group: all have the same creation time, or the server ignores the filter. Another
        # page would not help.
        if len(left) == len(group):
            left = []
        for one in group[: len(group) - len(left)]:
            one.misses += one.watch.id not in shown
        return left


def _groups(listed: Sequence[_Waiting], most: int) -> Iterator[list[_Waiting]]:
    """Groups of up to ``most`` predictions, newest first.

    If possible, all predictions in a group's time span fit on a page.
    """
    ages = [-_created(one).timestamp() for one in listed]
    pad, start = PAD.total_seconds(), 0
    while start < len(listed):
        first = bisect_left(ages, ages[start] - pad)  # first in the span, maybe from an earlier group
        end = min(len(listed), start + most, max(start + 1, first + GROUP))
        while end > start + 1 and bisect_right(ages, ages[end - 1] + pad) - first > GROUP:
            end -= 1
        yield list(listed[start:end])
        start = end


def _created(one: _Waiting) -> datetime:
    assert one.created  # noqa: S101 - every prediction in a group has it
    return one.created

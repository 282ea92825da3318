"""Wait for the true end of a prediction: a terminal status, and nothing else."""

from __future__ import annotations

import asyncio

from replicate_job.aio import first_of
from replicate_job.api.failures import is_transient
from replicate_job.errors import APIError, JournalError, NotFoundError, ReplicateJobError
from replicate_job.flow.context import Context
from replicate_job.journal.news import News, Seen
from replicate_job.wire.prediction import KNOWN, Prediction

SOON = (0.1, 0.2, 0.4, 0.8)
"""First pauses, in seconds, where the end may be moments away: the blocking wait ended early, or broke."""
SHORTEST, LONGEST, SHARE = 1.0, 5.0, 0.05
"""Where no interval is named, a pause is this share of the wait so far, within these seconds."""
LOOK = 2.0
"""Seconds for the journal to say whether there is an end."""
WATCHED = 15.0
"""Seconds of a pause while another process watches for the end, and there would be news of it."""
TROUBLED = 30.0
"""Seconds of failing requests after which everyone is told: a wait without a limit may go on like that."""


class Watch:
    """Asks for a prediction's status. A failed request is not a failed job: it is noted and made again.

    ``age`` is how many seconds ago the prediction was created, ``news`` the journal's of its end.
    """

    def __init__(self, context: Context, prediction_id: str, *, age: float = 0, news: News | None = None) -> None:
        self.clock = context.clock
        self._context, self._news = context, news
        self.id = prediction_id
        self._born = context.clock.now() - age
        self._warned: set[str] = set()
        self._logs: str | None = None
        self.asked_to_wait = 0.0
        self.trouble: ReplicateJobError | None = None
        self._troubled_from, self._has_told_trouble = 0.0, False

    async def look(self) -> Prediction | None:
        """Ask once; None where the request failed and may be made again. Raises the APIError that is final."""
        self.asked_to_wait = 0.0
        try:
            prediction = await self._context.client.get_prediction(self.id)
        except ReplicateJobError as error:
            if not is_transient(error) and not self._may_appear(error):
                raise
            if isinstance(error, APIError):
                self.asked_to_wait = error.retry_after or 0.0
            self._note_trouble(error)
            return None
        return self.observed(prediction)

    def _note_trouble(self, error: ReplicateJobError) -> None:
        if self.trouble is None:
            self._troubled_from = self.clock.now()
        self.trouble = error
        line = f"status of {self.id}: {error}; asking again"
        self._context.reporter.note(line)
        if self.clock.now() >= self._troubled_from + TROUBLED and not self._has_told_trouble:
            self._has_told_trouble = True
            self._context.reporter.warn(line)

    async def pause(self, seconds: float, *, watched: float) -> Prediction | None:
        """Wait for so long, or for the end that another process writes into the journal: then give it.

        Where a process of a fleet watches for the end, a pause takes ``watched`` seconds.
        """
        news = self._news
        if news is None or not news.is_live:
            await self.clock.sleep(seconds)
            return None
        until = self.clock.now() + seconds
        while news.is_live:
            seen = await self._look_in_journal()
            if seen.end:
                return self.observed(seen.end)
            if seen.is_watched:
                until, watched = max(until, self.clock.now() + watched), 0.0
            if not await first_of(self.clock.sleep(max(0.0, until - self.clock.now())), news.wait()):
                break
        return None

    async def _look_in_journal(self) -> Seen:
        """A journal that is away costs no more than the news."""
        try:
            async with asyncio.timeout(LOOK):
                return await self._context.journal.seen(self.id, self._context.api)
        except (TimeoutError, JournalError):
            return Seen(is_watched=False)

    def observed(self, prediction: Prediction) -> Prediction:
        """Note what is known for sure by now, whoever has asked the API. Give it with the logs, which may be gone."""
        self.trouble = None
        whole = prediction.with_logs(self._logs)
        self._logs = whole.logs
        if prediction.status not in KNOWN:
            self.warn_once(f"unknown status {prediction.status!r}: waiting on")
        self._context.reporter.observed(prediction)
        return whole

    def warn_once(self, line: str) -> None:
        if line not in self._warned:
            self._warned.add(line)
            self._context.reporter.warn(line)

    def _may_appear(self, error: ReplicateJobError) -> bool:
        """A prediction just created can be unknown for a moment."""
        young = self._context.clock.now() - self._born < self._context.retry_policy.appear
        return isinstance(error, NotFoundError) and young


async def wait(
    watch: Watch, last: Prediction | None, *, until: float, interval: float | None, soon: bool = False
) -> Prediction | None:
    """Poll every ``interval`` seconds until the end or until the clock's ``now`` reaches ``until``.

    With None the pauses grow with the wait.

    Where nothing is known yet it looks once, however late it is. ``last`` is what is known already, from a held
    create; ``soon`` says that the end may be near. The result is the last that was seen: terminal, or not where time
    ran out; None where no request ever told. Raises the APIError of a request that can't be mended (401).
    """
    if last is None:
        last = await watch.look()
    else:
        watch.observed(last)
    began = watch.clock.now()
    pauses = [pause for pause in SOON if soon and pause < (interval or SHORTEST)]
    while not (last and last.is_terminal) and (left := until - watch.clock.now()) > 0:
        watched = 0.0 if pauses or interval else min(WATCHED, left)
        pause = pauses.pop(0) if pauses else interval or growing_pause(watch.clock.now() - began)
        last = (
            await watch.pause(min(max(pause, watch.asked_to_wait), left), watched=watched) or await watch.look() or last
        )
    if watch.trouble:
        if last is None:
            raise watch.trouble
        watch.warn_once(f"the last status check failed, so this may not be its status any more: {watch.trouble}")
    return last


def growing_pause(waited: float) -> float:
    """Seconds until the next poll, after a wait of so many."""
    return min(LONGEST, max(SHORTEST, SHARE * waited))

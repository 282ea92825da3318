"""Waits for the real end of a prediction: only a terminal status counts."""

from __future__ import annotations

import asyncio

from replicate_job.aio import first_of
from replicate_job.api.failures import is_transient
from replicate_job.errors import APIError, JournalError, NotFoundError, ReplicateJobError
from replicate_job.flow.context import Context
from replicate_job.journal.news import News, Seen
from replicate_job.wire.prediction import KNOWN, Prediction

SOON = (0.1, 0.2, 0.4, 0.8)
"""The first pauses, in seconds, if the end may be near: the blocking wait ended early, or its connection broke."""
SHORTEST, LONGEST, SHARE = 1.0, 5.0, 0.05
"""Without an ``interval``, a pause is ``SHARE`` of the time waited so far, but from ``SHORTEST`` to ``LONGEST``
seconds."""
LOOK = 2.0
"""The time limit, in seconds, of the question to the journal whether the prediction has ended."""
WATCHED = 15.0
"""Seconds of a pause while another process watches the prediction, and the journal sends news of its end."""
TROUBLED = 30.0
"""Seconds of failing requests after which a warning is shown. A wait without a limit goes on after the warning."""


class Watch:
    """Polls a prediction. A failed poll is reported and repeated, and does not fail the job.

    ``age`` is the least age of the prediction in seconds. ``news`` are the journal's notifications of its end.
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
        """Poll once. None if the request failed and may be repeated. Raises an APIError that is not transient."""
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
        """Wait for ``seconds``, or until another process records the end in the journal. Returns that end, or None.

        While a fleet's watcher polls this prediction, the pause is ``watched`` seconds.
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
        """Ask the journal for the end. If the journal fails or is slow, no end is known."""
        try:
            async with asyncio.timeout(LOOK):
                return await self._context.journal.seen(self.id, self._context.api)
        except (TimeoutError, JournalError):
            return Seen(is_watched=False)

    def observed(self, prediction: Prediction) -> Prediction:
        """Report an observed prediction. Returns it with all observed logs, which the API may have deleted."""
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
        """Whether the error is a 404 for a prediction so new that the API may not show it yet."""
        young = self._context.clock.now() - self._born < self._context.retry_policy.appear
        return isinstance(error, NotFoundError) and young


async def wait(
    watch: Watch, last: Prediction | None, *, until: float, interval: float | None, soon: bool = False
) -> Prediction:
    """Poll every ``interval`` seconds until the end, or until the clock's ``now`` reaches ``until``.

    Without an ``interval`` the pauses grow with the wait. ``last`` is the prediction in the create request's answer. If
    None, the prediction is polled at least one time, even after ``until``. ``soon``: the end may be near, so the first
    pauses are short. Returns the prediction as last observed, which has not ended if the time is over. Raises the last
    poll's error if no poll succeeded. Raises immediately an APIError that is not transient, such as 401.
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
    if last is None:
        assert watch.trouble  # noqa: S101 - for the type checker: every poll failed
        raise watch.trouble
    if watch.trouble:
        watch.warn_once(f"the last status check failed, so this may not be its status any more: {watch.trouble}")
    return last


def growing_pause(waited: float) -> float:
    """Seconds until the next poll, after ``waited`` seconds in all."""
    return min(LONGEST, max(SHORTEST, SHARE * waited))

"""Predictions that follow a script. Their state at any time is computed from the clock."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.serving.resource import prediction_body
from replicate_job.testing.delivery import OutputFile
from replicate_job.testing.script import Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_job.testing.record import RecordedRequest


class ScriptedPrediction:
    """One prediction on the server.

    ``raw_input`` is the JSON text of ``input``, as it was sent. ``version`` is the version that the API shows
    (``hidden`` for official models). ``request`` is the request that created the prediction, and ``status`` is its
    current status. ``number`` is how many predictions were created before it, and ``streamed`` is how many connections
    its stream had.

    ``created``, ``visible``, ``listed`` and ``deadline`` are Unix times. From ``visible`` on, a GET finds the
    prediction. From ``listed`` on, the list shows it. ``visible`` and ``listed`` can be set. ``deadline`` is None if
    the request has no ``Cancel-After``.
    """

    def __init__(  # noqa: PLR0913 - one argument for each property
        self,
        *,
        model: str,
        version: str,
        raw_input: msgspec.Raw,
        script: Script,
        request: RecordedRequest,
        deployment: str = "",
        webhook: str = "",
        webhook_events_filter: tuple[str, ...] | None = None,
        cancel_after: float | None = None,
        retention: float = 3600,
    ) -> None:
        self.id = secrets.token_hex(13)
        self.created = round(time.time(), 6)  # rounded like created_at, so that created_after compares the same time
        self.model, self.version, self.deployment = model, version, deployment
        self.raw_input, self.input = raw_input, msgspec.json.decode(raw_input)
        self.script, self.request, self.retention = script, request, retention
        self.deadline = None if cancel_after is None else self.created + cancel_after
        self.webhook, self.webhook_events_filter = webhook, webhook_events_filter
        self.urls: dict[str, str] = {}
        self.visible = self.listed = self.created
        self.canceled: float | None = None
        self.number = self.streamed = 0
        self._loop, self._changed = asyncio.get_running_loop(), asyncio.Event()
        # The seconds until the deadline, which the script may change.
        lifetime = script.deadline if script.deadline is not None else cancel_after
        self._deadline_end = self._forced_end = self.created + (math.inf if cancel_after is None else lifetime or 0.0)
        self.output: Any = None
        self.logs: str = _call(script.logs, self.input)

    def publish(self, deliver: Callable[[OutputFile], str]) -> None:
        """Set ``output`` to the complete output. ``deliver`` returns the URL of a file of the output."""
        self.output = _with_urls(_call(self.script.output, self.input), deliver)

    @property
    def created(self) -> float:
        """The Unix time of its creation. Setting it makes the prediction older or younger."""
        return self._created

    @created.setter
    def created(self, moment: float) -> None:
        self._created = moment
        self._whole: msgspec.Raw | None = None

    @property
    def started(self) -> float:
        """The Unix time of its first status that is not ``starting``."""
        if self.script.timeline:
            return self._created + next((at for at, name in self.script.timeline if name != "starting"), math.inf)
        return self._created + self.script.boot

    @property
    def ended(self) -> float:
        """The Unix time when it ends, by its script, a cancellation, its deadline or ``finish``."""
        return min(self._created + self.script.duration, self._forced_end)

    @property
    def status(self) -> str:
        return self.status_at(time.time())

    @property
    def returns(self) -> float:
        """The Unix time at which a blocking wait returns: at the end, or as soon as the output is complete."""
        return min(self.ended, math.inf if self.script.output_at is None else self.created + self.script.output_at)

    def status_at(self, now: float) -> str:
        if now >= self.ended:
            return self._end()
        if self.script.timeline:
            return next((name for at, name in reversed(self.script.timeline) if now >= self.created + at), "starting")
        return "starting" if now < self.started else "processing"

    def cancel(self) -> None:
        """Cancel it. This has no effect on a prediction that has ended."""
        now = time.time()
        if now < self.ended and self.canceled is None:
            self.canceled = now + self.script.cancel_lag
            self._forced_end = min(self._forced_end, self.canceled)
            self._changed.set()

    def finish(self) -> None:
        """End it now as its script says, from any thread: for scripts with ``duration=math.inf``."""
        self._forced_end = min(self._forced_end, time.time())
        self._loop.call_soon_threadsafe(self._changed.set)  # an asyncio.Event must be set on its own loop

    async def blocking_wait(self, seconds: float) -> None:
        """Wait until ``returns``, at most ``seconds``."""
        until = time.time() + seconds
        while (wait := min(until, self.returns) - time.time()) > 0:
            await self._wait(wait)

    async def reaches(self, moment: float) -> bool:
        """Wait until a Unix time, or until the prediction's end if that is first. Returns whether the time has come."""
        while (wait := min(moment, self.ended) - time.time()) > 0:
            await self._wait(wait)
        return time.time() >= moment

    async def _wait(self, seconds: float) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), None if seconds == math.inf else seconds)

    def removed(self, now: float) -> bool:
        """Whether its data are removed at this Unix time."""
        return now >= self.ended + self.retention

    def encode(self, now: float | None = None) -> msgspec.Raw:
        """The snapshot as JSON."""
        now = time.time() if now is None else now
        ended = self.ended
        if not ended <= now < ended + self.retention:
            return msgspec.Raw(msgspec.json.encode(self.snapshot(now)))
        # Between its end and the removal of its data it does not change, so it is encoded once.
        self._whole = self._whole or msgspec.Raw(msgspec.json.encode(self.snapshot(now)))
        return self._whole

    def snapshot(self, now: float | None = None) -> dict[str, Any]:
        """The prediction object, as of ``now`` (Unix time)."""
        now = time.time() if now is None else now
        status, started, ended = self.status_at(now), self.started, self.ended
        begun = started <= now and started <= ended
        metrics = {"total_time": ended - self._created} | ({"predict_time": ended - started} if begun else {})
        body = prediction_body(
            id=self.id,
            model=self.model,
            version=self.version,
            input=self.raw_input,
            status=status,
            created_at=self._created,
            urls=self.urls,
            output=self._output_at(now, status),
            logs=self._logs_at(now),
            error=(self.script.error or "the script says so") if status == "failed" else None,
            started_at=started if begun else None,
            completed_at=ended if now >= ended else None,
            deadline=self.deadline,
            metrics=metrics if now >= ended else None,
            deployment=self.deployment,
            webhook=self.webhook,
            webhook_events_filter=self.webhook_events_filter,
            data_removed=self.removed(now),
        )
        body.update(self.script.overrides)
        return body

    def _end(self) -> str:
        """The terminal status.

        As at Replicate, a prediction whose deadline comes before its start is ``aborted``, otherwise ``canceled``.
        """
        if self.ended == self.canceled:
            return "canceled"
        if self.ended == self._deadline_end:
            return "aborted" if self.ended < self.started else "canceled"
        return self.script.end

    def _progress(self, now: float) -> float:
        if now >= self.ended:
            return 1.0
        whole = self.created + self.script.duration - self.started
        return max(0.0, min(1.0, (now - self.started) / whole)) if whole > 0 else 0.0

    def _output_at(self, now: float, status: str) -> Any:
        if status == "succeeded" or (self.script.output_at is not None and now >= self.created + self.script.output_at):
            return self.output
        if self.script.partial and isinstance(self.output, list):
            return self.output[: int(len(self.output) * self._progress(min(now, self.ended)))] or None
        return None

    def _logs_at(self, now: float) -> str:
        if not self.logs:
            return ""
        lines = self.logs.splitlines(keepends=True)
        return "".join(lines[: int(len(lines) * self._progress(now))])


def _call(value: Any, argument: dict[str, Any]) -> Any:
    return value(argument) if callable(value) else value


def _with_urls(value: Any, deliver: Callable[[OutputFile], str]) -> Any:
    if isinstance(value, OutputFile):
        return deliver(value)
    if isinstance(value, dict):
        return {name: _with_urls(item, deliver) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_urls(item, deliver) for item in value]
    return value

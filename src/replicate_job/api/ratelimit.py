"""The pace of requests: evenly spaced, within the limit that is set or learned from 429s."""

from __future__ import annotations

import math
import re
from typing import Annotated, NamedTuple

import msgspec

MARGIN = 0.98
"""The share of a limit that is used, since latency varies, and the API's minutes do not start at the same time as
ours."""
LONGEST = 600.0
"""The longest pause in seconds. A longer requested pause is ignored. The slowest pace is one request in this time."""
FASTEST = 1000.0
"""The fastest pace, in requests a second, if no rate is set: a climbing pace needs an upper limit."""

BURST = 5.0
"""The number of requests that may be sent without a pause, at the start and after idling."""

_LONG_AGO = -1e9  # Before any time of a clock.
_TICK = 1e-6  # Seconds. A shorter wait counts as 0, since rounding errors of floats are about as large.
_ROUNDED = 0.5  # Seconds by which a wait that was rounded up to whole seconds is too long, on average.
_IDLE = 1.0  # Seconds without a request after which the API's token bucket counts as full.
_BLIND = 60.0  # The longest pause in seconds if the API names no pause, since the API counts by the minute.
_FINE, _BOLD = 0.02, 0.25  # The first and the largest step up, as shares of the pace. Each step is twice the last.
# A step needs this number of accepted requests, divided by the step's size. A step of 2 % needs 200 (4 / 0.02), and up
# to 800 (16 / 0.02) after failed steps.
_EAGER, _CAREFUL = 4, 16
# A step is also due after this many seconds divided by its size: 20 minutes for 2 %. At a slow pace, 800 requests would
# take hours.
_RARE = 1200 * _FINE
_DROUGHT = 3.0  # A pause in which this many requests are missed means a used-up minute. With a token bucket it is two.

_DOUBTS = 5  # After this many quotas of 0 in a row, each after a complete renewal, quotas are ignored.
# A response may come only after a blocking wait. So its quota counts as written at most this many seconds after the
# request was sent.
_PROMPT = 1.0

_RATE = r"(?a)(\d+(?:\.\d+)?|\.\d+)\s*/\s*(s|sec|second|m|min|minute|h|hour)"
_COUNT = r"(?a)\d{1,9}"


class Slot(NamedTuple):
    """Permission to send one request: the request's number, from 1, and the time from which it may be sent."""

    number: int
    sent: float


class Quota(NamedTuple):
    """The API's quota in a response: the number of further requests, and the seconds until the quota is renewed."""

    remaining: int
    reset: int


class RateState(msgspec.Struct):
    """The slots that a ``RateLimit`` has assigned, and what it has learned from responses.

    Times are in seconds of one monotonic clock. A slot is named by its number.

    =============  ======================================================  ========================================
    field          meaning                                                 changed by
    =============  ======================================================  ========================================
    burst          number of requests that may be sent together            a 429 within the burst sets it to 1
    pace           requests a second, learned from 429s, or None           a 429, a step
    next           time from which the pace allows the next request        every request, a 429
    resume         time at which the last pause ends                       a 429
    number         number of slots assigned so far                         every request
    heard          last slot before the latest 429. A further 429 for it   a 429
                   or an earlier slot only lengthens the pause
    refusals       number of 429s since the last accepted request          a 429, an accepted request
    struck         ``Slot`` of the first of these 429s                     the first 429
    counted        slot after which requests are counted                   idling, the first accepted request
    began          time after which requests are counted                   idling, the first accepted request
    stepped        last slot before the latest change of the pace          every change of the pace
    since          time of this change                                     every change of the pace
    clean          number of requests accepted since this change           an accepted request
    before         pace before the last step, restored if the step fails   a step; a 429 sets it to None
    stride         size of the next step, as a share of the pace           every change of the pace
    caution        accepted requests needed for a step, times its size     a failed step doubles it
    quota          last slot that the API accepts before ``renewal``       a response's quota
    renewal        time at which the quota is renewed                      a response's quota
    quoted         slot of the response with this quota                    a response's quota
    doubts         number of quotas of 0 in a row, each after a renewal    a response's quota; a 429 sets it to 0
    =============  ======================================================  ========================================
    """

    burst: Annotated[float, msgspec.Meta(ge=1)] = BURST
    pace: Annotated[float, msgspec.Meta(gt=0)] | None = None
    next: float = _LONG_AGO
    resume: float = _LONG_AGO
    number: int = 0
    heard: int = 0
    refusals: int = 0
    struck: Slot = Slot(0, 0.0)
    counted: int = 0
    began: float = 0.0
    stepped: int = 0
    since: float = 0.0
    clean: int = 0
    before: Annotated[float, msgspec.Meta(gt=0)] | None = None
    stride: Annotated[float, msgspec.Meta(gt=0)] = _FINE
    caution: int = _EAGER
    quota: int = 0
    renewal: float = _LONG_AGO
    quoted: int = 0
    doubts: int = 0

    def moved(self, seconds: float) -> RateState:
        """The same state, for a clock that is this many seconds ahead."""
        struck = Slot(self.struck.number, self.struck.sent + seconds)
        times = {name: getattr(self, name) + seconds for name in ("next", "resume", "began", "since", "renewal")}
        return msgspec.structs.replace(self, struck=struck, **times)

    def without_lessons(self) -> RateState:
        """The state with the assigned slots, but without what was learned from responses."""
        given = {name: getattr(self, name) for name in ("next", "number", "heard", "counted", "began")}
        return RateState(**given)


class RateLimit:
    """Decides when the next request may be sent, and learns from the responses to earlier requests. No I/O.

    ``rate`` is the highest rate, in requests a second. If None, there is no limit until a 429 shows a limit. ``burst``
    is the number of requests that may be sent together, at the start and after idling. Times are in seconds of a
    monotonic clock.

    A 429 means that the API's token bucket, or its minute, is used up at that moment. The requests accepted between two
    such moments, divided by the time between the moments, give the limit. From this limit the pace climbs in steps. A
    step that leads to a 429 is taken back.

    Responses also have a quota: the number of further requests, and the time of its renewal. If the quota is used up,
    the next request waits for the renewal. The quota of a server is soon ignored if it is always 0.
    """

    def __init__(self, rate: float | None, *, burst: float = BURST) -> None:
        self.rate = rate
        self.state = RateState(burst)

    @property
    def pace(self) -> float | None:
        """The current rate in requests a second. None for no limit."""
        if self.state.pace is None:
            return None if self.rate is None else self._most
        return min(self.state.pace, self._most)

    @property
    def _most(self) -> float:
        return FASTEST if self.rate is None else self.rate * MARGIN

    @property
    def next(self) -> float:
        """The time at which the next request may be sent. A used-up quota delays it until the renewal."""
        state = self.state
        is_used_up = state.number >= state.quota and state.doubts < _DOUBTS
        return max(state.next, state.renewal) if is_used_up else state.next

    def wait(self, now: float) -> float:
        """Seconds until a request may be sent; 0 if it may be sent now."""
        seconds = self.next - now
        return seconds if seconds > _TICK else 0.0

    def paused(self, now: float) -> float:
        """Seconds until the pause that a 429 asked for is over."""
        return max(0.0, self.state.resume - now)

    def take(self, now: float) -> Slot:
        """Assign a slot to the next request."""
        if now - self.state.next > _IDLE:
            self.state.counted, self.state.began = self.state.number, now
        pace = self.pace
        gap = 1 / pace if pace else 0.0
        self.state.next = max(self.state.next, now - (self.state.burst - 1) * gap) + gap
        if self.state.refusals > 1:  # Test with one request at a time whether the limit is still used up.
            self.state.next = max(self.state.next, now + 1)
        self.state.number += 1
        return Slot(self.state.number, now)

    def accepted(self, slot: Slot, now: float, quota: Quota | None = None) -> None:
        """Record that this slot's request got a response other than 429. ``quota`` is the response's quota."""
        if quota:
            self._note_quota(slot, now, quota)
        if slot.number <= self.state.heard:
            return
        if self.state.refusals:
            self.state.refusals, self.state.counted, self.state.began = 0, self.state.heard, self.state.resume
        state, pace = self.state, self.pace
        if slot.number <= state.stepped or pace is None or pace >= self._most:
            return
        state.clean += 1
        if state.clean * state.stride >= state.caution or (now - state.since) * state.stride >= _RARE:
            state.before = pace
            self._go(pace * (1 + state.stride), 2 * state.stride, now)

    def _note_quota(self, slot: Slot, now: float, quota: Quota) -> None:
        # The reset is rounded up to whole seconds, so the renewal may come up to a second earlier. A pace learned from
        # 429s limits the requests of that second, so the wait may be a second shorter.
        state, sure = self.state, quota.reset - (self.state.pace is not None)
        renewal = min(now, slot.sent + _PROMPT) + sure
        if self.pace is None or slot.number < state.quoted or renewal <= now:
            return
        if slot.sent >= state.renewal:
            state.doubts = 0 if quota.remaining else state.doubts + 1
        state.quota, state.renewal, state.quoted = slot.number + quota.remaining, renewal, slot.number

    def holds(self, slot: Slot) -> bool:
        """Whether a slot that was assigned earlier may still be used.

        A 429 makes all earlier slots invalid. A quota makes the slots beyond the quota invalid.
        """
        state = self.state
        is_beyond = slot.number > state.quota and slot.sent < state.renewal and state.doubts < _DOUBTS
        return slot.number > state.heard and not is_beyond

    def throttled(self, slot: Slot, now: float, retry_after: float | None) -> None:
        """Record a 429. If its request was sent before an earlier 429 arrived, the 429 only lengthens the pause."""
        is_new = slot.number > self.state.heard
        self.state.refusals += is_new
        asked, pause = self._bounded(retry_after)
        if is_new:
            sane = asked is not None or retry_after is None
            if self.state.refusals == 1:
                self.state.struck = slot
                self._learn(slot, now, pause if sane else 1.0)
            if sane:
                self._measure_drought(slot.sent + pause - _ROUNDED, now, asked=bool(asked and asked > 1))
            self.state.heard, self.state.doubts = self.state.number, 0
        self.state.resume = max(self.state.resume, now + pause)
        self.state.next = max(self.state.next, self.state.resume)

    def _bounded(self, retry_after: float | None) -> tuple[float | None, float]:
        """The requested pause and the actual pause, in seconds.

        The requested pause is rounded up to whole seconds; None if it is missing or absurd. The actual pause is at
        least the requested pause, and doubles with each 429 in a row, up to ``_BLIND``. A requested pause of more than
        ``LONGEST`` counts as absurd: a broken gateway must not stop an account's other programs.
        """
        doubled = min(_BLIND, 2.0 ** min(self.state.refusals - 1, 10))
        if retry_after is None:
            return None, max(doubled, min(_BLIND, 2 / self.pace if self.pace else 1.0))
        if 0 <= retry_after <= LONGEST:
            asked = math.ceil(retry_after)
            return asked, max(doubled, asked)
        return None, doubled

    def _learn(self, slot: Slot, now: float, pause: float) -> None:
        """Set the pace after the first 429 that follows an accepted request."""
        passed = slot.number - 1 - self.state.counted
        measured = MARGIN * max(1, passed) / max(_ROUNDED, slot.sent + pause - _ROUNDED - self.state.began)
        burst, self.state.burst = self.state.burst, 1 if passed <= self.state.burst else self.state.burst
        if self.pace is None:
            self._go(measured, 1 / max(1, passed), now)
        elif passed <= burst and burst > 1:
            # The pace may be right, and only the burst too large. In the pause the API's bucket gains two tokens,
            # because the refused request cost one too.
            self._go(min(self.pace, MARGIN * 2 / pause) if pause > 1 else self.pace, 1 / pause, now)
        elif self.state.before is not None:
            self.state.caution = min(_CAREFUL, 2 * self.state.caution)
            self._go(self.state.before, self.state.stride / 8, now)
        elif measured > 0.95 * self.pace:
            self._go(self.pace * 0.95, _FINE, now)
        else:
            if measured < self.pace / 2:  # The API's limit has changed: find the new limit quickly.
                self.state.caution = _EAGER
            self._go(max(measured, self.pace / 2), 1 / max(1, passed), now)
        self.state.before = None

    def _measure_drought(self, end: float, now: float, *, asked: bool) -> None:
        """Set the pace after a long pause, which means that the requests before the pause have used up the limit."""
        # After few requests, the refused requests used a good part of the tokens. So at least two requests are counted.
        passed = max(2, self.state.struck.number - 1 - self.state.counted)
        pace = self.pace or self._most
        if (end - _ROUNDED - self.state.struck.sent) * pace < _DROUGHT:
            return
        measured = min(pace, MARGIN * passed / (end - self.state.began))
        self._go(measured if asked else max(measured, pace / 2), 1 / passed, now)

    def _go(self, pace: float, stride: float, now: float) -> None:
        is_most = self.rate is not None and pace >= self._most
        self.state.pace = None if is_most else min(self._most, max(1 / LONGEST, pace))
        self.state.stride = min(_BOLD, max(_FINE, stride))
        self.state.stepped, self.state.since, self.state.clean = self.state.number, now, 0


def read_quota(remaining: str | None, reset: str | None) -> Quota | None:
    """Read the headers ``RateLimit-Remaining`` and ``RateLimit-Reset``. None if they are missing or absurd.

    A reset after more than a minute is absurd, since the API counts by the minute.
    """
    if not (remaining and reset and re.fullmatch(_COUNT, remaining) and re.fullmatch(_COUNT, reset)):
        return None
    quota = Quota(int(remaining), int(reset))
    return quota if 0 < quota.reset <= _BLIND else None


def parse_rate(text: str) -> float | None:
    """Read a rate such as ``600/min``, ``10/s`` or ``36000/h`` in requests a second; None for ``none``.

    Raises ValueError.
    """
    if text.strip().lower() == "none":
        return None
    match = re.fullmatch(_RATE, text.strip().lower())
    rate = float(match[1]) / {"s": 1, "m": 60, "h": 3600}[match[2][0]] if match else 0.0
    if not 0 < rate < math.inf:
        raise ValueError(f"{text!r} is no rate: write a number of requests like 600/min, 10/s or 36000/h, or none")
    return rate

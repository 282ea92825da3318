"""How fast requests may go: even pacing, and what a 429 teaches."""

from __future__ import annotations

import asyncio
import math
import re
from typing import NamedTuple

from replicate_job.clock import Clock

MARGIN = 0.98
"""Of a limit that was given or measured: answers to evenly sent requests jitter, and minutes are counted by others."""
LONGEST = 600.0
"""Seconds of the longest pause that is believed; also between two requests at the slowest pace."""
FASTEST = 1000.0
"""Requests a second, where no rate was given and a 429 has come: what is doubled has to end somewhere."""

_TICK = 1e-6  # Seconds that are no wait: a sum of floats may fall this short of the time it stands for.
_ROUNDED = 0.5  # Seconds that a wait in whole seconds is too long, on average.
_IDLE = 1.0  # Seconds without need for a request, after which the API's bucket is not empty any more.
_BLIND = 60.0  # Seconds of the longest pause where the API does not say how long: it counts by the minute.
_FINE, _BOLD = 0.02, 0.25  # The first step of a climb, of the pace, and the largest: each is twice the one before.
_EAGER, _PATIENT = 4, 16  # Clean requests before a step, times its size: 800 before one of 2 % once a few have failed.
_RARE = 1200 * _FINE  # Seconds before a step, times its size: 20 minutes, where 800 requests would take hours.
_DROUGHT = 3.0  # Requests missed in a pause: a token bucket asks for two at most, a used-up minute for many.

_RATE = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*/\s*(s|sec|second|m|min|minute|h|hour)", re.ASCII)


class Slot(NamedTuple):
    """One request: its number, counted from 1, and when it was sent."""

    number: int
    sent: float


class RateLimit:
    """Says when the next request may be sent, and learns from how the last ones were answered.

    ``rate``: the most that is ever sent a second; None for no limit until a 429 teaches one. ``burst``: how many may
    go at once, at the start and after idling; one, once a burst was refused. ``pace``: requests a second as of now,
    None for no limit. Times are seconds of any clock that only rises.

    When a request is refused the API's bucket (or minute) is known to be used up; what passes from one such moment to
    the next, divided by the time, is the limit. From there the pace climbs in steps. A step that fails is taken back.
    """

    def __init__(self, rate: float | None, *, burst: float = 5) -> None:
        self._most = FASTEST if rate is None else rate * MARGIN
        self.pace: float | None = None if rate is None else self._most
        self._burst = burst
        self._next = self._resume = -math.inf  # when the next may go; when the last pause ends
        self._number = self._heard = 0  # slots so far; up to this one, a refusal is no news
        self._refusals = 0  # in a row, without one that passed
        self._struck = Slot(0, 0.0)  # the first of them
        self._from, self._began = 0, 0.0  # slots after this one are measured, from this time on
        self._stepped, self._since, self._clean = 0, 0.0, 0  # slot and time of the last change; passed after it
        self._before: float | None = None  # the pace before the last step, until a refusal
        self._stride, self._patience = _FINE, _EAGER

    def wait(self, now: float) -> float:
        """Seconds until a request may be sent; 0 when it may now."""
        left = self._next - now
        return left if left > _TICK else 0.0

    def paused(self, now: float) -> float:
        """Seconds that the API has still asked to wait."""
        return max(0.0, self._resume - now)

    def take(self, now: float) -> Slot:
        """A request is being sent."""
        if now - self._next > _IDLE:
            self._from, self._began = self._number, now
        gap = 1 / self.pace if self.pace else 0.0
        self._next = max(self._next, now - (self._burst - 1) * gap) + gap
        if self._refusals > 1:  # One that finds out is enough: its answer is awaited.
            self._next = max(self._next, now + 1)
        self._number += 1
        return Slot(self._number, now)

    def accepted(self, slot: Slot, now: float) -> None:
        """It was answered otherwise than 429."""
        if slot.number <= self._heard:
            return
        if self._refusals:
            self._refusals, self._from, self._began = 0, self._heard, self._resume
        if slot.number <= self._stepped or self.pace is None or self.pace >= self._most:
            return
        self._clean += 1
        if self._clean * self._stride >= self._patience or (now - self._since) * self._stride >= _RARE:
            self._before = self.pace
            self._go(self.pace * (1 + self._stride), 2 * self._stride, now)

    def throttled(self, slot: Slot, now: float, retry_after: float | None) -> None:
        """It was answered 429. Those that were sent before an earlier 429 was heard only lengthen the pause."""
        news = slot.number > self._heard
        self._refusals += news
        asked, pause = self._bounded(retry_after)
        if news:
            sane = asked is not None or retry_after is None
            if self._refusals == 1:
                self._struck = slot
                self._learn(slot, now, pause if sane else 1.0)
            if sane:
                self._measure_drought(slot.sent + pause - _ROUNDED, now, asked=bool(asked and asked > 1))
            self._heard = self._number
        self._resume = max(self._resume, now + pause)
        self._next = max(self._next, self._resume)

    def _bounded(self, retry_after: float | None) -> tuple[float | None, float]:
        """What was asked in whole seconds, None for nonsense; and for how long to pause, doubling while in vain."""
        doubled = min(_BLIND, 2.0 ** min(self._refusals - 1, 10))
        if retry_after is None:
            return None, max(doubled, min(_BLIND, 2 / self.pace if self.pace else 1.0))
        if 0 <= retry_after <= LONGEST:
            asked = math.ceil(retry_after)
            return asked, max(doubled, asked)
        return None, LONGEST if retry_after > LONGEST else doubled

    def _learn(self, slot: Slot, now: float, pause: float) -> None:
        """The first refusal after something passed."""
        passed = slot.number - 1 - self._from
        measured = MARGIN * max(1, passed) / max(_ROUNDED, slot.sent + pause - _ROUNDED - self._began)
        burst, self._burst = self._burst, 1 if passed <= self._burst else self._burst
        if self.pace is None:
            self._go(measured, 1 / max(1, passed), now)
        elif passed <= burst and burst > 1:
            # The burst was too much, and maybe no more. A refused request takes a token too: two fit into the pause.
            self._go(min(self.pace, MARGIN * 2 / pause) if pause > 1 else self.pace, 1 / pause, now)
        elif self._before is not None:
            self._patience = min(_PATIENT, 2 * self._patience)
            self._go(self._before, self._stride / 8, now)
        elif measured > 0.95 * self.pace:
            self._go(self.pace * 0.95, _FINE, now)
        else:
            if measured < self.pace / 2:  # Another limit, to be found soon; no climb that failed.
                self._patience = _EAGER
            self._go(max(measured, self.pace / 2), 1 / max(1, passed), now)
        self._before = None

    def _measure_drought(self, end: float, now: float, *, asked: bool) -> None:
        """A long pause says that the limit was used up by all that passed before it: the pace is their average."""
        passed = max(2, self._struck.number - 1 - self._from)  # Few may be fewer than the tokens that were taken.
        pace = self.pace or self._most
        if (end - _ROUNDED - self._struck.sent) * pace < _DROUGHT:
            return
        measured = min(pace, MARGIN * passed / (end - self._began))
        self._go(measured if asked else max(measured, pace / 2), 1 / passed, now)

    def _go(self, pace: float, stride: float, now: float) -> None:
        self.pace = min(self._most, max(1 / LONGEST, pace))
        self._stride = min(_BOLD, max(_FINE, stride))
        self._stepped, self._since, self._clean = self._number, now, 0


class RateLimiter:
    """Gives requests their slots within ``limit``, first come, first served.

    A request that has its slot is to be sent at once, and its answer to be reported. ``throttled`` counts 429s.
    """

    def __init__(self, limit: RateLimit, clock: Clock) -> None:
        self._limit, self._clock = limit, clock
        self.throttled = 0
        self._first = asyncio.Lock()

    @property
    def pace(self) -> float | None:
        """Requests a second as of now, None for no limit."""
        return self._limit.pace

    @property
    def paused(self) -> float:
        """Seconds left of the pause that the API has asked for."""
        return self._limit.paused(self._clock.now())

    async def take_slot(self) -> Slot:
        """Wait until a request may be sent."""
        if self._first.locked() or self._limit.wait(self._clock.now()):
            async with self._first:
                while wait := self._limit.wait(self._clock.now()):
                    await self._clock.sleep(wait)  # an answer may make it longer meanwhile
        return self._limit.take(self._clock.now())

    def accepted(self, slot: Slot) -> None:
        """Note an answer that is no 429."""
        self._limit.accepted(slot, self._clock.now())

    def refused(self, slot: Slot, retry_after: float | None) -> None:
        """Note a 429."""
        self.throttled += 1
        self._limit.throttled(slot, self._clock.now(), retry_after)


def parse_rate(text: str) -> float | None:
    """Requests a second of ``600/min``, ``10/s``, ``36000/h``; None for ``none``. Raises ValueError."""
    if text.strip().lower() == "none":
        return None
    found = _RATE.fullmatch(text.strip().lower())
    rate = float(found[1]) / {"s": 1, "m": 60, "h": 3600}[found[2][0]] if found else 0.0
    if not 0 < rate < math.inf:
        raise ValueError(f"{text!r} is no rate: write a number of requests like 600/min, 10/s or 36000/h, or none")
    return rate

"""How fast requests may go: even pacing, and what a 429 teaches."""

from __future__ import annotations

import asyncio
import math
import re
from typing import NamedTuple

from replicate_job.clock import Clock

MARGIN = 0.98
"""The share of a limit that is used: answers to evenly sent requests jitter, and the API counts minutes of its own."""
LONGEST = 600.0
"""Seconds of the longest pause that is believed, and between two requests at the slowest pace."""
FASTEST = 1000.0
"""The highest pace, in requests a second, where no rate was set: a pace that doubles needs an end."""

_TICK = 1e-6  # Seconds that count as no wait: sums of floats fall short by so much.
_ROUNDED = 0.5  # Seconds by which a wait in whole seconds is too long, on average.
_IDLE = 1.0  # Seconds without a request, after which the API's bucket has filled up.
_BLIND = 60.0  # Seconds of the longest pause where the API names none: it counts by the minute.
_FINE, _BOLD = 0.02, 0.25  # The first step of a climb and the largest, as shares of the pace. Each doubles the last.
_EAGER, _CAREFUL = 4, 16  # Accepted requests before a step, times its size: 200 before one of 2 %, 800 after failures.
_RARE = 1200 * _FINE  # Seconds before a step, times its size: 20 minutes, where 800 requests would take hours.
_DROUGHT = 3.0  # Requests missed in a pause: a token bucket asks for two at most, a used-up minute for many.

_RATE = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*/\s*(s|sec|second|m|min|minute|h|hour)", re.ASCII)


class Slot(NamedTuple):
    """Leave to send one request: its number, from 1, and the time at which it was given."""

    number: int
    sent: float


class RateLimit:
    """Decides when the next request may be sent, and learns from how the last ones were answered. Without I/O.

    ``rate`` is the most that is ever sent, in requests a second; None for no limit until a 429 teaches one. ``burst``
    is how many may go at once, at the start and after idling. ``pace`` is requests a second as of now, None for no
    limit. Times are in seconds, of any clock that only grows.

    A 429 means that the API's bucket, or its minute, is used up at that moment. The requests accepted between two such
    moments, divided by the time between them, are the limit. From there the pace climbs in steps; a step that leads to
    a 429 is taken back.

    =============  ======================================================  ===================================
    field          meaning                                                 changed by
    =============  ======================================================  ===================================
    _most          the highest pace                                        never
    pace           requests a second, as of now                            a 429, a step
    _burst         requests that may go at once                            a 429 within the burst: 1 from then
    _next          time at which the next request may go                   every request, a 429
    _resume        time at which the last pause ends                       a 429
    _number        slots given so far                                      every request
    _heard         slot up to which a 429 only lengthens the pause         a 429
    _refusals      429s since the last accepted request                    a 429, an accepted request
    _struck        the first refused slot of those                         the first 429
    _from, _began  slot and time from which accepted requests are counted  idling; the first accepted request
    _stepped       slot at the last change of the pace                     every change of the pace
    _since         time of that change                                     every change of the pace
    _clean         requests accepted since that change                     an accepted request
    _before        pace before the last step, for taking it back           a step; None after a 429
    _stride        size of the next step, as a share of the pace           every change of the pace
    _caution       accepted requests needed for a step, times its size     a step that failed: doubled
    =============  ======================================================  ===================================
    """

    def __init__(self, rate: float | None, *, burst: float = 5) -> None:
        self._most = FASTEST if rate is None else rate * MARGIN
        self.pace: float | None = None if rate is None else self._most
        self._burst = burst
        self._next = self._resume = -math.inf
        self._number = self._heard = self._refusals = 0
        self._struck = Slot(0, 0.0)
        self._from, self._began = 0, 0.0
        self._stepped, self._since, self._clean = 0, 0.0, 0
        self._before: float | None = None
        self._stride, self._caution = _FINE, _EAGER

    def wait(self, now: float) -> float:
        """Seconds until a request may be sent; 0 when it may now."""
        seconds = self._next - now
        return seconds if seconds > _TICK else 0.0

    def paused(self, now: float) -> float:
        """Seconds left of the pause that the API has asked for."""
        return max(0.0, self._resume - now)

    def take(self, now: float) -> Slot:
        """Give the next request its slot."""
        if now - self._next > _IDLE:
            self._from, self._began = self._number, now
        gap = 1 / self.pace if self.pace else 0.0
        self._next = max(self._next, now - (self._burst - 1) * gap) + gap
        if self._refusals > 1:  # The answer to one request tells whether the limit is still used up.
            self._next = max(self._next, now + 1)
        self._number += 1
        return Slot(self._number, now)

    def accepted(self, slot: Slot, now: float) -> None:
        """Note that the request of this slot was answered, and not with 429."""
        if slot.number <= self._heard:
            return
        if self._refusals:
            self._refusals, self._from, self._began = 0, self._heard, self._resume
        if slot.number <= self._stepped or self.pace is None or self.pace >= self._most:
            return
        self._clean += 1
        if self._clean * self._stride >= self._caution or (now - self._since) * self._stride >= _RARE:
            self._before = self.pace
            self._go(self.pace * (1 + self._stride), 2 * self._stride, now)

    def throttled(self, slot: Slot, now: float, retry_after: float | None) -> None:
        """Note a 429. A request that was sent before an earlier 429 arrived only lengthens the pause."""
        is_new = slot.number > self._heard
        self._refusals += is_new
        asked, pause = self._bounded(retry_after)
        if is_new:
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
        """The pause that was asked for (whole seconds, None for nonsense), and the one to make; it doubles."""
        doubled = min(_BLIND, 2.0 ** min(self._refusals - 1, 10))
        if retry_after is None:
            return None, max(doubled, min(_BLIND, 2 / self.pace if self.pace else 1.0))
        if 0 <= retry_after <= LONGEST:
            asked = math.ceil(retry_after)
            return asked, max(doubled, asked)
        return None, LONGEST if retry_after > LONGEST else doubled

    def _learn(self, slot: Slot, now: float, pause: float) -> None:
        """Set the pace after the first 429 since an accepted request."""
        passed = slot.number - 1 - self._from
        measured = MARGIN * max(1, passed) / max(_ROUNDED, slot.sent + pause - _ROUNDED - self._began)
        burst, self._burst = self._burst, 1 if passed <= self._burst else self._burst
        if self.pace is None:
            self._go(measured, 1 / max(1, passed), now)
        elif passed <= burst and burst > 1:
            # Only the burst may have been too much. A refused request takes a token too: two fit into the pause.
            self._go(min(self.pace, MARGIN * 2 / pause) if pause > 1 else self.pace, 1 / pause, now)
        elif self._before is not None:
            self._caution = min(_CAREFUL, 2 * self._caution)
            self._go(self._before, self._stride / 8, now)
        elif measured > 0.95 * self.pace:
            self._go(self.pace * 0.95, _FINE, now)
        else:
            if measured < self.pace / 2:  # The limit itself has changed: the new one is to be found soon.
                self._caution = _EAGER
            self._go(max(measured, self.pace / 2), 1 / max(1, passed), now)
        self._before = None

    def _measure_drought(self, end: float, now: float, *, asked: bool) -> None:
        """Set the pace after a long pause: the requests before it have used up the limit, which is their average."""
        # Of few requests, the refused ones have taken a good part of the tokens.
        passed = max(2, self._struck.number - 1 - self._from)
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
    match = _RATE.fullmatch(text.strip().lower())
    rate = float(match[1]) / {"s": 1, "m": 60, "h": 3600}[match[2][0]] if match else 0.0
    if not 0 < rate < math.inf:
        raise ValueError(f"{text!r} is no rate: write a number of requests like 600/min, 10/s or 36000/h, or none")
    return rate

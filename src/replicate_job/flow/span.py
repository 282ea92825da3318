"""When, by the API's clock, a create request can have made its prediction."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from replicate_job.clock import Clock, Moment

SLACK = 5.0
"""Seconds by which two clocks may still differ after the ``Date`` header was taken into account."""
LATEST = 300.0
"""Seconds after the last send in which a create request can still have been acted upon. Later ones are not looked
for: that is not promised."""
ASIDE = 600.0
"""Seconds by which the times of predictions may differ from the API's ``Date``."""
UNKNOWN = 26 * 3600.0
"""Seconds to either side that are searched where the API's time was not known: a day, and the widest time zone's
error with it."""

Window = tuple[datetime, datetime]


class Span(msgspec.Struct, frozen=True):
    """``windows`` are where the prediction is looked for; ``is_trusted``: they come from the API's own clock.

    A window that is not trusted is so wide that only a prediction which is found proves anything. ``exact`` are the
    windows by the API's own clock, without this machine's.
    """

    windows: tuple[Window, ...]
    is_trusted: bool
    exact: tuple[Window, ...] = ()

    @property
    def after(self) -> datetime:
        return min(after for after, _ in self.windows)

    @property
    def before(self) -> datetime:
        return max(before for _, before in self.windows)

    @property
    def wider(self) -> Window:
        """The whole, and what a clock that is minutes off could put beside it."""
        return _shift(self.after, -ASIDE), _shift(self.before, ASIDE)

    def covers(self, created: datetime | None) -> bool:
        """A time that cannot be read may be any."""
        return created is None or _is_in(self.windows, created)

    def may_cover(self, created: datetime | None) -> bool:
        """Whether it was made in what is ``wider``, too: a server may list more than it was asked for."""
        return created is None or _is_in((self.wider,), created)

    def is_exact(self, created: datetime | None) -> bool:
        """Whether it was made when the API's own clock says that the request was sent."""
        return self.is_trusted and (created is None or _is_in(self.exact, created))


def span_of(first: Moment, last: Moment, clock: Clock, api_time: float | None) -> Span:
    """The span of a job's create requests, from the first to the last; ``api_time`` is the API's clock as of now.

    The API's time then is known from an answer before the request, or from one since, as long as this machine was not
    started again. A gateway's ``Date`` may be wrong where the predictions' times are right: this machine's own clock
    is believed too.
    """
    times = [] if first.api is None else [first.api]
    age = first.age(clock)
    if age is not None and api_time is not None:
        times.append(api_time - age)
    if not times:
        return Span((_window(first.wall - UNKNOWN, last.wall + UNKNOWN),), is_trusted=False)
    lasted = _between(first, last)
    windows = [_window(at - SLACK, at + lasted + LATEST) for at in [*times, first.wall]]
    return Span(tuple(windows), is_trusted=True, exact=tuple(windows[:-1]))


def _is_in(windows: tuple[Window, ...], created: datetime) -> bool:
    return any(after <= created <= before for after, before in windows)


def _between(first: Moment, last: Moment) -> float:
    if first.boot and first.boot == last.boot:
        return max(0.0, last.since - first.since)
    return max(0.0, last.best - first.best)


def _window(after: float, before: float) -> Window:
    return _moment(after), _moment(before)


def _moment(seconds: float) -> datetime:
    """Times that no calendar has are cut off."""
    return datetime.fromtimestamp(min(max(seconds, 0.0), 253e9), UTC)


def _shift(moment: datetime, seconds: float) -> datetime:
    return moment + timedelta(seconds=seconds)

"""The span of time by the API's clock in which a create request can have created its prediction."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from replicate_job.clock import Clock, Moment

SLACK = 5.0
"""Two clocks may differ by this many seconds after the correction by the ``Date`` header."""
LATEST = 300.0
"""A create request is expected to create its prediction within this many seconds after it was last sent, or never.
Later predictions are not looked for; the API gives no guarantee."""
ASIDE = 600.0
"""The creation times of predictions may differ from the API's ``Date`` by this many seconds."""
UNKNOWN = 26 * 3600.0
"""Seconds that are searched on both sides if the API's time is not known: a day plus the error of a wrong time zone."""

Window = tuple[datetime, datetime]


class Span(msgspec.Struct, frozen=True):
    """``windows`` are the spans of time in which the prediction is looked for.

    ``is_trusted``: the windows use the API's clock. A window that is not trusted is wide, and finding no prediction in
    it proves nothing. ``exact`` are the windows that use only the API's clock, and not this machine's clock.
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
        """The whole span, extended on both sides for clocks that are wrong by minutes."""
        return _shift(self.after, -ASIDE), _shift(self.before, ASIDE)

    def covers(self, created: datetime | None) -> bool:
        """Whether the time is in a window. True for an unreadable time."""
        return created is None or _is_in(self.windows, created)

    def may_cover(self, created: datetime | None) -> bool:
        """Whether the time is in the ``wider`` span: a server may list more than was requested."""
        return created is None or _is_in((self.wider,), created)

    def is_exact(self, created: datetime | None) -> bool:
        """Whether the prediction was created, by the API's own clock, while the request was open."""
        return self.is_trusted and (created is None or _is_in(self.exact, created))


def span_of(first: Moment, last: Moment, clock: Clock, api_time: float | None) -> Span:
    """The span of a job's create requests, from the first to the last. ``api_time`` is the API's clock now.

    The API's time at the first request is known from an earlier response, or can be computed from a later response if
    this machine was not restarted in between. A gateway may send a wrong ``Date`` while the predictions' times are
    right, so this machine's own clock gives a window too.
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
    """The time as a datetime, limited to the range that a datetime can hold."""
    return datetime.fromtimestamp(min(max(seconds, 0.0), 253e9), UTC)


def _shift(moment: datetime, seconds: float) -> datetime:
    return moment + timedelta(seconds=seconds)

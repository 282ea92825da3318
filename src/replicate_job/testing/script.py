"""How a prediction goes and how it streams, written down beforehand."""

from __future__ import annotations

from typing import Any

import msgspec

from replicate_job.serving.stream import encode_comment, encode_event


class StreamEvent(msgspec.Struct, frozen=True):
    """One event; each line of ``data`` goes out as a ``data:`` line of its own.

    ``id`` empty: none is sent. ``comment``: nothing but that comment. ``raw``: these very bytes.
    """

    event: str = "output"
    data: str = ""
    id: str = ""
    comment: str | None = None
    raw: bytes = b""

    def encode(self) -> bytes:
        if self.raw:
            return self.raw
        if self.comment is not None:
            return encode_comment(self.comment)
        return encode_event(self.event, self.data, self.id)


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """How a prediction streams.

    ``events``: what is sent; a text is an output event. By default every item of the output, and an ``error`` event
    where it fails. ``interval`` is the seconds between events, from the start of the prediction on. ``done`` comes
    last, after the prediction's end, unless it is off. ``breaks=(3, 1)``: the first connection ends after 3 events,
    the second after one more, later ones stay; ``ending`` is how: ``drop`` (reset) or ``close`` (a comment and a
    clean end, as after 30 seconds). Output and log events get ids of the API's form, unless ``ids`` is off; a
    reconnect goes on after ``Last-Event-ID``.
    """

    events: tuple[StreamEvent | str, ...] | None = None
    interval: float = 0.0
    done: bool = True
    breaks: tuple[int, ...] = ()
    ending: str = "drop"
    ids: bool = True


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """How a prediction goes. Times are seconds since its creation.

    It is ``starting`` until ``boot``, ``processing`` until ``duration`` and then ``end``; ``duration=math.inf`` never
    ends. ``timeline`` replaces what comes before the end: ``((0, "starting"), (0.1, "processing"), (0.2, "queued"))``.
    ``output`` is the value, or a function of the input; an ``OutputFile`` anywhere in it becomes a URL. It shows at the
    end, or whole from ``output_at`` on while still processing, or with ``partial`` a list that grows.
    ``logs`` (a text, or a function of the input) grow line by line. ``stream`` gives it ``urls.stream``.
    ``deadline`` replaces the time that ``Cancel-After`` asked for, where it was sent (the API's minimum is 5 s).
    A cancel takes effect after ``cancel_lag``. ``overrides`` are laid over the prediction object as they are.
    """

    end: str = "succeeded"
    duration: float = 0.05
    boot: float = 0.01
    timeline: tuple[tuple[float, str], ...] = ()
    output: Any = None
    output_at: float | None = None
    partial: bool = False
    logs: Any = ""
    error: Any = None
    stream: Stream | None = None
    deadline: float | None = None
    cancel_lag: float = 0.0
    overrides: dict[str, Any] = {}

"""Scripts: the course of a prediction, and the events of its stream."""

from __future__ import annotations

from typing import Any

import msgspec

from replicate_job.serving.stream import encode_comment, encode_event


class StreamEvent(msgspec.Struct, frozen=True):
    """One event of a stream. Each line of ``data`` becomes a ``data:`` line. Without ``id``, no id is sent.

    With ``comment``, only that comment is sent; with ``raw``, only these bytes.
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

    ``events`` are sent in order; a text is an output event. By default, they are the items of the output, and
    an ``error`` event if the prediction fails. ``interval`` is the number of seconds between events, from the
    prediction's start on. After the prediction's end, the event ``done`` is sent, unless ``done`` is False.

    ``breaks=(3, 1)`` means that the first connection ends after 3 events, the second after one more, and later
    connections do not break. ``ending`` is ``drop`` (a reset) or ``close`` (a comment and a clean end, as at Replicate
    after 30 seconds). Output and log events have ids in the API's form, unless ``ids`` is False. A new connection
    continues after ``Last-Event-ID``.
    """

    events: tuple[StreamEvent | str, ...] | None = None
    interval: float = 0.0
    done: bool = True
    breaks: tuple[int, ...] = ()
    ending: str = "drop"
    ids: bool = True


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to a prediction. Times are seconds since its creation.

    - The status is ``starting`` until ``boot``, ``processing`` until ``duration`` and then ``end``; with
      ``duration=math.inf`` it never ends. ``timeline`` replaces the statuses before the end:
      ``((0, "starting"), (0.1, "processing"), (0.2, "queued"))``.
    - ``output`` is a value, or a function of the input; an ``OutputFile`` anywhere in it becomes a URL. By default, it
      is shown at the end. With ``output_at``, it is complete from that time on, while the status is ``processing``.
      With ``partial``, it is a growing list.
    - ``logs`` (a text, or a function of the input) grow line by line. With ``stream``, the prediction has
      ``urls.stream``.
    - ``deadline`` replaces the time of a ``Cancel-After`` in the request (the API's minimum is 5 s). A cancellation
      takes effect after ``cancel_lag``.
    - ``overrides`` replace fields of the prediction object.
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

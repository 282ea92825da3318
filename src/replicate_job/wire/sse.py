"""Decodes server-sent events from bytes in portions of any size, by the WHATWG rules.

One difference: an event with a type and without data is delivered too, since ``done`` may have no data.
"""

from __future__ import annotations

import codecs
import re

import msgspec

from replicate_job.base_errors import AnswerTooLargeError

LONGEST = 16 * 1024**2
"""The most characters of an event, including the comments before it."""

_LINE = r"\r\n|\n|\r"


class Event(msgspec.Struct, frozen=True):
    """``id`` is the last event id so far. ``own_id``: True if this event set it, False if an earlier event did."""

    type: str
    data: str
    id: str = ""
    own_id: bool = False


class Decoder:
    """``feed`` takes bytes as they arrive, and returns each event once the blank line after it has arrived."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest = ""
        self._pieces: list[str] = []
        self._type = ""
        self._data: list[str] = []
        self._own_id = False
        self._size = 0
        self.last_event_id = ""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that this portion completes. An event that is cut off by the end of the stream is never returned.

        Raises AnswerTooLargeError.
        """
        text = self._text.decode(chunk)
        self._size += len(text)
        if self._size > LONGEST:
            raise AnswerTooLargeError(f"an event of the stream is longer than {LONGEST // 1024**2} million characters")
        if "\n" not in text and "\r" not in text and not self._rest.endswith("\r"):
            self._pieces.append(text)  # joined later: joining at each portion would take quadratic time
            return []
        self._rest = "".join((self._rest, *self._pieces, text))
        self._pieces.clear()
        # A "\r" at the very end may be half of "\r\n", so keep it for the next portion.
        held = "\r" if self._rest.endswith("\r") else ""
        whole = self._rest[: len(self._rest) - len(held)]
        # Most streams have no "\r", and str.split is ten times faster than the regular expression.
        *lines, rest = re.split(_LINE, whole) if "\r" in whole else whole.split("\n")
        self._rest = rest + held
        return [event for line in lines if (event := self._line(line))]

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._type = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self.last_event_id, self._own_id = value, bool(value)
        return None

    def _dispatch(self) -> Event | None:
        event = Event(self._type or "message", "\n".join(self._data), self.last_event_id, self._own_id)
        empty = not self._data and not self._type
        self._type, self._data, self._own_id, self._size = "", [], False, 0
        return None if empty else event

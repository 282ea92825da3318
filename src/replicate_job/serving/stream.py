"""Server-sent events in the dialect of the API's streams."""

from __future__ import annotations

import re
from typing import Any

import msgspec

_LINE = re.compile(r"\r\n|\n|\r")


def encode_event(kind: str, data: str, id: str = "") -> bytes:  # noqa: A002 - the event's field is called so
    """Encode an event. Each line of ``data`` becomes a ``data:`` line of its own. Without ``id``, no id is sent."""
    lines = [f"event: {kind}", *([f"id: {id}"] if id else []), *(f"data: {line}" for line in _LINE.split(data))]
    return ("\n".join(lines) + "\n\n").encode()


def encode_comment(text: str) -> bytes:
    return f": {text}\n\n".encode()


def event_id(created: float, number: int) -> str:
    """The id of event ``number`` of a prediction that was created at the Unix time ``created``."""
    return f"{int(created)}:{number}"


def error_data(error: Any) -> str:
    """The data of the event ``error``."""
    return msgspec.json.encode({"detail": error}).decode()


def done_data(status: str) -> str:
    """The data of the event ``done``, for a prediction that ended with this status."""
    reason = {"canceled": "canceled", "aborted": "canceled", "failed": "error"}.get(status)
    return msgspec.json.encode({"reason": reason} if reason else {}).decode()

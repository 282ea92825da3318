"""The body of an HTTP error, from Replicate's API or from a gateway in front of it."""

from __future__ import annotations

import re
import sys
from typing import Any

import msgspec

_RESETS = r"resets in ~?\s*(\d+(?:\.\d+)?)\s*s"
_TITLE = rb"(?i)<title[^>]*>([^<]{1,200})"


class Problem(msgspec.Struct, frozen=True):
    """The fields of an error. ``retry_after`` is in seconds; ``text`` is the readable part of a body without fields."""

    status: int
    title: str = ""
    detail: str = ""
    type: str = ""
    instance: str = ""
    invalid_fields: tuple[dict[str, Any], ...] = ()
    retry_after: float | None = None
    text: str = ""

    def __str__(self) -> str:
        """One line with the title and the detail, without repetition."""
        parts = [part for part in (self.title, self.detail.strip() or self.text) if part]
        line = " ".join(": ".join(dict.fromkeys(parts)).split())
        return line[:500] if line else "no explanation given"


def read_problem(status: int, body: bytes) -> Problem:
    """Read any error body: Replicate's JSON, whole or in part, a gateway's HTML, plain text, or an empty body."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        return Problem(status=status, text=_readable(body))
    detail = _text(fields.get("detail"))
    invalid = fields.get("invalid_fields")
    return Problem(
        status=status,
        title=_text(fields.get("title")),
        detail=detail,
        type=_text(fields.get("type")),
        instance=_text(fields.get("instance")),
        invalid_fields=tuple(item for item in invalid if isinstance(item, dict)) if isinstance(invalid, list) else (),
        retry_after=_seconds(fields.get("retry_after"), detail),
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _seconds(value: Any, detail: str) -> float | None:
    """The seconds to wait: the field ``retry_after``, or else the number in a ``detail`` like "resets in ~5s"."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        # Huge numbers could not be converted, so limit the value first. -1 stands for all numbers below 0.
        return float(max(-1, min(value, sys.float_info.max)))
    if found := re.search(_RESETS, detail):
        return float(found[1])
    return None


def _readable(body: bytes) -> str:
    """The title of an HTML page, or the beginning of a text."""
    if found := re.search(_TITLE, body[:4096]):
        return found[1].decode("utf-8", "replace").strip()
    if body.lstrip()[:1] in {b"<", b"{", b"["}:
        return ""
    return body[:200].decode("utf-8", "replace").strip()

"""What an answer means for a transfer that may have begun before. Pure decisions, by RFC 9110 (ranges, validators)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANGE = re.compile(r"bytes\s+(?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)", re.ASCII)
_WHOLE, _PART, _BEYOND, _SERVER = 200, 206, 416, 500
_GONE = {404, 410}
_RETRIED = {408, 425, 429}


class Known(msgspec.Struct, frozen=True):
    """What earlier answers told. ``validator`` (a strong ETag, else Last-Modified) names one state of the file."""

    validator: str | None = None
    total: int | None = None
    media_type: str | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What to do with an answer.

    ``restart``: its body is the whole file; ``append``: its body goes on from what is there; ``done``: nothing is
    missing; ``again``: ask once more, after ``after`` seconds where the server says when, and from the start if
    ``anew``; ``expired``: the file is gone; ``refused``: asking again would not help.
    """

    action: Literal["restart", "append", "done", "again", "expired", "refused"]
    known: Known = Known()
    reason: str = ""
    after: float | None = None
    anew: bool = False


def request_headers(have: int, known: Known) -> dict[str, str]:
    """Ask for the rest only when it is sure to be the rest of the same file; without a validator, for all of it."""
    headers = {"accept-encoding": "identity"}
    if have and known.validator:
        headers |= {"range": f"bytes={have}-", "if-range": known.validator}
    return headers


def judge(status: int, headers: Mapping[str, str], have: int, known: Known) -> Verdict:
    """``headers`` have lower-case names; ``have`` is the number of bytes already on disk."""
    encoding = headers.get("content-encoding", "").lower()
    if status in {_WHOLE, _PART} and encoding not in {"", "identity"}:
        return Verdict("refused", reason=f"it came as {encoding} though plain bytes were asked for")
    if status == _WHOLE:
        return Verdict("restart", _read(headers))
    if status in {_PART, _BEYOND}:
        return _ranged(status, headers, have, known)
    if status in _GONE:
        return Verdict("expired", reason=f"HTTP {status}")
    if status in _RETRIED or status >= _SERVER:
        return Verdict("again", known, f"HTTP {status}", after=_retry_after(headers))
    return Verdict("refused", reason=f"HTTP {status}")


def _ranged(status: int, headers: Mapping[str, str], have: int, known: Known) -> Verdict:
    found = _RANGE.fullmatch(headers.get("content-range", "").strip())
    if status == _BEYOND:
        nothing_missing = found is not None and have > 0 and found[3] == str(have)
        return Verdict("done", known) if nothing_missing else Verdict("again", reason="no such range", anew=True)
    if not found or found[1] is None or int(found[1]) != have or not have:
        return Verdict("again", reason="the server sent another range than asked for", anew=True)
    total = None if found[3] == "*" else int(found[3])
    if total is not None and known.total is not None and total != known.total:
        return Verdict("again", reason="the file changed its length", anew=True)
    return Verdict("append", msgspec.structs.replace(known, total=known.total if total is None else total))


def _read(headers: Mapping[str, str]) -> Known:
    etag = headers.get("etag", "").strip()
    strong = etag if etag.startswith('"') else None
    length = headers.get("content-length", "").strip()
    return Known(
        strong or headers.get("last-modified"),
        int(length) if length.isascii() and length.isdigit() else None,
        headers.get("content-type"),
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; the form with a date is left to the usual backoff."""
    value = headers.get("retry-after", "").strip()
    return float(value) if value.isascii() and value.isdigit() else None

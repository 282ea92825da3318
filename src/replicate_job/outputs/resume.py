"""Decides by RFC 9110 (ranges, validators) what a response means for a download that may have begun. No I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import msgspec

from replicate_job.coding import KNOWN as CODINGS
from replicate_job.coding import coding_of
from replicate_job.wire.http_date import read_http_date

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANGE = r"(?a)bytes\s+(?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)"
_WHOLE, _PART, _BEYOND, _SERVER = 200, 206, 416, 500
_GONE = {404, 410}
_RETRIED = {408, 425, 429}


class Known(msgspec.Struct, frozen=True):
    """What earlier responses said about one version of the file. ``total`` is its size in bytes."""

    etag: str | None = None
    total: int | None = None
    media_type: str | None = None
    modified: str | None = None

    @property
    def validator(self) -> str | None:
        """The validator of this version: a strong ETag, else Last-Modified. If None, no range can be requested."""
        return self.etag if self.etag and self.etag.startswith('"') else self.modified


class Verdict(msgspec.Struct, frozen=True):
    """What to do with a response.

    ``restart``: its body is the whole file. ``append``: its body continues the saved bytes. ``done``: the file is
    complete. ``again``: send another request, after ``after`` seconds if the server names a wait, and from the start if
    ``anew``. ``expired``: the file is deleted. ``refused``: another request would not help. ``end`` is the number
    of saved bytes after this body; None if the response does not say.
    """

    action: Literal["restart", "append", "done", "again", "expired", "refused"]
    known: Known = Known()
    reason: str = ""
    after: float | None = None
    anew: bool = False
    end: int | None = None


def request_headers(have: int, known: Known) -> dict[str, str]:
    """Request the missing bytes if a validator can prove that the file is the same, else the whole file."""
    headers = {"accept-encoding": "identity"}
    if have and known.validator:
        headers |= {"range": f"bytes={have}-", "if-range": known.validator}
    return headers


def judge(status: int, headers: Mapping[str, str], have: int, known: Known) -> Verdict:
    """Judge a response. ``headers`` have lower-case names; ``have`` is the number of bytes saved already."""
    coding = coding_of(headers)
    if status in {_WHOLE, _PART} and coding and coding not in CODINGS:
        return Verdict("refused", reason=f"it came encoded as {coding}, which cannot be decoded")
    if status == _WHOLE:
        whole = _read(headers, known, is_plain=not coding)
        return Verdict("restart", whole, end=whole.total)
    if status in {_PART, _BEYOND}:
        asked = have if known.validator else 0
        return _ranged(status, headers, asked, known) if not coding else _anew("the server sent another encoding")
    if status in _GONE:
        return Verdict("expired", reason=f"HTTP {status}")
    if status in _RETRIED or status >= _SERVER:
        return Verdict("again", known, f"HTTP {status}", after=_retry_after(headers))
    return Verdict("refused", reason=f"HTTP {status}")


def _ranged(status: int, headers: Mapping[str, str], asked: int, known: Known) -> Verdict:
    """Judge a partial response. ``asked`` is the start of the requested range, 0 if none was requested."""
    found = re.fullmatch(_RANGE, headers.get("content-range", "").strip())
    if not _is_same(headers, known):
        return _anew("the file changed")
    total = int(found[3]) if found and found[3] != "*" else None
    if total is not None and known.total not in {None, total}:
        return _anew("the file changed its length")
    if status == _BEYOND:
        return Verdict("done", known) if asked and total == asked else _anew("no such range")
    if not found or found[1] is None or int(found[1]) != asked or not asked:
        return _anew("the server sent another range than asked for")
    end = int(found[2]) + 1
    if end <= asked or (total is not None and end > total):
        return _anew("the server sent a range that cannot be")
    return Verdict("append", msgspec.structs.replace(known, total=known.total if total is None else total), end=end)


def _anew(reason: str) -> Verdict:
    return Verdict("again", reason=reason, anew=True)


def _is_same(headers: Mapping[str, str], known: Known) -> bool:
    """Whether the response is about the same file. A server that honored If-Range may leave out the validator."""
    etag, modified = headers.get("etag", "").strip(), headers.get("last-modified", "").strip()
    if etag and known.etag:
        return etag == known.etag
    return not modified or not known.modified or modified == known.modified


def _read(headers: Mapping[str, str], known: Known, *, is_plain: bool) -> Known:
    """Read what the headers say about the file. ``is_plain``: the body is not compressed, so ranges count its bytes."""
    if not is_plain:
        return Known(media_type=headers.get("content-type"))
    length = headers.get("content-length", "").strip()
    found = Known(
        headers.get("etag", "").strip() or None,
        int(length) if length.isascii() and length.isdigit() else None,
        headers.get("content-type"),
        _modified(headers),
    )
    if found.total is None and found.validator and found.validator == known.validator:
        return msgspec.structs.replace(found, total=known.total)
    return found


def _modified(headers: Mapping[str, str]) -> str | None:
    """The Last-Modified header; None if the file may have changed again within that second (RFC 9110, 8.8.2.2)."""
    text, date = headers.get("last-modified", "").strip(), headers.get("date", "").strip()
    try:
        if date and read_http_date(date) <= read_http_date(text):
            return None
    except ValueError:  # a malformed date
        return None
    return text or None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The wait in seconds. None without the header or if it is a date: then the usual backoff is used."""
    value = headers.get("retry-after", "").strip()
    return float(value) if value.isascii() and value.isdigit() else None

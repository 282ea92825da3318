"""Translates addresses of the API and its files between the program, the real API, and a recording."""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import urlsplit

from replicate_job.settings import DEFAULT_BASE_URL
from replicate_job.testing.recording.cleaning import clean_url, walk

API = f"{DEFAULT_BASE_URL}/v1"
"""The base address of the API in every recording, whichever API was recorded."""
_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)

_OFFICIAL = re.compile(r"(?:async)?replicate[-/](?!job\b)", re.IGNORECASE)
"""User agents of the official clients. These clients make a file object (``FileOutput``) from https addresses only."""


class Addresses:
    """Translates addresses. ``own`` is this server's origin, ``secure`` is its origin with TLS.

    ``base`` is the base address of the real API, with ``/v1``. On this server, an output file has the path
    ``/outputs/<key>/<name>``, and a stream has the path ``/stream/<prediction id>``. ``files`` maps the key of a file
    to its real address, and ``streams`` maps the id of a prediction to the real address of its stream.
    """

    def __init__(self, own: str, secure: str, base: str = API) -> None:
        self.own, self.secure, self._base = own, secure, base
        self.files: dict[str, str] = {}
        self.streams: dict[str, str] = {}

    def outward(self, value: Any, agent: str = "") -> Any:
        """Replace real addresses in a response by this server's. ``agent`` is the ``User-Agent`` of the program."""
        if isinstance(value, list):
            return [self.outward(item, agent) for item in value]
        if not isinstance(value, dict):
            return self._own(value) if isinstance(value, str) else value
        is_prediction = is_prediction_like(value)
        changed = {name: self.outward(item, agent) for name, item in value.items()}
        if is_prediction:
            changed["output"] = walk(value.get("output"), lambda text: self.file(text, agent))
            stream = value["urls"].get("stream")
            if isinstance(stream, str):
                self.streams[value["id"]] = stream
                changed["urls"]["stream"] = f"{self.own}/stream/{value['id']}"
        return changed

    def file(self, text: str, agent: str) -> str:
        """Replace the address of an output file by an address on this server. Any other text is returned unchanged."""
        if not _ADDRESS.fullmatch(text):
            return text
        clean = clean_url(text)
        key = hashlib.sha256(clean.encode()).hexdigest()[:16]
        self.files[key] = text
        name = urlsplit(clean).path.rpartition("/")[2]
        return f"{self.secure if _OFFICIAL.match(agent) else self.own}/outputs/{key}/{name}"

    def inward(self, value: Any) -> Any:
        """Replace this server's addresses in a program's request by the real addresses."""
        return walk(value, self._original)

    def taped(self, value: Any) -> Any:
        """Replace the base address in a request or response of the real API by ``API``, as in every recording."""
        return walk(value, lambda text: _moved(text, self._base, API))

    def _own(self, text: str) -> str:
        moved = _moved(text, self._base, f"{self.own}/v1")
        return _moved(text, API, f"{self.own}/v1") if moved is text else moved

    def _original(self, text: str) -> str:
        for origin in (self.own, self.secure):
            if text.startswith(f"{origin}/outputs/"):
                key = text.removeprefix(f"{origin}/outputs/").partition("/")[0]
                return self.files.get(key, text)
        return _moved(text, f"{self.own}/v1", self._base)


def _moved(text: str, start: str, other: str) -> str:
    return other + text[len(start) :] if text == start or text.startswith((f"{start}/", f"{start}?")) else text


def is_prediction_like(value: Any) -> bool:
    """Whether an object looks like a prediction, whose output may have addresses of files."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("id"), str)
        and isinstance(value.get("status"), str)
        and isinstance(value.get("urls"), dict)
    )

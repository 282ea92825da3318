"""Decodes JSON into types. msgspec analyzes a type at its first use, and two first uses at the same time crash it.

So all decoding into types goes through this module, in which first uses wait for each other. With msgspec 0.22 there
is a segmentation fault if two threads use the same struct, or two structs that share a field's struct, for the first
time.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

from replicate_job.forks import on_fork

_T = TypeVar("_T")

REFUSED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What ``decode`` raises for a text that it cannot decode."""

_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_first_uses = threading.RLock()


@on_fork
def _renew() -> None:
    """Replace the lock, because a fork may have copied it in the locked state."""
    global _first_uses  # noqa: PLW0603 - the lock itself has to be replaced
    _first_uses = threading.RLock()


def decoder(kind: type[_T]) -> msgspec.json.Decoder[_T]:
    """The decoder of a type, which is always the same object."""
    found = _decoders.get(kind)
    if found is None:
        with _first_uses:
            found = _decoders.setdefault(kind, msgspec.json.Decoder(kind))
    return found


def decode(text: bytes | bytearray | memoryview | str | msgspec.Raw, kind: type[_T]) -> _T:
    """Decode JSON. Raises msgspec.DecodeError, and ValidationError if the JSON does not fit the type."""
    return decoder(kind).decode(text)


def convert(value: object, kind: type[_T], *, strict: bool = True) -> _T:
    """``msgspec.convert``. Raises msgspec.ValidationError."""
    decoder(kind)
    return msgspec.convert(value, kind, strict=strict)

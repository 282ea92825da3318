"""JSON to types. What a type means to msgspec is found out at its first use, and two first uses at once crash it.

So all decoding into types goes through here, where first uses come one after the other. Seen with msgspec 0.22: a
segmentation fault, wherever two threads decode the same struct, or two that share a field's, for the first time.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

from replicate_job.forks import on_fork

_T = TypeVar("_T")

_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_first_uses = threading.RLock()


@on_fork
def _renew() -> None:
    """A fork may have copied a lock that is never released."""
    global _first_uses  # noqa: PLW0603 - of the process, as it is
    _first_uses = threading.RLock()


def decoder(kind: type[_T]) -> msgspec.json.Decoder[_T]:
    """The decoder of a type; always the same one."""
    found = _decoders.get(kind)
    if found is None:
        with _first_uses:
            found = _decoders.setdefault(kind, msgspec.json.Decoder(kind))
    return found


def decode(text: bytes | bytearray | memoryview | str | msgspec.Raw, kind: type[_T]) -> _T:
    """The value of JSON. Raises msgspec.DecodeError, and ValidationError for JSON of another type."""
    return decoder(kind).decode(text)


def convert(value: object, kind: type[_T], *, strict: bool = True) -> _T:
    """``msgspec.convert``. Raises msgspec.ValidationError."""
    decoder(kind)
    return msgspec.convert(value, kind, strict=strict)

"""The OpenAPI documents of model versions, kept on disk: a version never changes, so its schema is asked for once."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec


def load_schema(cache: Path, version: str) -> dict[str, Any] | None:
    """The schema kept for this version id, None where there is none that can be read."""
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = msgspec.json.decode(_path(cache, version).read_bytes())
        return found if isinstance(found, dict) else None
    return None


def keep_schema(cache: Path, version: str, schema: dict[str, Any]) -> None:
    """Keep it for next time. A folder that cannot be written costs a request, not the job."""
    path = _path(cache, version)
    part = path.with_suffix(f".{os.getpid()}.part")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(msgspec.json.encode(schema))
        part.replace(path)


def _path(cache: Path, version: str) -> Path:
    # Ids come from an API's answer: anything but letters and digits never becomes part of a path.
    return cache / "schemas" / ("".join(filter(str.isalnum, version))[:64] + ".json")

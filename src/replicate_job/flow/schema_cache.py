"""The OpenAPI documents of model versions, kept on disk: a version never changes, so its schema is asked for once.

What answers on this machine may be a stand-in, whose schema for a real version's id is its own: of that nothing is
kept. What another API than Replicate answered is read back for that API alone.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from replicate_job.flow.context import Context
from replicate_job.http import is_loopback


def load_schema(context: Context, version: str) -> dict[str, Any] | None:
    """The schema kept for this version id, None where there is none that can be read."""
    path = _path(context, version)
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = msgspec.json.decode(path.read_bytes()) if path else None
        return found if isinstance(found, dict) else None
    return None


def keep_schema(context: Context, version: str, schema: dict[str, Any]) -> None:
    """Keep it for next time. A folder that cannot be written costs a request, not the job."""
    path = _path(context, version)
    if path is None:
        return
    part = path.with_suffix(f".{os.getpid()}.part")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(msgspec.json.encode(schema))
        part.replace(path)


def old_schemas(cache: Path, before: float) -> list[Path]:
    """Files of schemas that were kept before that Unix time."""
    found = []
    for path in (cache / "schemas").glob("**/*.json"):
        with suppress(OSError):
            if path.stat().st_mtime < before:
                found.append(path)
    return found


def _path(context: Context, version: str) -> Path | None:
    if context.ephemeral or is_loopback(urlsplit(context.client.base_url).hostname):
        return None
    api = hashlib.sha256(context.client.base_url.encode()).hexdigest()[:16]
    # Ids come from an API's answer: anything but letters and digits never becomes part of a path.
    return context.cache / "schemas" / api / ("".join(filter(str.isalnum, version))[:64] + ".json")

"""A disk cache for the schemas of model versions. A version never changes, so its schema is requested one time.

Schemas from an API on this machine are not cached: such an API may serve a stand-in's schema under a real version's id.
Each API has its own part of the cache.
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
    """The cached schema of this version id. None if it is missing or cannot be read."""
    path = _path(context, version)
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = msgspec.json.decode(path.read_bytes()) if path else None
        return found if isinstance(found, dict) else None
    return None


def keep_schema(context: Context, version: str, schema: dict[str, Any]) -> None:
    """Cache the schema. If the folder cannot be written, the next call requests the schema again."""
    path = _path(context, version)
    if path is None:
        return
    part = path.with_suffix(f".{os.getpid()}.part")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(msgspec.json.encode(schema))
        part.replace(path)


def old_schemas(cache: Path, before: float) -> list[Path]:
    """Files of schemas that were cached before this Unix time."""
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
    # The id comes from an API response. Only its letters and digits become part of the path.
    return context.cache / "schemas" / api / ("".join(filter(str.isalnum, version))[:64] + ".json")

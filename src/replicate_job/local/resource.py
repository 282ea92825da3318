"""The JSON bodies of Replicate's API for what this server knows."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.local.predictions import Ended, Logged, Produced
from replicate_job.local.venv import COG

if TYPE_CHECKING:
    from replicate_job.local.catalog import Model
    from replicate_job.local.files import File
    from replicate_job.local.predictions import Event, Prediction

_LINE = re.compile(r"\r\n|\n|\r")
_KEPT = 24 * 3600.0  # seconds that an upload says it is kept for; it stays until the server ends


def prediction_body(prediction: Prediction, base_url: str) -> dict[str, Any]:
    own = f"{base_url}/v1/predictions/{prediction.id}"
    body = {
        "id": prediction.id,
        "model": prediction.model,
        "version": prediction.version,
        "input": prediction.input,
        "logs": prediction.logs,
        "output": prediction.output,
        "data_removed": False,
        "error": prediction.error,
        "source": "api",
        "status": prediction.status,
        "created_at": iso(prediction.created_at),
        "urls": {
            "cancel": f"{own}/cancel",
            "get": own,
            "stream": f"{base_url}/stream/{prediction.id}",
            "web": f"{base_url}/p/{prediction.id}",
        },
    }
    times = {name: getattr(prediction, name) for name in ("started_at", "completed_at", "deadline")}
    body |= {name: iso(at) for name, at in times.items() if at is not None}
    return body | ({"metrics": prediction.metrics} if prediction.metrics else {})


def model_body(model: Model, document: dict[str, Any], base_url: str) -> dict[str, Any]:
    return {
        "url": f"{base_url}/{model.slug}",
        "owner": model.owner,
        "name": model.name,
        "description": model.description or None,
        "visibility": "public",
        "is_official": model.is_official,
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "run_count": 0,
        "cover_image_url": None,
        "default_example": None,
        "latest_version": version_body(model, document),
    }


def version_body(model: Model, document: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": model.version,
        "created_at": iso(model.created_at),
        "cog_version": COG.partition("==")[2],
        "openapi_schema": document,
    }


def file_body(file: File, url: str) -> dict[str, Any]:
    return {
        "id": file.id,
        "name": file.name,
        "content_type": file.content_type,
        "size": file.size,
        "checksums": {"sha256": file.sha256},
        "metadata": file.metadata,
        "created_at": iso(file.created_at),
        "expires_at": iso(file.created_at + _KEPT),
        "urls": {"get": url},
    }


def stream_event(event: Event, id: str) -> bytes | None:  # noqa: A002 - the field's own name
    """An event in the dialect of the API's streams; None for those that it does not have. ``done`` bears no id."""
    match event:
        case Produced():
            value = event.value
            return _sse("output", value if isinstance(value, str) else msgspec.json.encode(value).decode(), id)
        case Logged():
            return _sse("logs", event.text, id)
        case Ended(status="failed"):
            detail = msgspec.json.encode({"detail": event.error}).decode()
            return _sse("error", detail) + _sse("done", '{"reason":"error"}')
        case Ended(status="succeeded"):
            return _sse("done", "{}")
        case Ended():
            return _sse("done", '{"reason":"canceled"}')
    return None


def _sse(kind: str, data: str, id: str = "") -> bytes:  # noqa: A002 - the field's own name
    lines = [f"event: {kind}", *([f"id: {id}"] if id else []), *(f"data: {line}" for line in _LINE.split(data))]
    return ("\n".join(lines) + "\n\n").encode()


def iso(at: float) -> str:
    """A Unix time as the API writes times."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

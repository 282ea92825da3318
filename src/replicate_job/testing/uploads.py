"""``/v1/files``: what a client uploads, kept until it expires."""

from __future__ import annotations

import hashlib
import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException

from replicate_job.testing.answers import RefusedError, invalid, problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request as HTTPRequest


class Upload(msgspec.Struct, frozen=True):
    """An uploaded file as it came. ``created`` and ``expires`` are Unix times."""

    id: str
    name: str
    content_type: str
    content: bytes
    metadata: dict[str, Any]
    created: float
    expires: float

    def describe(self, origin: str) -> dict[str, Any]:
        """The file object."""
        return {
            "id": self.id,
            "name": self.name,
            "content_type": self.content_type,
            "size": len(self.content),
            "etag": hashlib.md5(self.content, usedforsecurity=False).hexdigest(),
            "checksums": {"sha256": hashlib.sha256(self.content).hexdigest()},
            "metadata": self.metadata,
            "created_at": datetime.fromtimestamp(self.created, UTC).isoformat(),
            "expires_at": datetime.fromtimestamp(self.expires, UTC).isoformat(),
            "urls": {"get": f"{origin}/v1/files/{self.id}"},
        }


class Uploads:
    """``keep`` is the seconds until a file expires, ``limit`` its most bytes."""

    def __init__(self, keep: float = 24 * 3600, limit: int = 100 * 1024 * 1024) -> None:
        self.keep, self.limit = keep, limit
        self.files: dict[str, Upload] = {}

    def live(self) -> Mapping[str, Upload]:
        now = time.time()
        return {key: upload for key, upload in self.files.items() if now < upload.expires}

    async def receive(self, request: HTTPRequest) -> Upload:
        """Raises RefusedError with 400, 413 or 422."""
        try:
            async with request.form() as form:
                content, metadata = form.get("content"), form.get("metadata", "{}")
                if not isinstance(content, UploadFile):
                    raise RefusedError(invalid("content is required", field="content", kind="required"))
                held = await content.read()
                about = await metadata.read() if isinstance(metadata, UploadFile) else metadata
        except MultiPartException as error:
            raise RefusedError(problem(400, error.message, "Bad request")) from None
        if len(held) > self.limit:
            raise RefusedError(problem(413, "Files must be less than 100MB in size"))
        now, kind = time.time(), content.content_type or "application/octet-stream"
        upload = Upload(
            secrets.token_hex(13), content.filename or "", kind, held, _metadata(about), now, now + self.keep
        )
        self.files[upload.id] = upload
        return upload


def _metadata(text: str | bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        raise RefusedError(invalid("metadata must be JSON", field="metadata", kind="invalid_type")) from None

"""The files that clients upload, until they expire."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.serving.resource import file_body
from replicate_job.serving.upload import LARGEST, read_upload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request as HTTPRequest


class UploadedFile(msgspec.Struct, frozen=True):
    """An uploaded file as it was sent. ``created`` and ``expires`` are Unix times."""

    id: str
    name: str
    content_type: str
    content: bytes
    metadata: dict[str, Any]
    created: float
    expires: float

    def describe(self, origin: str) -> dict[str, Any]:
        """The file object."""
        return file_body(
            id=self.id,
            name=self.name,
            content_type=self.content_type,
            size=len(self.content),
            sha256=hashlib.sha256(self.content).hexdigest(),
            md5=hashlib.md5(self.content, usedforsecurity=False).hexdigest(),
            metadata=self.metadata,
            created_at=self.created,
            expires_at=self.expires,
            api=origin,
        )


class ScriptedUploads:
    """The uploaded files. ``lifetime`` is in seconds, and ``limit`` is the most bytes of a file."""

    def __init__(self, lifetime: float = 24 * 3600, limit: int = LARGEST) -> None:
        self.lifetime, self.limit = lifetime, limit
        self.files: dict[str, UploadedFile] = {}

    def live(self) -> Mapping[str, UploadedFile]:
        now = time.time()
        return {key: upload for key, upload in self.files.items() if now < upload.expires}

    async def receive(self, request: HTTPRequest) -> UploadedFile:
        """Store the file of an upload request. Raises RefusedError with 400, 413 or 422."""
        form, now = await read_upload(request, self.limit), time.time()
        upload = UploadedFile(
            secrets.token_hex(13), form.name, form.content_type, form.content, form.metadata, now, now + self.lifetime
        )
        self.files[upload.id] = upload
        return upload

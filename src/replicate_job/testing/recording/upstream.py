"""The servers to which a recorder forwards requests: the API, with the token, and the hosts of files, without it."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from pyreqwest.multipart import FormBuilder, PartBuilder

from replicate_job.api.transport import Response, Transport
from replicate_job.errors import RecordingError
from replicate_job.outputs.http import HttpFetch
from replicate_job.outputs.reach import Reach
from replicate_job.settings import TOKEN, TOKEN_ADVICE
from replicate_job.version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from replicate_job.serving.upload import FileForm
    from replicate_job.settings import Settings

Answered = Response
"""A response of the API. The recorder uses this name, because it must not import the transport."""
_TIMEOUT = 120.0
"""Seconds until a request times out. A blocking wait takes at most 60."""
_UPLOAD = 600.0


class Upstream:
    """The connections of a recorder.

    ``transport`` sends requests to the API, with the token. ``fetch`` downloads files, without the token, and checks
    their hosts as this package's downloads do.
    """

    def __init__(self, transport: Transport, fetch: HttpFetch) -> None:
        self.transport, self.fetch = transport, fetch

    async def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Response:
        """Send a request to the API. ``path`` begins with ``/v1``. Raises TransportError."""
        return await self.transport.send(
            method, path.removeprefix("/v1"), timeout=_TIMEOUT, body=body, headers=dict(headers)
        )

    async def upload(self, path: str, file: FileForm) -> Response:
        part = PartBuilder.from_bytes(file.content).file_name(file.name).mime(file.content_type)
        form = FormBuilder().part("content", part)
        if file.metadata:
            metadata = PartBuilder.from_text(msgspec.json.encode(file.metadata).decode()).mime("application/json")
            form = form.part("metadata", metadata)
        return await self.transport.send("POST", path.removeprefix("/v1"), timeout=_UPLOAD, form=form)

    async def ask(self, path: str) -> tuple[int, Any]:
        """Send a GET for the recorder itself. Returns the status, and the JSON if the status is 200."""
        response = await self.transport.send("GET", path.removeprefix("/v1"), timeout=_TIMEOUT)
        return response.status, msgspec.json.decode(response.body) if response.status == 200 else None  # noqa: PLR2004


@asynccontextmanager
async def open_upstream(settings: Settings) -> AsyncIterator[Upstream]:
    """Open the connections. Raises RecordingError without a token, and JobError for an invalid base URL."""
    if not settings.token:
        raise RecordingError(f"{TOKEN} is not set, and recording asks the real API: {TOKEN_ADVICE}")
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(
            Transport(
                settings.base_url,
                settings.token,
                user_agent=f"replicate-job/{__version__} (recording)",
                headers=settings.headers,
            )
        )
        reach = Reach(transport.base_url, allow_private=settings.allow_private_outputs)
        fetch = await stack.enter_async_context(HttpFetch(reach))
        yield Upstream(transport, fetch)

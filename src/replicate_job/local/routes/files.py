"""``/v1/files``, and the paths of file contents, which need no token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.local.files.download import file_response
from replicate_job.serving.answer import ANY_ORIGIN, DELETED, NO_FILE, Answer, json_answer
from replicate_job.serving.page import page_answer
from replicate_job.serving.resource import file_body
from replicate_job.serving.route import or_refuse, origin, route
from replicate_job.serving.upload import read_upload

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

    from replicate_job.local.files.file_store import StoredFile
    from replicate_job.local.parts import Parts


class FileRoutes:
    def __init__(self, parts: Parts) -> None:
        self._files, self._uploads, self._outputs = parts.files, parts.files.uploads, parts.files.outputs

    def routes(self) -> list[BaseRoute]:
        return [
            route("/v1/files", get=self.all, post=self.upload),
            route("/v1/files/{id}", get=self.get, delete=self.delete),
            route("/v1/files/{id}/download", get=self.download),
            route("/files/{id}/{name}", get=self.content),
            route("/inputs/{id}/{name}", get=self.input),
            route("/outputs/{id}/{name}", get=self.output),
        ]

    async def all(self, request: Request) -> Answer:
        here = origin(request)
        page = await self._uploads.page(request.query_params.get("cursor"))
        bodies = [msgspec.json.encode(_body(file, here)) for file in page.items]
        return await page_answer(bodies, page, f"{here}/v1/files")

    async def upload(self, request: Request) -> Answer:
        form = await read_upload(request)
        file = await self._uploads.add(form.content, form.name, form.content_type, form.metadata)
        return json_answer(_body(file, origin(request)), 201)

    async def get(self, request: Request) -> Answer:
        return json_answer(_body(self._upload(request), origin(request)))

    async def delete(self, request: Request) -> Answer:
        await self._uploads.remove(self._upload(request).id)
        return DELETED

    async def download(self, request: Request) -> ASGIApp:
        query = [request.query_params.get(name, "") for name in ("owner", "expiry", "signature")]
        return file_response(or_refuse(self._uploads.download(request.path_params["id"], *query), NO_FILE))

    async def content(self, request: Request) -> ASGIApp:
        return file_response(self._upload(request))

    async def input(self, request: Request) -> ASGIApp:
        return file_response(or_refuse(self._files.get_input(request.path_params["id"], request.path_params["name"])))

    async def output(self, request: Request) -> ASGIApp:
        file = or_refuse(self._outputs.get(request.path_params["id"], request.path_params["name"]))
        return file_response(file, ANY_ORIGIN)

    def _upload(self, request: Request) -> StoredFile:
        return or_refuse(self._uploads.get(request.path_params["id"]), NO_FILE)


def _body(file: StoredFile, here: str) -> dict[str, Any]:
    return file_body(
        id=file.id,
        name=file.name,
        content_type=file.content_type,
        size=file.size,
        sha256=file.sha256,
        md5=file.md5,
        metadata=file.metadata,
        created_at=file.created_at,
        expires_at=file.expires_at or file.created_at,  # uploads always have an expiry
        api=here,
    )

"""Replicate's HTTP API over predictions, models and files: thin routes, no state of their own."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from replicate_job.errors import JobError, LocalError
from replicate_job.local.guard import Guard
from replicate_job.local.headers import read_cancel_after, read_prefer, read_time
from replicate_job.local.page import routes as page_routes
from replicate_job.local.problem import Refusal, check_input, field, invalid, not_found
from replicate_job.local.resource import file_body, model_body, prediction_body, stream_event, version_body
from replicate_job.wire.target import parse_target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from replicate_job.local.catalog import Catalog, Model
    from replicate_job.local.engine import Engine
    from replicate_job.local.files import File, Files
    from replicate_job.local.predictions import Prediction, Predictions

_BODY = {"input", "version", "webhook", "webhook_events_filter", "stream"}
_LARGEST_FILE = 100_000_000
_ACTIVE = {"text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "application/xml"}


Thing = TypeVar("Thing")


class App:
    """The ASGI app is ``App(...).asgi()``. ``base_url`` is where clients reach it, without a slash at its end."""

    def __init__(
        self, *, base_url: str, catalog: Catalog, engine: Engine, predictions: Predictions, files: Files
    ) -> None:
        self._base_url, self._catalog, self._engine = base_url, catalog, engine
        self._predictions, self._files = predictions, files

    def asgi(self) -> Guard:
        """The routes behind the check of who asks."""
        prediction, model = "/v1/predictions/{id}", "/v1/models/{owner}/{name}"
        routes = [
            Route("/v1/account", self.account),
            Route("/v1/predictions", self.create, methods=["POST"]),
            Route("/v1/predictions", self.list),
            Route(prediction, self.get),
            Route(f"{prediction}/cancel", self.cancel, methods=["POST"]),
            Route("/stream/{id}", self.stream),
            Route("/v1/models", self.models),
            Route(model, self.model),
            Route(f"{model}/versions/{{version}}", self.version),
            Route(f"{model}/predictions", self.create_official, methods=["POST"]),
            Route("/v1/files", self.upload, methods=["POST"]),
            Route("/v1/files/{id}", self.upload_facts),
            Route("/files/{id}/{name}", self.upload_content),
            Route("/outputs/{id}/{name}", self.output),
            *page_routes(),
        ]
        handlers: dict[Any, Any] = {Refusal: _refuse, LocalError: _unusable, 404: _missing, 405: _missing}
        return Guard(Starlette(routes=routes, exception_handlers=handlers))

    async def account(self, _: Request) -> Response:
        return _json({"type": "user", "username": "local", "name": "This machine"})

    async def create(self, request: Request) -> Response:
        body = await _read_body(request)
        named = body.get("version")
        if not isinstance(named, str):
            raise invalid([field("input", "required", "version is required")])
        return await self._create(request, self._runnable(named), body)

    async def create_official(self, request: Request) -> Response:
        model = self._model(request)
        if not model.is_official:
            raise not_found()
        return await self._create(request, model, await _read_body(request))

    def _runnable(self, named: str) -> Model:
        """A version, alone or after its model's name, or an official model."""
        try:
            target = parse_target(named)
        except JobError:
            target = None
        if target and target.kind == "version":
            model = self._catalog.version(target.version)
            if model and target.slug in {"", model.slug}:
                return model
        elif target and target.kind == "model":
            model = self._catalog.find(target.owner, target.name)
            if model and model.is_official:
                return model
            raise not_found()
        detail = "The specified version does not exist (or perhaps you don't have permission to use it?)"
        raise Refusal(422, detail, "Invalid version or not permitted")

    async def _create(self, request: Request, model: Model, body: dict[str, Any]) -> Response:
        given = body.get("input")
        if not isinstance(given, dict):
            raise invalid([field("input", "required", "input is required")])
        headers = request.headers
        hold, life = read_prefer(headers.get("prefer", "")), read_cancel_after(headers.get("cancel-after"))
        check_input(given, await self._engine.schema(model))
        prediction = self._predictions.create(
            partial(self._engine.run, model, given),
            model=model.slug,
            version=model.version,
            input=given,
            cancel_after=life,
        )
        held = hold is not None and not await self._predictions.wait(prediction, hold)
        location = {"location": f"{self._base_url}/v1/predictions/{prediction.id}"}
        return _json(prediction_body(prediction, self._base_url), 202 if held else 201, location)

    async def list(self, request: Request) -> Response:
        query = request.query_params
        times = {
            name: read_time(name, text) for name in ("created_after", "created_before") if (text := query.get(name))
        }
        try:
            page = self._predictions.page(query.get("cursor"), times.get("created_after"), times.get("created_before"))
        except ValueError:
            raise Refusal(400, "Invalid cursor") from None
        kept = {name: query[name] for name in times}

        def link(cursor: str | None) -> str | None:
            return cursor and f"{self._base_url}/v1/predictions?{urlencode({**kept, 'cursor': cursor})}"

        results = [prediction_body(prediction, self._base_url) for prediction in page.predictions]
        return _json({"previous": link(page.previous), "next": link(page.next), "results": results})

    async def get(self, request: Request) -> Response:
        return _json(prediction_body(self._prediction(request), self._base_url))

    async def cancel(self, request: Request) -> Response:
        prediction = self._prediction(request)
        self._predictions.cancel(prediction)
        return _json(prediction_body(prediction, self._base_url))

    async def stream(self, request: Request) -> Response:
        prediction = self._prediction(request)
        last = request.headers.get("last-event-id", "").rpartition(":")[2]
        start = int(last) + 1 if last.isdecimal() else 0
        return StreamingResponse(
            self._stream(prediction, start), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    async def _stream(self, prediction: Prediction, start: int) -> AsyncIterator[bytes]:
        yield b": this machine\n\n"
        async for position, event in self._predictions.events(prediction, start):
            if encoded := stream_event(event, f"{int(prediction.created_at)}:{position}"):
                yield encoded

    async def models(self, _: Request) -> Response:
        bodies = [
            model_body(model, await self._engine.schema(model), self._base_url) for model in self._catalog.models()
        ]
        return _json({"previous": None, "next": None, "results": bodies})

    async def model(self, request: Request) -> Response:
        model = self._model(request)
        return _json(model_body(model, await self._engine.schema(model), self._base_url))

    async def version(self, request: Request) -> Response:
        model = self._model(request)
        if model.version != request.path_params["version"]:
            raise not_found()
        return _json(version_body(model, await self._engine.schema(model)))

    async def upload(self, request: Request) -> Response:
        try:
            async with request.form() as form:
                content, metadata = form.get("content"), form.get("metadata", "{}")
                if not isinstance(content, UploadFile):
                    raise Refusal(400, "Missing content")
                if (content.size or 0) > _LARGEST_FILE:
                    raise Refusal(413, "Files must be less than 100MB in size")
                text = await metadata.read() if isinstance(metadata, UploadFile) else metadata.encode()
                facts = msgspec.json.decode(text, type=dict[str, Any])
                kind = content.content_type or "application/octet-stream"
                file = await self._files.upload(await content.read(), content.filename or "file", kind, facts)
        except MultiPartException as error:
            raise Refusal(400, error.message) from None
        except msgspec.DecodeError:
            raise Refusal(400, "metadata must be a JSON object") from None
        return _json(file_body(file, self._files.upload_url(file)), 201)

    async def upload_facts(self, request: Request) -> Response:
        file = _found(self._files.get_upload(request.path_params["id"]))
        return _json(file_body(file, self._files.upload_url(file)))

    async def upload_content(self, request: Request) -> Response:
        return _file(_found(self._files.get_upload(request.path_params["id"])))

    async def output(self, request: Request) -> Response:
        return _file(_found(self._files.get_output(request.path_params["id"], request.path_params["name"])))

    def _prediction(self, request: Request) -> Prediction:
        return _found(self._predictions.get(request.path_params["id"]))

    def _model(self, request: Request) -> Model:
        return _found(self._catalog.find(request.path_params["owner"], request.path_params["name"]))


def _found(thing: Thing | None) -> Thing:
    if thing is None:
        raise not_found()
    return thing


async def _read_body(request: Request) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(await request.body(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Refusal(400, f"The request body is not a JSON object: {error}", "Invalid JSON") from None
    unknown = [name for name in body if name not in _BODY]
    if unknown:
        kind = "additional_property_not_allowed"
        raise invalid([field("input", kind, f"Additional property {name} is not allowed") for name in unknown])
    return body


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, "application/json")


def _file(file: File) -> Response:
    """With its type, length and ranges; what a browser would run as a page is a download."""
    disposition = "attachment" if file.content_type in _ACTIVE else "inline"
    return FileResponse(
        file.path,
        media_type=file.content_type,
        filename=file.name,
        content_disposition_type=disposition,
        headers={"x-content-type-options": "nosniff"},
    )


async def _refuse(_: Request, refusal: Exception) -> Response:
    # Starlette finds a handler by the exception's class, and types it as any.
    assert isinstance(refusal, Refusal)  # noqa: S101
    plain = "application/json" if refusal.status == HTTPStatus.NOT_FOUND else "application/problem+json"
    return Response(msgspec.json.encode(refusal.body), refusal.status, media_type=plain)


async def _missing(request: Request, _: Exception) -> Response:
    return await _refuse(request, not_found())


async def _unusable(request: Request, error: Exception) -> Response:
    """A model that cannot be made ready is the caller's to mend: a 5xx would read as "try again"."""
    return await _refuse(request, Refusal(422, str(error), "The model cannot be run"))

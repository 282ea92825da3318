"""``/v1/predictions`` and the three ways to create one, and ``/stream``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
from starlette.responses import StreamingResponse

from replicate_job.errors import JobError
from replicate_job.local.prediction import Call
from replicate_job.local.routes.endpoint import BAD_CURSOR, found, origin, path, read_object
from replicate_job.local.routes.inline import inline, takes_no_http
from replicate_job.local.stream import replay, stream, unhurried
from replicate_job.local.webhooks import BY_DEFAULT, EVENTS, is_receiver
from replicate_job.serving.answer import (
    NO_VERSION,
    NOT_FOUND,
    Answer,
    InvalidField,
    RefusedError,
    additional,
    invalid,
    json_answer,
    problem,
    required,
)
from replicate_job.serving.headers import read_cancel_after, read_prefer, read_time
from replicate_job.wire.target import parse_target

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

    from replicate_job.local.app import Parts
    from replicate_job.local.catalog.catalog import Model
    from replicate_job.local.prediction import Prediction

_FIELDS = {"input", "webhook", "webhook_events_filter", "stream"}


class PredictionRoutes:
    def __init__(self, parts: Parts) -> None:
        self._parts, self._predictions = parts, parts.predictions

    def routes(self) -> list[BaseRoute]:
        one = "/v1/predictions/{id}"
        return [
            path("/v1/predictions", get=self.all, post=self.create),
            path(one, get=self.get),
            path(f"{one}/cancel", post=self.cancel),
            path("/v1/models/{owner}/{name}/predictions", post=self.create_official),
            path("/v1/deployments/{owner}/{name}/predictions", post=self.create_deployed),
            path("/stream/{id}", get=self.stream),
        ]

    async def create(self, request: Request) -> Answer:
        body = await read_body(request, "version")
        named = body.get("version")
        if not isinstance(named, str):
            raise RefusedError(invalid(required("version")))
        model, version = self._runnable(named)
        return await self._create(request, body, model, version)

    async def create_official(self, request: Request) -> Answer:
        model = self._parts.catalog.find(request.path_params["owner"], request.path_params["name"])
        if model is None or not model.is_official:
            raise RefusedError(NOT_FOUND)
        return await self._create(request, await read_body(request), model, "hidden")

    async def create_deployed(self, request: Request) -> Answer:
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        version = found(self._parts.deployments.get(name)).version
        model = self._parts.catalog.version(version)
        if model is None:
            raise RefusedError(NO_VERSION)
        return await self._create(request, await read_body(request), model, version, name)

    def _runnable(self, named: str) -> tuple[Model, str]:
        """A version, alone or after its model's name, or an official model; with the version that is shown."""
        try:
            target = parse_target(named)
        except JobError:
            raise RefusedError(NO_VERSION) from None
        if target.kind == "model":
            model = self._parts.catalog.find(target.owner, target.name)
            if model and model.is_official:
                return model, "hidden"
            raise RefusedError(NOT_FOUND)
        model = self._parts.catalog.version(target.version) if target.kind == "version" else None
        if model is None or target.slug not in {"", model.slug}:
            raise RefusedError(NO_VERSION)
        return model, target.version

    async def _create(
        self, request: Request, body: dict[str, Any], model: Model, version: str, name: str = ""
    ) -> Answer:
        given = read_input(body)
        headers = request.headers
        hold, life = read_prefer(headers.get("prefer", "")), read_cancel_after(headers.get("cancel-after"))
        webhook, events = read_webhook(body)
        await self._parts.engine.check(model, given)
        call = Call(model.slug, version, given, name, life, webhook, events)
        prediction = self._predictions.create(call, partial(self._parts.engine.run, model, given))
        if webhook:
            self._notify(prediction)
        waiting = hold is not None and not await self._predictions.wait(prediction, hold)
        location = f"{origin(request)}/v1/predictions/{prediction.id}"
        return await self._shown(request, prediction.id, 202 if waiting else 201, ("location", location))

    def _notify(self, prediction: Prediction) -> None:
        call, here = prediction.call, self._parts.base_url

        def body() -> bytes:
            return self._predictions.body(prediction.id, here) or b""

        self._parts.webhooks.watch(self._predictions.events(prediction), body, call.webhook, call.webhook_events)

    async def _shown(
        self,
        request: Request,
        id: str,  # noqa: A002 - the API's own name
        status: int = 200,
        *headers: tuple[str, str],
    ) -> Answer:
        here = origin(request)
        body = found(self._predictions.body(id, here))
        if takes_no_http(request.headers.get("user-agent", "")):
            body = await inline(body, here, self._parts.files.outputs)
        return Answer(status, body, headers=headers)

    async def all(self, request: Request) -> Answer:
        query, here = request.query_params, origin(request)
        times = {
            name: read_time(name, text) for name in ("created_after", "created_before") if (text := query.get(name))
        }
        if query.get("source") not in {None, "web"}:
            raise RefusedError(problem(400, "source must be web", "Bad request"))
        try:
            page = self._predictions.page(
                here, query.get("cursor"), times.get("created_after"), times.get("created_before")
            )
        except ValueError:
            raise RefusedError(BAD_CURSOR) from None
        if query.get("source"):  # all are made through the API, also those of the page
            return json_answer({"previous": None, "next": None, "results": []})
        kept = {name: query[name] for name in times}

        def link(cursor: str | None) -> str | None:
            return cursor and f"{here}/v1/predictions?{urlencode({**kept, 'cursor': cursor})}"

        results = list(map(msgspec.Raw, page.bodies))
        return json_answer({"previous": link(page.previous), "next": link(page.next), "results": results})

    async def get(self, request: Request) -> Answer:
        return await self._shown(request, request.path_params["id"])

    async def cancel(self, request: Request) -> Answer:
        self._predictions.cancel(request.path_params["id"])
        return await self._shown(request, request.path_params["id"])

    async def stream(self, request: Request) -> ASGIApp:
        id, here = request.path_params["id"], origin(request)  # noqa: A001 - the API's own name
        last = request.headers.get("last-event-id", "")
        if prediction := self._predictions.get(id):
            events = stream(self._predictions, prediction, last, here)
        else:
            events = replay(found(self._predictions.body(id, here)), last)
        headers = {"cache-control": "no-store"}
        return StreamingResponse(unhurried(events), media_type="text/event-stream", headers=headers)


async def read_body(request: Request, *more: str) -> dict[str, Any]:
    """Raises RefusedError, also for fields that no create has."""
    body = await read_object(request)
    if unknown := sorted(body.keys() - _FIELDS - set(more)):
        raise RefusedError(invalid(*map(additional, unknown)))
    return body


def read_input(body: dict[str, Any]) -> dict[str, Any]:
    """The ``input`` of a create. Raises RefusedError."""
    given = body.get("input")
    if given is None:
        raise RefusedError(invalid(required("input")))
    if not isinstance(given, dict):
        raise RefusedError(invalid(InvalidField("invalid_type", "input", "Invalid type. Expected: object")))
    return given


def read_webhook(body: dict[str, Any]) -> tuple[str, frozenset[str]]:
    """Its address, empty for none, and the events that it hears of. Raises RefusedError."""
    url, events = body.get("webhook"), body.get("webhook_events_filter")
    if url is not None and (not isinstance(url, str) or not is_receiver(url)):
        raise RefusedError(invalid(InvalidField("format", "webhook", "Does not match format 'uri'")))
    known = tuple(EVENTS)  # no set: what was sent may be a list, which has no hash
    if events is not None and (not isinstance(events, list) or not all(event in known for event in events)):
        fault = f"must be a list of the following: {', '.join(sorted(EVENTS))}"
        raise RefusedError(invalid(InvalidField("enum", "webhook_events_filter", fault)))
    return url or "", BY_DEFAULT if events is None else frozenset(events)

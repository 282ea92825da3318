"""``/v1/predictions``, the three paths that create a prediction, and ``/stream``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

from replicate_job.local.prediction import PredictionRequest
from replicate_job.local.routes.inline import inline, takes_no_http
from replicate_job.local.stream import paced, replay, stream
from replicate_job.serving.answer import ANY_ORIGIN, NO_VERSION, NOT_FOUND, Answer, RefusedError, json_answer, problem
from replicate_job.serving.body import read_bytes
from replicate_job.serving.creation import read_creation, read_version
from replicate_job.serving.headers import preference_applied, read_cancel_after, read_prefer, read_times
from replicate_job.serving.page import page_answer
from replicate_job.serving.resource import page_body
from replicate_job.serving.route import or_refuse, origin, route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

    from replicate_job.local.catalog.model import LocalModel
    from replicate_job.local.parts import Parts
    from replicate_job.local.prediction import LocalPrediction
    from replicate_job.serving.creation import Creation


class PredictionRoutes:
    def __init__(self, parts: Parts) -> None:
        self._parts, self._predictions = parts, parts.predictions

    def routes(self) -> list[BaseRoute]:
        prediction = "/v1/predictions/{id}"
        return [
            route("/v1/predictions", get=self.all, post=self.create),
            route(prediction, get=self.get, delete=self.delete),
            route(f"{prediction}/cancel", post=self.cancel),
            route("/v1/models/{owner}/{name}/predictions", post=self.create_official),
            route("/v1/deployments/{owner}/{name}/predictions", post=self.create_deployed),
            route("/stream/{id}", get=self.stream),
        ]

    async def create(self, request: Request) -> Answer:
        creation = await _read(request, names_version=True)
        model, version = await self._named(creation.version)
        return await self._create(request, creation, model, version)

    async def create_official(self, request: Request) -> Answer:
        model = await self._official(request.path_params["owner"], request.path_params["name"])
        return await self._create(request, await _read(request), model, model.version)

    async def create_deployed(self, request: Request) -> Answer:
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        version = or_refuse(self._parts.deployments.get(name)).version
        model = await self._version(version)
        return await self._create(request, await _read(request), model, version, name)

    async def _named(self, text: str) -> tuple[LocalModel, str]:
        """The model and the version that the field ``version`` names.

        ``text`` is ``VERSION``, ``owner/name:VERSION``, or ``owner/name``. The last form is for official models only,
        and selects the current version.
        """
        target = read_version(text)
        if target.kind == "model":
            model = await self._official(target.owner, target.name)
            return model, model.version
        model = await self._version(target.version)
        if target.slug not in {"", model.slug}:
            raise RefusedError(NO_VERSION)
        return model, target.version

    async def _official(self, owner: str, name: str) -> LocalModel:
        model = or_refuse(await self._parts.catalog.find(owner, name))
        if not model.is_official:
            raise RefusedError(NOT_FOUND)
        return model

    async def _version(self, id: str) -> LocalModel:  # noqa: A002 - the API's own name
        return or_refuse(await self._parts.catalog.version(id), NO_VERSION)

    async def _create(
        self, request: Request, creation: Creation, model: LocalModel, version: str, name: str = ""
    ) -> Answer:
        inputs, headers = creation.input, request.headers
        blocking_wait = read_prefer(headers.get("prefer", ""))
        cancel_after = read_cancel_after(headers.get("cancel-after"))
        await self._parts.engine.check(model, inputs)
        shown_version = "hidden" if model.is_official else version
        prediction = self._predictions.create(
            PredictionRequest(
                model=model.slug,
                version=shown_version,
                input=inputs,
                deployment=name,
                cancel_after=cancel_after,
                webhook=creation.webhook,
                webhook_events=creation.events,
                webhook_events_filter=creation.filter,
                is_example=inputs == model.example,
            ),
            partial(self._parts.engine.run, model, inputs, creation.context),
        )
        if creation.webhook:
            self._send_webhooks(prediction)
        has_ended = blocking_wait is None or await self._predictions.wait(prediction, blocking_wait)
        location = ("location", f"{origin(request)}/v1/predictions/{prediction.id}")
        return await self._answer(
            request, prediction.id, 201 if has_ended else 202, location, *preference_applied(blocking_wait)
        )

    def _send_webhooks(self, prediction: LocalPrediction) -> None:
        receiver, kinds = prediction.request.webhook, prediction.request.webhook_events

        def body() -> bytes:
            return self._predictions.body(prediction.id, self._parts.base_url) or b""

        self._parts.webhooks.watch(self._predictions.events(prediction), body, receiver, kinds)

    async def _answer(
        self,
        request: Request,
        id: str,  # noqa: A002 - the API's own name
        status: int = 200,
        *headers: tuple[str, str],
    ) -> Answer:
        here = origin(request)
        body = or_refuse(self._predictions.body(id, here))
        if takes_no_http(request.headers.get("user-agent", "")):
            body = await inline(body, here, self._parts.files.outputs)
        return Answer(status, body, headers=headers)

    async def all(self, request: Request) -> Answer:
        query, here = request.query_params, origin(request)
        times = read_times(query)
        if query.get("source") not in {None, "web"}:
            raise RefusedError(problem(400, "source must be web", "Bad request"))
        page = await self._predictions.page(here, query.get("cursor"), **times)
        if query.get("source"):  # no prediction has the source "web", because the page also uses the API
            return json_answer(page_body([]))
        return await page_answer(page.items, page, f"{here}/v1/predictions", **{name: query[name] for name in times})

    async def get(self, request: Request) -> Answer:
        return await self._answer(request, request.path_params["id"])

    async def delete(self, request: Request) -> Answer:
        """Delete a prediction that has ended. Replicate's API has no such endpoint."""
        id = request.path_params["id"]  # noqa: A001 - the API's own name
        or_refuse(self._predictions.body(id, ""))
        if (running := self._predictions.get(id)) and not running.is_terminal:
            raise RefusedError(problem(409, "The prediction has not ended yet: cancel it first", "Conflict"))
        self._predictions.delete(id)
        return Answer(204)

    async def cancel(self, request: Request) -> Answer:
        self._predictions.cancel(request.path_params["id"])
        return await self._answer(request, request.path_params["id"])

    async def stream(self, request: Request) -> ASGIApp:
        id, here = request.path_params["id"], origin(request)  # noqa: A001 - the API's own name
        last = request.headers.get("last-event-id", "")
        if prediction := self._predictions.get(id):
            events = stream(self._predictions, prediction, last, here)
        else:
            events = replay(or_refuse(self._predictions.body(id, here)), last)
        headers = {"cache-control": "no-store", **dict(ANY_ORIGIN)}
        return StreamingResponse(paced(events), media_type="text/event-stream", headers=headers)


async def _read(request: Request, *, names_version: bool = False) -> Creation:
    return read_creation(await read_bytes(request), names_version=names_version, takes_context=True)

"""The endpoints of ``/v1`` of the scripted API. Their answers come from the account."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
from starlette.requests import Request as HTTPRequest
from starlette.routing import Router

from replicate_job.serving.answer import (
    DELETED,
    NO_FILE,
    NOT_FOUND,
    UNAUTHENTICATED,
    Answer,
    RefusedError,
    json_answer,
)
from replicate_job.serving.body import read_bytes
from replicate_job.serving.headers import has_token, preference_applied, read_prefer, read_times
from replicate_job.serving.page import page_answer
from replicate_job.serving.resource import page_body
from replicate_job.serving.route import or_refuse, route
from replicate_job.serving.search import read_query, read_search, search_answer
from replicate_job.testing.models import ACCOUNT

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from replicate_job.testing.account import ScriptedAccount
    from replicate_job.testing.predictions import ScriptedPrediction
    from replicate_job.testing.uploads import ScriptedUploads


class Authenticated:
    """An ASGI app that passes requests with the token to ``app``, and answers 401 to all others."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_admitted = has_token(dict(scope["headers"]).get(b"authorization", b""), self._token)
        await (self.app if is_admitted else UNAUTHENTICATED)(scope, receive, send)


class Endpoints:
    """The handlers of all endpoints. Each reads its request, calls the account, and makes the response."""

    def __init__(self, account: ScriptedAccount, uploads: ScriptedUploads) -> None:
        self.account, self.uploads = account, uploads

    def app(self) -> Router:
        model, deployment = "/v1/models/{owner}/{name}", "/v1/deployments/{owner}/{name}"
        # A Router instead of a Starlette app, whose middleware would take longer than the endpoints.
        routes = [
            route("/v1/predictions", get=self.predictions, post=self.create),
            route(f"{model}/predictions", post=self.create_by_model),
            route(f"{deployment}/predictions", post=self.create_by_deployment),
            route("/v1/predictions/{id}", get=self.prediction),
            route("/v1/predictions/{id}/cancel", post=self.cancel),
            route("/v1/models", get=self.models, query=self.query_models),
            route("/v1/search", get=self.search),
            route(model, get=self.model),
            route(f"{model}/readme", get=self.readme),
            route(f"{model}/versions", get=self.versions),
            route(f"{model}/versions/{{id}}", get=self.version),
            route(f"{model}/versions/{{id}}/trainings", post=self.train),
            route("/v1/deployments", get=self.deployments),
            route(deployment, get=self.deployment),
            route("/v1/trainings", get=self.trainings),
            route("/v1/trainings/{id}", get=self.training),
            route("/v1/trainings/{id}/cancel", post=self.cancel_training),
            route("/v1/files", post=self.upload),
            route("/v1/files/{id}", get=self.file, delete=self.delete_file),
            route("/v1/account", get=self.whoami),
        ]
        return Router(routes, default=NOT_FOUND)

    async def create(self, request: HTTPRequest) -> Answer:
        return await self._create(request)

    async def create_by_model(self, request: HTTPRequest) -> Answer:
        return await self._create(request, model=_name(request))

    async def create_by_deployment(self, request: HTTPRequest) -> Answer:
        return await self._create(request, deployment=_name(request))

    async def _create(self, request: HTTPRequest, **called: str) -> Answer:
        recorded = request.scope["replicate_job.request"]
        recorded.body = await read_bytes(request)
        prediction = self.account.create(recorded, **called)
        blocking_wait, now = read_prefer(request.headers.get("prefer", "")), None
        if blocking_wait is not None:
            await prediction.blocking_wait(blocking_wait)
            now = time.time()
        status = 201 if now is None or now >= prediction.ended else 202
        location = ("location", prediction.urls["get"])
        return json_answer(prediction.encode(now), status, location, *preference_applied(blocking_wait))

    async def prediction(self, request: HTTPRequest) -> Answer:
        return json_answer(self._prediction(request).encode())

    async def cancel(self, request: HTTPRequest) -> Answer:
        prediction = self._prediction(request)
        prediction.cancel()
        return json_answer(prediction.encode())

    async def predictions(self, request: HTTPRequest) -> Answer:
        query, now = request.query_params, time.time()
        times = read_times(query)
        page = self.account.page(times.get("created_after"), times.get("created_before"), query.get("cursor"))
        if query.get("source") == "web":
            return json_answer(page_body([]))
        bodies = [bytes(prediction.encode(now)) for prediction in page.items]
        url = f"{self.account.origin}/v1/predictions"
        return await page_answer(bodies, page, url, **{name: query[name] for name in times})

    async def model(self, request: HTTPRequest) -> Answer:
        return json_answer(self.account.model(_name(request)).describe())

    async def models(self, request: HTTPRequest) -> Answer:  # noqa: ARG002 - every handler gets the request
        return json_answer(page_body(self.account.search("")))

    async def query_models(self, request: HTTPRequest) -> Answer:
        return json_answer(page_body(self.account.search(read_query(await read_bytes(request)))))

    async def search(self, request: HTTPRequest) -> Answer:
        words, limit = read_search(request.query_params)
        return search_answer(words, self.account.search(words)[:limit])

    async def readme(self, request: HTTPRequest) -> Answer:
        text = or_refuse(self.account.model(_name(request)).readme or None)
        return Answer(200, text.encode(), "text/plain; charset=utf-8")

    async def versions(self, request: HTTPRequest) -> Answer:
        model = self.account.model(_name(request))
        if model.official:
            raise RefusedError(NOT_FOUND)
        return json_answer(page_body([model.version(version_id) for version_id in model.version_ids]))

    async def version(self, request: HTTPRequest) -> Answer:
        model = self.account.model(_name(request))
        if model.official or request.path_params["id"] not in model.version_ids:
            raise RefusedError(NOT_FOUND)
        return json_answer(model.version(request.path_params["id"]))

    async def deployment(self, request: HTTPRequest) -> Answer:
        return json_answer(self.account.deployment(_name(request)))

    async def deployments(self, request: HTTPRequest) -> Answer:  # noqa: ARG002 - every handler gets the request
        return json_answer(page_body(self.account.describe_deployments()))

    async def trainings(self, request: HTTPRequest) -> Answer:
        page = self.account.page_trainings(request.query_params.get("cursor"))
        bodies = [msgspec.json.encode(self.account.describe_training(training)) for _, training in page.items]
        return await page_answer(bodies, page, f"{self.account.origin}/v1/trainings")

    async def train(self, request: HTTPRequest) -> Answer:
        recorded = request.scope["replicate_job.request"]
        recorded.body = await read_bytes(request)
        training = self.account.train(_name(request), request.path_params["id"], recorded.body)
        return json_answer(self.account.describe_training(training), 201)

    async def training(self, request: HTTPRequest) -> Answer:
        return json_answer(self.account.describe_training(self.account.training(request.path_params["id"])))

    async def cancel_training(self, request: HTTPRequest) -> Answer:
        training = self.account.training(request.path_params["id"])
        training.cancel()
        return json_answer(self.account.describe_training(training))

    async def upload(self, request: HTTPRequest) -> Answer:
        upload = await self.uploads.receive(request)
        return json_answer(upload.describe(self.account.origin), 201)

    async def file(self, request: HTTPRequest) -> Answer:
        upload = or_refuse(self.uploads.live().get(request.path_params["id"]), NO_FILE)
        return json_answer(upload.describe(self.account.origin))

    async def delete_file(self, request: HTTPRequest) -> Answer:
        or_refuse(self.uploads.files.pop(request.path_params["id"], None), NO_FILE)
        return DELETED

    async def whoami(self, request: HTTPRequest) -> Answer:  # noqa: ARG002 - every handler gets the request
        return json_answer(ACCOUNT)

    def _prediction(self, request: HTTPRequest) -> ScriptedPrediction:
        return self.account.get(request.path_params["id"])


def _name(request: HTTPRequest) -> str:
    return f"{request.path_params['owner']}/{request.path_params['name']}"

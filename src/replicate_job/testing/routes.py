"""The endpoints of ``/v1``: thin, the account decides."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.requests import Request as HTTPRequest
from starlette.routing import Route, Router

from replicate_job.serving.answer import DELETED, NOT_FOUND, UNAUTHENTICATED, Answer, RefusedError, json_answer
from replicate_job.serving.headers import read_prefer
from replicate_job.serving.resource import page_body
from replicate_job.testing.models import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from replicate_job.testing.account import Account
    from replicate_job.testing.predictions import ScriptedPrediction
    from replicate_job.testing.uploads import Uploads


class Authenticated:
    """``app`` for who has the token, 401 for everybody else."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self._accepted = {f"{scheme} {token}".encode() for scheme in ("Bearer", "Token")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope["headers"]).get(b"authorization")
        await (self.app if given in self._accepted else UNAUTHENTICATED)(scope, receive, send)


class _Answering:
    """An ASGI app of an endpoint, with what it refuses as an answer too."""

    def __init__(self, endpoint: Callable[[HTTPRequest], Awaitable[Answer]]) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self._endpoint(HTTPRequest(scope, receive))
        except RefusedError as refused:
            answer = refused.answer
        await answer(scope, receive, send)


class Endpoints:
    """Requests in, answers out."""

    def __init__(self, account: Account, uploads: Uploads) -> None:
        self.account, self.uploads = account, uploads

    def app(self) -> Router:
        named = "/{owner}/{name}"
        get, post, delete = ["GET"], ["POST"], ["DELETE"]
        routes: list[tuple[str, list[str], Callable[[HTTPRequest], Awaitable[Answer]]]] = [
            ("/v1/predictions", post, self.create),
            (f"/v1/models{named}/predictions", post, self.create_by_model),
            (f"/v1/deployments{named}/predictions", post, self.create_by_deployment),
            ("/v1/predictions/{id}", get, self.prediction),
            ("/v1/predictions", get, self.predictions),
            ("/v1/predictions/{id}/cancel", post, self.cancel),
            (f"/v1/models{named}", get, self.model),
            (f"/v1/models{named}/versions", get, self.versions),
            (f"/v1/models{named}/versions/{{id}}", get, self.version),
            (f"/v1/deployments{named}", get, self.deployment),
            ("/v1/files", post, self.upload),
            ("/v1/files/{id}", get, self.file),
            ("/v1/files/{id}", delete, self.delete_file),
            ("/v1/account", get, self.whoami),
        ]
        # Not a Starlette: its layers take longer than all that is done here.
        answering = [Route(path, _Answering(endpoint), methods=methods) for path, methods, endpoint in routes]
        return Router(answering, default=NOT_FOUND)

    async def create(self, request: HTTPRequest) -> Answer:
        return await self._create(request)

    async def create_by_model(self, request: HTTPRequest) -> Answer:
        return await self._create(request, model=_name(request))

    async def create_by_deployment(self, request: HTTPRequest) -> Answer:
        return await self._create(request, deployment=_name(request))

    async def _create(self, request: HTTPRequest, **called: str) -> Answer:
        recorded = request.scope["replicate_job.request"]
        recorded.body = await request.body()
        prediction = self.account.create(recorded, **called)
        hold = read_prefer(request.headers.get("prefer", ""))
        if hold is None:
            return json_answer(prediction.encode(), 201)
        await prediction.hold(hold)
        now = time.time()
        return json_answer(prediction.encode(now), 201 if now >= prediction.ended else 202)

    async def prediction(self, request: HTTPRequest) -> Answer:
        return json_answer(self._prediction(request).encode())

    async def cancel(self, request: HTTPRequest) -> Answer:
        prediction = self._prediction(request)
        prediction.cancel()
        return json_answer(prediction.encode())

    async def predictions(self, request: HTTPRequest) -> Answer:
        asked = request.query_params
        after, before = asked.get("created_after"), asked.get("created_before")
        found, cursor = self.account.page(after, before, asked.get("cursor", ""))
        if asked.get("source") == "web":
            found, cursor = [], ""
        now = time.time()
        following = urlencode([*((k, v) for k, v in asked.items() if k != "cursor"), ("cursor", cursor)])
        older = f"{self.account.origin}/v1/predictions?{following}" if cursor else None
        return json_answer(page_body([prediction.encode(now) for prediction in found], next=older))

    async def model(self, request: HTTPRequest) -> Answer:
        return json_answer(self.account.model(_name(request)).describe())

    async def versions(self, request: HTTPRequest) -> Answer:
        model = self.account.model(_name(request))
        if model.official:
            raise RefusedError(NOT_FOUND)
        return json_answer(page_body([model.version(one) for one in model.version_ids]))

    async def version(self, request: HTTPRequest) -> Answer:
        model = self.account.model(_name(request))
        if model.official or request.path_params["id"] not in model.version_ids:
            raise RefusedError(NOT_FOUND)
        return json_answer(model.version(request.path_params["id"]))

    async def deployment(self, request: HTTPRequest) -> Answer:
        return json_answer(self.account.deployment(_name(request)))

    async def upload(self, request: HTTPRequest) -> Answer:
        upload = await self.uploads.receive(request)
        return json_answer(upload.describe(self.account.origin), 201)

    async def file(self, request: HTTPRequest) -> Answer:
        upload = self.uploads.live().get(request.path_params["id"])
        if upload is None:
            raise RefusedError(NOT_FOUND)
        return json_answer(upload.describe(self.account.origin))

    async def delete_file(self, request: HTTPRequest) -> Answer:
        if self.uploads.files.pop(request.path_params["id"], None) is None:
            raise RefusedError(NOT_FOUND)
        return DELETED

    async def whoami(self, request: HTTPRequest) -> Answer:  # noqa: ARG002 - every endpoint takes one
        return json_answer(ACCOUNT)

    def _prediction(self, request: HTTPRequest) -> ScriptedPrediction:
        return self.account.get(request.path_params["id"])


def _name(request: HTTPRequest) -> str:
    return f"{request.path_params['owner']}/{request.path_params['name']}"

"""``/v1/models``, their versions, examples and readmes, ``/v1/collections`` and ``/v1/search``."""

from __future__ import annotations

import asyncio
import re
from base64 import b32encode
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from replicate_job.errors import LocalError
from replicate_job.local import engine
from replicate_job.local.environment.venv import COG
from replicate_job.serving.answer import NOT_FOUND, Answer, RefusedError, json_answer, problem
from replicate_job.serving.body import read_bytes
from replicate_job.serving.resource import model_body, page_body, prediction_body, prediction_urls, version_body
from replicate_job.serving.route import or_refuse, origin, route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from replicate_job.local.catalog.model import LocalModel
    from replicate_job.local.parts import Parts

_UNKNOWN: dict[str, Any] = {
    "openapi": "3.0.2",
    "info": {"title": "Cog", "version": "0.1.0"},
    "paths": {},
    "components": {"schemas": {}},
}
_COG_VERSION = COG.partition("==")[2]
_A_FOLDER = problem(
    501, "A model is a folder here: put owner/name/ with a cog.yaml into a folder of --models", "Not implemented"
)
_SORTS, _DIRECTIONS = {"model_created_at", "latest_version_created_at"}, {"asc", "desc"}
_COLLECTIONS = {
    "built-in": ("Built in", "Small real models, and stand-ins that say so, that come with this server"),
    "yours": ("Yours", "The Cog models of your own folders"),
}
_MOST_RESULTS, _LIMIT = 50, re.compile(r"\d{1,4}", re.ASCII)
_PATIENCE = 0.5
"""Seconds that a list waits for models whose environment is being made; they come without their schema."""


class ModelRoutes:
    def __init__(self, parts: Parts) -> None:
        self._catalog, self._engine = parts.catalog, parts.engine

    def routes(self) -> list[BaseRoute]:
        one = "/v1/models/{owner}/{name}"
        return [
            route("/v1/models", get=self.all, query=self.query, post=self.unmade),
            route(one, get=self.get, patch=self.unmade, delete=self.unmade),
            route(f"{one}/versions", get=self.versions),
            route(f"{one}/versions/{{version}}", get=self.version, delete=self.unmade),
            route(f"{one}/examples", get=self.examples),
            route(f"{one}/readme", get=self.readme),
            route("/covers/{owner}/{name}", get=self.cover),
            route("/v1/search", get=self.search),
            route("/v1/collections", get=self.collections),
            route("/v1/collections/{slug}", get=self.collection),
        ]

    async def all(self, request: Request) -> Answer:
        sort = request.query_params.get("sort_by", "latest_version_created_at")
        direction = request.query_params.get("sort_direction", "desc")
        if sort not in _SORTS or direction not in _DIRECTIONS:
            raise RefusedError(problem(400, "sort_by or sort_direction has a value that there is not", "Bad request"))
        # A model is as old as its latest version here.
        models = sorted(await self._catalog.models(), key=lambda model: model.created_at, reverse=direction == "desc")
        return json_answer(page_body(await self._bodies(models, origin(request))))

    async def query(self, request: Request) -> Answer:
        # Plain text by its documentation; JavaScript's and Python's clients send it as a JSON string.
        words = (await read_bytes(request)).decode(errors="replace").strip().strip('"')
        return json_answer(page_body(await self._bodies(await self._matching(words), origin(request))))

    async def search(self, request: Request) -> Answer:
        words, limit = request.query_params.get("query", ""), request.query_params.get("limit", "20")
        if not words:
            raise RefusedError(_bad_query('Query parameter "query" is required'))
        if not _LIMIT.fullmatch(limit) or not 1 <= int(limit) <= _MOST_RESULTS:
            raise RefusedError(_bad_query(f'Query parameter "limit" must be from 1 to {_MOST_RESULTS}'))
        models = (await self._matching(words))[: int(limit)]
        bodies = await self._bodies(models, origin(request))
        metadata = [{"generated_description": model.description, "tags": [], "score": 1.0} for model in models]
        results = [{"model": body, "metadata": facts} for body, facts in zip(bodies, metadata, strict=True)]
        return json_answer({"query": words, "models": results, "collections": [], "pages": []})

    async def get(self, request: Request) -> Answer:
        model, here = await self._model(request), origin(request)
        return json_answer(_body(model, await self._known(model), here))

    async def versions(self, request: Request) -> Answer:
        models = await self._catalog.versions(await self._community(request))
        schemas = await asyncio.gather(*(self._schema(model, engine.SCHEMA_TIMEOUT) for model in models))
        bodies = [_version(model, schema) for model, schema in zip(models, schemas, strict=True)]
        return json_answer(page_body(bodies))

    async def version(self, request: Request) -> Answer:
        named, model = await self._community(request), await self._catalog.version(request.path_params["version"])
        if model is None or model.slug != named.slug:
            raise RefusedError(NOT_FOUND)
        body = _version(model, await self._known(model))
        return json_answer(body | {"id": request.path_params["version"]})

    async def examples(self, request: Request) -> Answer:
        example = _example(await self._model(request), origin(request))
        return json_answer(page_body([example] if example else []))

    async def readme(self, request: Request) -> Answer:
        text = or_refuse((await self._model(request)).readme or None)
        return Answer(200, text.encode(), "text/plain; charset=utf-8")

    async def cover(self, request: Request) -> Answer:
        place = or_refuse((await self._model(request)).cover)
        headers = (("cache-control", "no-cache"), ("x-content-type-options", "nosniff"))
        return Answer(200, await asyncio.to_thread(place.read_bytes), "image/webp", headers=headers)

    async def collections(self, _: Request) -> Answer:
        return json_answer(page_body([_collection(slug) for slug in _COLLECTIONS]))

    async def collection(self, request: Request) -> Answer:
        slug = request.path_params["slug"]
        if slug not in _COLLECTIONS:
            raise RefusedError(NOT_FOUND)
        models = [model for model in await self._catalog.models() if model.is_built_in == (slug == "built-in")]
        models.sort(key=lambda model: (model.rank, model.slug))
        bodies = await self._bodies(models, origin(request))
        return json_answer(_collection(slug) | {"full_description": None, "models": bodies})

    async def unmade(self, _: Request) -> Answer:
        return _A_FOLDER

    async def _model(self, request: Request) -> LocalModel:
        return or_refuse(await self._catalog.find(request.path_params["owner"], request.path_params["name"]))

    async def _community(self, request: Request) -> LocalModel:
        """An official model shows no versions."""
        model = await self._model(request)
        if model.is_official:
            raise RefusedError(NOT_FOUND)
        return model

    async def _matching(self, query: str) -> list[LocalModel]:
        """Those that have every word in their name or description."""
        words = query.lower().split()
        texts = [(model, f"{model.slug} {model.description}".lower()) for model in await self._catalog.models()]
        return [model for model, text in texts if all(word in text for word in words)]

    async def _bodies(self, models: list[LocalModel], here: str) -> list[dict[str, Any]]:
        schemas = await asyncio.gather(*(self._schema(model) for model in models))
        return [_body(model, schema, here) for model, schema in zip(models, schemas, strict=True)]

    async def _known(self, model: LocalModel) -> dict[str, Any]:
        """The model's schema, or one that says nothing where it is long in coming. Raises LocalError."""
        with suppress(TimeoutError):
            return await self._engine.schema(model, patience=engine.SCHEMA_TIMEOUT)
        return _UNKNOWN

    async def _schema(self, model: LocalModel, patience: float | None = _PATIENCE) -> dict[str, Any] | None:
        """None for a model that cannot be made ready, or not soon: it is made ready all the same."""
        with suppress(LocalError, TimeoutError):
            return await self._engine.schema(model, again=False, patience=patience)
        return None


def _body(model: LocalModel, schema: dict[str, Any] | None, here: str) -> dict[str, Any]:
    body = model_body(
        model.slug,
        web=here,
        cover=f"{here}/covers/{model.slug}" if model.cover else None,
        latest_version=None if schema is None else _version(model, schema),  # v1 for Python needs a schema in one
        is_official=model.is_official,
        description=model.description,
        default_example=_example(model, here),
    )
    # Of this server's own, for those who write down a call that runs on Replicate too.
    return body | {"published_version": model.published[0] if model.published else None}


def _version(model: LocalModel, schema: dict[str, Any] | None) -> dict[str, Any]:
    return version_body(model.version, created_at=model.created_at, cog_version=_COG_VERSION, openapi_schema=schema)


def _example(model: LocalModel, here: str) -> dict[str, Any] | None:
    """The model's ``example.json`` as a prediction. It was never run: it stays ``starting``, and has no output."""
    if not model.example:
        return None
    id = b32encode(bytes.fromhex(model.version)[:16]).decode().rstrip("=").lower()  # noqa: A001 - the API's own name
    return prediction_body(
        id=id,
        model=model.slug,
        version="hidden" if model.is_official else model.version,
        input=model.example,
        status="starting",
        created_at=model.created_at,
        urls=prediction_urls(id, api=here, web=here),
    )


def _bad_query(detail: str) -> Answer:
    """The one refusal that is documented as plain JSON."""
    return json_answer({"detail": detail, "status": 400}, 400)


def _collection(slug: str) -> dict[str, Any]:
    name, description = _COLLECTIONS[slug]
    return {"name": name, "slug": slug, "description": description}

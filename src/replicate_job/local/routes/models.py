"""``/v1/models``, their versions, examples and readmes, ``/v1/collections`` and ``/v1/search``."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.errors import LocalError
from replicate_job.local import engine
from replicate_job.local.environment.venv import COG
from replicate_job.serving.answer import NOT_FOUND, Answer, RefusedError, json_answer, problem
from replicate_job.serving.body import read_bytes
from replicate_job.serving.resource import model_body, page_body, version_body
from replicate_job.serving.route import or_refuse, origin, route
from replicate_job.serving.search import fits, read_query, read_search, search_answer

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from replicate_job.local.catalog.model import LocalModel
    from replicate_job.local.parts import Parts

_EMPTY_SCHEMA: dict[str, Any] = {
    "openapi": "3.0.2",
    "info": {"title": "Cog", "version": "0.1.0"},
    "paths": {},
    "components": {"schemas": {}},
}
_COG_VERSION = COG.partition("==")[2]
# Not 501, because clients retry after a 5xx.
_MODELS_ARE_FOLDERS = problem(
    422,
    "A model is a folder here: make, change or remove owner/name/ with a cog.yaml in a folder of --models",
    "Not available here",
)
_SORTS, _DIRECTIONS = {"model_created_at", "latest_version_created_at"}, {"asc", "desc"}
_COLLECTIONS = {
    "built-in": ("Built in", "Small real models, and stand-ins that say so, that come with this server"),
    "yours": ("Yours", "The Cog models of your own folders"),
}
_LIST_TIMEOUT = 0.5
"""Seconds that a list waits for the schema of a model that is being prepared.

After that, the list shows the model without a version.
"""


class ModelRoutes:
    def __init__(self, parts: Parts) -> None:
        self._catalog, self._engine, self._predictions = parts.catalog, parts.engine, parts.predictions

    def routes(self) -> list[BaseRoute]:
        model = "/v1/models/{owner}/{name}"
        return [
            route("/v1/models", get=self.all, query=self.query, post=self.refuse),
            route(model, get=self.get, patch=self.refuse_change, delete=self.refuse_change),
            route(f"{model}/versions", get=self.versions),
            route(f"{model}/versions/{{version}}", get=self.version, delete=self.refuse_removal),
            route(f"{model}/examples", get=self.examples),
            route(f"{model}/readme", get=self.readme),
            route("/covers/{owner}/{name}", get=self.cover),
            route("/v1/search", get=self.search),
            route("/v1/collections", get=self.collections),
            route("/v1/collections/{slug}", get=self.collection),
        ]

    async def all(self, request: Request) -> Answer:
        sort = request.query_params.get("sort_by", "latest_version_created_at")
        direction = request.query_params.get("sort_direction", "desc")
        if sort not in _SORTS or direction not in _DIRECTIONS:
            raise RefusedError(problem(400, "sort_by or sort_direction has an unknown value", "Bad request"))
        # Both values of sort_by have the same effect, because a model here has only the creation time of its latest
        # version.
        models = sorted(await self._catalog.models(), key=lambda model: model.created_at, reverse=direction == "desc")
        return json_answer(page_body(await self._bodies(models, origin(request))))

    async def query(self, request: Request) -> Answer:
        words = read_query(await read_bytes(request))
        return json_answer(page_body(await self._bodies(await self._matching(words), origin(request))))

    async def search(self, request: Request) -> Answer:
        words, limit = read_search(request.query_params)
        return search_answer(words, await self._bodies((await self._matching(words))[:limit], origin(request)))

    async def get(self, request: Request) -> Answer:
        model, here = await self._model(request), origin(request)
        return json_answer(self._body(model, await self._schema_or_empty(model), here))

    async def versions(self, request: Request) -> Answer:
        models = await self._catalog.versions(await self._community(request))
        schemas = await asyncio.gather(*(self._schema(model, engine.SCHEMA_TIMEOUT) for model in models))
        bodies = [_version(model, schema) for model, schema in zip(models, schemas, strict=True)]
        return json_answer(page_body(bodies))

    async def version(self, request: Request) -> Answer:
        """A version. Official models list no versions, but their latest version can be read here."""
        model = await self._version(request)
        body = _version(model, await self._schema_or_empty(model))
        # The id may be a version of the real model at Replicate. Then its stand-in is shown with that id.
        return json_answer(body | {"id": request.path_params["version"]})

    async def examples(self, request: Request) -> Answer:
        example = self._example(await self._model(request), origin(request))
        return json_answer(page_body([example] if example else []))

    async def readme(self, request: Request) -> Answer:
        text = or_refuse((await self._model(request)).readme or None)
        return Answer(200, text.encode(), "text/plain; charset=utf-8")

    async def cover(self, request: Request) -> Answer:
        file = or_refuse((await self._model(request)).cover)
        headers = (("cache-control", "no-cache"), ("x-content-type-options", "nosniff"))
        return Answer(200, await asyncio.to_thread(file.read_bytes), "image/webp", headers=headers)

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

    async def refuse(self, _: Request) -> Answer:
        return _MODELS_ARE_FOLDERS

    async def refuse_change(self, request: Request) -> Answer:
        await self._model(request)
        return _MODELS_ARE_FOLDERS

    async def refuse_removal(self, request: Request) -> Answer:
        await self._version(request)
        return _MODELS_ARE_FOLDERS

    async def _version(self, request: Request) -> LocalModel:
        named, model = await self._model(request), await self._catalog.version(request.path_params["version"])
        if model is None or model.slug != named.slug:
            raise RefusedError(NOT_FOUND)
        return model

    async def _model(self, request: Request) -> LocalModel:
        return or_refuse(await self._catalog.find(request.path_params["owner"], request.path_params["name"]))

    async def _community(self, request: Request) -> LocalModel:
        """The model, for endpoints that official models do not have. Raises RefusedError for an official one."""
        model = await self._model(request)
        if model.is_official:
            raise RefusedError(NOT_FOUND)
        return model

    async def _matching(self, query: str) -> list[LocalModel]:
        return [model for model in await self._catalog.models() if fits(query, model.slug, model.description)]

    async def _bodies(self, models: list[LocalModel], here: str) -> list[dict[str, Any]]:
        schemas = await asyncio.gather(*(self._known_schema(model) for model in models))
        return [self._body(model, schema, here) for model, schema in zip(models, schemas, strict=True)]

    async def _schema_or_empty(self, model: LocalModel) -> dict[str, Any]:
        """The model's schema, or an empty one while the model is being prepared. Raises LocalError."""
        with suppress(TimeoutError):
            return await self._engine.schema(model, timeout=engine.SCHEMA_TIMEOUT)
        return _EMPTY_SCHEMA

    async def _schema(self, model: LocalModel, timeout: float) -> dict[str, Any] | None:  # noqa: ASYNC109 - only the wait ends; the preparation goes on
        """The model's schema; None if its preparation failed, or has not ended after ``timeout`` seconds."""
        with suppress(LocalError, TimeoutError):
            return await self._engine.schema(model, again=False, timeout=timeout)
        return None

    async def _known_schema(self, model: LocalModel) -> dict[str, Any] | None:
        """The model's schema for a list, which prepares no model. The schema is empty for a model that was never used.

        None if the model's preparation failed, or takes longer than ``_LIST_TIMEOUT``.
        """
        with suppress(LocalError, TimeoutError):
            return await self._engine.known_schema(model, _LIST_TIMEOUT) or _EMPTY_SCHEMA
        return None

    def _body(self, model: LocalModel, schema: dict[str, Any] | None, here: str) -> dict[str, Any]:
        body = model_body(
            model.slug,
            web=here,
            cover=f"{here}/covers/{model.slug}" if model.cover else None,
            # Python's client 1.0.7 cannot read a version without a schema.
            latest_version=None if schema is None else _version(model, schema),
            is_official=model.is_official,
            description=model.description,
            default_example=self._example(model, here),
        )
        # These fields are not Replicate's. The page needs them to show code that also runs on Replicate, and to fill in
        # its form.
        published = model.published[0] if model.published else None
        return body | {"published_version": published, "example_input": model.example}

    def _example(self, model: LocalModel, here: str) -> msgspec.Raw | None:
        body = self._predictions.example(model.slug, here)
        return msgspec.Raw(body) if body else None


def _version(model: LocalModel, schema: dict[str, Any] | None) -> dict[str, Any]:
    return version_body(model.version, created_at=model.created_at, cog_version=_COG_VERSION, openapi_schema=schema)


def _collection(slug: str) -> dict[str, Any]:
    name, description = _COLLECTIONS[slug]
    return {"name": name, "slug": slug, "description": description}

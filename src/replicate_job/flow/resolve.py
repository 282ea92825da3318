"""From the name in a job to the request that creates its prediction, and the schema of its input."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from replicate_job.api.retry import backoff, is_transient
from replicate_job.errors import APIError, AuthenticationError, ModelNotFoundError, NotFoundError, ReplicateJobError
from replicate_job.flow.context import Context
from replicate_job.flow.schemas import keep_schema, load_schema
from replicate_job.wire.model import Version
from replicate_job.wire.target import Target

LOOKUPS = 5
"""Tries of a look-up, which costs nothing and changes nothing."""

_T = TypeVar("_T")


class Resolved(msgspec.Struct, frozen=True):
    """``path`` is where to send the create, ``version`` what its body names (empty: nothing).

    ``schema`` is the version's OpenAPI document, None where the API does not show it. ``tried`` lists what was asked.
    """

    target: Target
    path: str
    version: str = ""
    schema: dict[str, Any] | None = None
    tried: tuple[str, ...] = ()


async def resolve(context: Context, target: Target) -> Resolved:
    """Find out how ``target`` is created. Raises ModelNotFoundError, saying what was tried, and the API's errors.

    An official model is created by its name; a community model by its newest version, as of now; a version and a
    deployment as they stand.
    """
    match target.kind:
        case "model":
            return await _model(context, target)
        case "version":
            return await _version(context, target)
        case "deployment":
            return await _deployment(context, target)


async def _model(context: Context, target: Target) -> Resolved:
    asked = f"/models/{target.slug}"
    try:
        model = await look_up(context, lambda: context.client.get_model(target.owner, target.name))
    except NotFoundError:
        raise ModelNotFoundError(str(target), [f"GET {asked}"]) from None
    latest = model.latest_version
    schema = _keep(context, latest)
    if model.is_official or latest is None:
        path = f"{asked}/predictions"
        return Resolved(target, path, schema=schema, tried=(f"GET {asked}", f"POST {path}"))
    named = Target("version", target.owner, target.name, latest.id)
    return Resolved(named, "/predictions", latest.id, schema, (f"GET {asked}", f"POST /predictions ({latest.id})"))


async def _version(context: Context, target: Target) -> Resolved:
    tried = [f"POST /predictions ({target.version})"]
    schema = load_schema(context.cache, target.version)
    if schema is None and target.slug:
        asked = f"/models/{target.slug}/versions/{target.version}"
        tried.insert(0, f"GET {asked}")
        try:
            version = await look_up(
                context, lambda: context.client.get_version(target.owner, target.name, target.version)
            )
            schema = _keep(context, version)
        except (NotFoundError, AuthenticationError):
            await _check_hidden(context, target, tried)
    return Resolved(target, "/predictions", target.version, schema, tuple(tried))


async def _check_hidden(context: Context, target: Target, tried: list[str]) -> None:
    """An official model answers 404 for every version of it; for other models a 404 means what it says."""
    asked = f"/models/{target.slug}"
    tried.insert(1, f"GET {asked}")
    try:
        model = await look_up(context, lambda: context.client.get_model(target.owner, target.name))
    except NotFoundError:
        raise ModelNotFoundError(str(target), tried[:2]) from None
    if not model.is_official and model.latest_version is not None:
        raise ModelNotFoundError(str(target), tried[:2])


async def _deployment(context: Context, target: Target) -> Resolved:
    asked = f"/deployments/{target.slug}"
    schema = None
    try:
        deployment = await look_up(context, lambda: context.client.get_deployment(target.owner, target.name))
        release = deployment.current_release
        if release and release.version:
            schema = load_schema(context.cache, release.version)
            if schema is None and release.model and "/" in release.model:
                owner, _, name = release.model.partition("/")
                version = release.version
                schema = _keep(
                    context, await look_up(context, lambda: context.client.get_version(owner, name, version))
                )
    except (NotFoundError, AuthenticationError) as error:
        context.reporter.note(f"{target} does not show its schema: {error}")
    return Resolved(target, f"{asked}/predictions", schema=schema, tried=(f"GET {asked}", f"POST {asked}/predictions"))


def _keep(context: Context, version: Version | None) -> dict[str, Any] | None:
    if version is None or version.openapi_schema is None:
        return None
    keep_schema(context.cache, version.id, version.openapi_schema)
    return version.openapi_schema


async def look_up(context: Context, ask: Callable[[], Awaitable[_T]], *, young: bool = False) -> _T:
    """Ask for something that can be asked again; passing faults are tried ``LOOKUPS`` times.

    ``young``: it was created just now, and may be unknown (404) for a moment.
    """
    appeared = context.clock.now() + (context.patience.appear if young else 0)
    attempt = 0
    while True:
        try:
            return await ask()
        except NotFoundError:
            if context.clock.now() >= appeared:
                raise
            await context.clock.sleep(backoff(0, random.random()))  # noqa: S311 - spreads load
        except ReplicateJobError as error:
            attempt += 1
            asked_to_wait = (error.retry_after or 0.0) if isinstance(error, APIError) else 0.0
            if not is_transient(error) or attempt == LOOKUPS or asked_to_wait > context.patience.throttle:
                raise
            context.reporter.note(f"{error}; asking again")
            await context.clock.sleep(max(asked_to_wait, backoff(attempt - 1, random.random())))  # noqa: S311 - spreads load

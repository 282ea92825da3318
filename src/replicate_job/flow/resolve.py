"""From the name in a job to the request that creates its prediction, and the schema of its input."""

from __future__ import annotations

from typing import Any

import msgspec

from replicate_job.errors import AuthenticationError, ModelNotFoundError, NotFoundError
from replicate_job.flow.context import Context
from replicate_job.flow.retry import read
from replicate_job.flow.schemas import keep_schema, load_schema
from replicate_job.wire.model import Version
from replicate_job.wire.openapi import is_sound
from replicate_job.wire.target import Target


class Resolved(msgspec.Struct, frozen=True):
    """``path`` is where to send the create, ``version`` what its body names (empty: nothing).

    ``schema`` is the version's OpenAPI document, None where the API does not show it. ``tried`` lists the look-ups.
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
        model = await read(context, lambda: context.client.get_model(target.owner, target.name))
    except NotFoundError:
        raise ModelNotFoundError(str(target), [f"GET {asked}"]) from None
    latest = model.latest_version
    schema = _keep(context, latest)
    tried = (f"GET {asked}",)
    if model.is_official or latest is None:
        return Resolved(target, f"{asked}/predictions", schema=schema, tried=tried)
    named = Target("version", target.owner, target.name, latest.id)
    return Resolved(named, "/predictions", latest.id, schema, tried)


async def _version(context: Context, target: Target) -> Resolved:
    tried: tuple[str, ...] = ()
    schema = load_schema(context, target.version)
    if schema is None and target.slug:
        asked = f"/models/{target.slug}/versions/{target.version}"
        tried = (f"GET {asked}",)
        try:
            found = await read(context, lambda: context.client.get_version(target.owner, target.name, target.version))
            schema = _keep(context, found)
        except (NotFoundError, AuthenticationError):
            tried, schema = await _check_hidden(context, target, tried)
    return Resolved(target, "/predictions", target.version, schema, tried)


async def _check_hidden(
    context: Context, target: Target, tried: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, Any] | None]:
    """An official model answers 404 for every version of it; for other models a 404 means what it says.

    Its newest version is shown all the same, and with it the schema, if that is the one.
    """
    tried += (f"GET /models/{target.slug}",)
    try:
        model = await read(context, lambda: context.client.get_model(target.owner, target.name))
    except NotFoundError:
        raise ModelNotFoundError(str(target), tried) from None
    if not model.is_official and model.latest_version is not None:
        raise ModelNotFoundError(str(target), tried)
    latest = model.latest_version
    return tried, _keep(context, latest) if latest and latest.id == target.version else None


async def _deployment(context: Context, target: Target) -> Resolved:
    asked = f"/deployments/{target.slug}"
    schema = None
    try:
        deployment = await read(context, lambda: context.client.get_deployment(target.owner, target.name))
        release = deployment.current_release
        if release and release.version:
            schema = load_schema(context, release.version)
            if schema is None and release.model and "/" in release.model:
                owner, _, name = release.model.partition("/")
                version = release.version
                schema = _keep(context, await read(context, lambda: context.client.get_version(owner, name, version)))
    except (NotFoundError, AuthenticationError) as error:
        context.reporter.note(f"{target} does not show its schema: {error}")
    return Resolved(target, f"{asked}/predictions", schema=schema, tried=(f"GET {asked}",))


def _keep(context: Context, version: Version | None) -> dict[str, Any] | None:
    if version is None or version.openapi_schema is None:
        return None
    if not is_sound(version.openapi_schema):
        context.reporter.warn(f"the schema of version {version.id} is malformed: it is not used")
        return None
    keep_schema(context, version.id, version.openapi_schema)
    return version.openapi_schema

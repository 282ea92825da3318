"""Finds the path of the create request and the schema of the input for a job's model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from replicate_job.errors import AuthenticationError, ModelNotFoundError, NotFoundError, ReplicateJobError
from replicate_job.flow.context import Context
from replicate_job.flow.reads import read
from replicate_job.flow.resolved import Resolved
from replicate_job.flow.schema_cache import keep_schema, load_schema
from replicate_job.outputs.promise import can_promise
from replicate_job.wire.model import Version
from replicate_job.wire.openapi import mend
from replicate_job.wire.target import Target, parse_target


async def resolve(context: Context, target: Target) -> Resolved:
    """Find out how to create a prediction of ``target``. Raises ModelNotFoundError, which lists what was tried.

    A prediction of an official model is created by the model's name, and a prediction of a community model by the
    model's newest version. A named version or deployment is used as it is. Raises the API's errors.
    """
    match target.kind:
        case "model":
            resolved = await _model(context, target)
        case "version":
            resolved = await _version(context, target)
        case "deployment":
            resolved = await _deployment(context, target)
    return msgspec.structs.replace(resolved, makes_files=can_promise(resolved.schema))


async def find_schema(context: Context, model: str) -> dict[str, Any] | None:
    """The model's schema, to display a result with; None if the model cannot be resolved."""
    try:
        return (await context.strategy.resolve(context, parse_target(model))).schema
    except ReplicateJobError:
        return None


async def _model(context: Context, target: Target) -> Resolved:
    asked = f"/models/{target.slug}"
    try:
        model = await read(context, lambda: context.client.get_model(target.owner, target.name))
    except NotFoundError:
        raise _missing(context, target, [f"GET {asked}"]) from None
    latest = model.latest_version
    schema = _keep(context, latest)
    tried = (f"GET {asked}",)
    if model.owner and model.name:  # with the same capitals as in the API's list
        target = msgspec.structs.replace(target, owner=model.owner, name=model.name)
        asked = f"/models/{target.slug}"
    is_private = model.visibility == "private"
    if model.is_official or latest is None:
        newest = latest.id if latest else ""
        path = f"{asked}/predictions"
        return Resolved(target, path, schema=schema, tried=tried, is_private=is_private, newest=newest)
    named = Target("version", target.owner, target.name, latest.id)
    return Resolved(named, "/predictions", latest.id, schema, tried, is_private=is_private)


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
    """Handle a 404 for a version.

    The API answers 404 for every version of an official model, and for a missing version of another model. The API
    still shows an official model's newest version. If that is this version, its schema is returned too.
    """
    tried += (f"GET /models/{target.slug}",)
    try:
        model = await read(context, lambda: context.client.get_model(target.owner, target.name))
    except NotFoundError:
        raise _missing(context, target, tried) from None
    if not model.is_official and model.latest_version is not None:
        raise _missing(context, target, tried)
    latest = model.latest_version
    return tried, _keep(context, latest) if latest and latest.id == target.version else None


async def _deployment(context: Context, target: Target) -> Resolved:
    asked = f"/deployments/{target.slug}"
    path, schema, hardware, newest = f"{asked}/predictions", None, "", ""
    try:
        deployment = await read(context, lambda: context.client.get_deployment(target.owner, target.name))
        if deployment.owner and deployment.name:  # with the API's capitals
            target = msgspec.structs.replace(target, owner=deployment.owner, name=deployment.name)
            path = f"/deployments/{target.slug}/predictions"
        release = deployment.current_release
        hardware = (release.configuration.hardware if release and release.configuration else None) or ""
        if release and release.version:
            newest = release.version
            owner, _, name = (release.model or "").partition("/")
            schema = (await _version(context, Target("version", owner, name, release.version))).schema
    except (NotFoundError, AuthenticationError, ModelNotFoundError) as error:
        context.reporter.note(f"{target} does not show its schema: {error}")
    return Resolved(target, path, schema=schema, tried=(f"GET {asked}",), hardware=hardware, newest=newest)


def _missing(context: Context, target: Target, tried: Sequence[str]) -> ModelNotFoundError:
    return ModelNotFoundError(str(target), tried, context.advise_missing(str(target)))


def _keep(context: Context, version: Version | None) -> dict[str, Any] | None:
    if version is None or version.openapi_schema is None:
        return None
    schema, faults = mend(version.openapi_schema)
    if schema is None:
        context.reporter.warn(f"the schema of version {version.id} is malformed: it is not used")
        return None
    if faults:
        context.reporter.warn(f"the schema of version {version.id} is malformed in {', '.join(faults)}: not used there")
    keep_schema(context, version.id, schema)
    return schema

"""Models, trainings and deployments that an account can see. Requests with a transient failure are sent again."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial

from replicate_job.api import holdings
from replicate_job.errors import JobError, ModelNotFoundError, NotFoundError, UnknownJobError
from replicate_job.flow.context import Context
from replicate_job.flow.reads import read
from replicate_job.job import Job
from replicate_job.wire.holdings import DeploymentInfo, ModelInfo, TrainingInfo
from replicate_job.wire.target import Target, parse_target, read_owner, read_training_id

MOST_FOUND = 50
"""The API's limit for the number of models in a search result."""


async def search(context: Context, query: str, *, limit: int) -> list[ModelInfo]:
    """The public models that match the query best, best first. ``limit`` is 1 to 50. Raises JobError."""
    if not query.strip():
        raise JobError("the query is empty: name what the models are to do")
    if not isinstance(limit, int) or not 1 <= limit <= MOST_FOUND:
        raise JobError(f"limit: {limit} is not a number from 1 to {MOST_FOUND}")
    return await read(context, lambda: holdings.search(context.client, query, limit))


async def models_of(context: Context, owner: str) -> AsyncGenerator[ModelInfo, None]:
    """The public models of an owner, each one time.

    The API cannot list models by owner. So this function searches the public models for the owner's name. Raises
    JobError.
    """
    owner, shown = read_owner(owner), set[str]()
    async for page in holdings.list_models(context.client, owner, partial(read, context)):
        for model in page:
            if model.owner.lower() == owner.lower() and model.name not in shown:
                shown.add(model.name)
                yield model


async def readme(context: Context, model: str) -> str:
    """The readme of the model, in Markdown. Raises ModelNotFoundError, or JobError if the model has no readme."""
    target = _model(model)
    try:
        return await read(context, lambda: holdings.get_readme(context.client, target.owner, target.name))
    except NotFoundError:
        await _check(context, target)
        raise JobError(f"{target.slug} has no readme") from None


async def example(context: Context, model: str) -> Job:
    """A job with the example input of the model's page. Raises ModelNotFoundError, or JobError without an example."""
    target = _model(model)
    try:
        shown = await read(context, lambda: holdings.get_example(context.client, target.owner, target.name))
    except NotFoundError:
        raise _missing(context, target) from None
    if shown is None:
        raise JobError(f"{target.slug} shows no example: {context.line('schema', target.slug)} shows what it takes")
    return Job(str(target), shown)


async def trainings(context: Context) -> AsyncGenerator[TrainingInfo, None]:
    """The account's trainings, newest first."""
    async for page in holdings.list_trainings(context.client, partial(read, context)):
        for training in page:
            yield training


async def training(context: Context, name: str) -> TrainingInfo:
    """The current state of a training, by its id or URL. Raises UnknownJobError."""
    training_id = read_training_id(name)
    try:
        return await read(context, lambda: holdings.get_training(context.client, training_id))
    except NotFoundError:
        raise _no_training(context, training_id) from None


async def cancel_training(context: Context, name: str) -> TrainingInfo:
    """Cancel a training by its id or URL. A training that has ended is not changed. Raises UnknownJobError."""
    training_id = read_training_id(name)
    try:
        return await read(context, lambda: holdings.cancel_training(context.client, training_id))
    except NotFoundError:
        raise _no_training(context, training_id) from None


async def deployments(context: Context) -> AsyncGenerator[DeploymentInfo, None]:
    """The account's deployments, newest first."""
    async for page in holdings.list_deployments(context.client, partial(read, context)):
        for deployment in page:
            yield deployment


async def deployment(context: Context, name: str) -> DeploymentInfo:
    """The current state of a deployment, by ``owner/name``.

    Raises ModelNotFoundError, or JobError for a malformed name.
    """
    target = parse_target(name)
    if target.kind == "version":
        raise JobError(f"{name!r} names no deployment: write owner/name")
    try:
        return await read(context, lambda: holdings.get_deployment(context.client, target.owner, target.name))
    except NotFoundError:
        tried = [f"GET /deployments/{target.slug}"]
        advice = f"{context.line('deployments', 'list')} shows those of this account"
        raise ModelNotFoundError(f"deployments/{target.slug}", tried, advice) from None


def _model(name: str) -> Target:
    target = parse_target(name)
    if target.kind == "deployment" or not target.slug:
        raise JobError(f"{name!r} does not name a model: write owner/name")
    return target


async def _check(context: Context, target: Target) -> None:
    """Raise ModelNotFoundError if the model does not exist."""
    try:
        await read(context, lambda: context.client.get_model(target.owner, target.name))
    except NotFoundError:
        raise _missing(context, target) from None


def _missing(context: Context, target: Target) -> ModelNotFoundError:
    return ModelNotFoundError(target.slug, [f"GET /models/{target.slug}"], context.advise_missing(target.slug))


def _no_training(context: Context, training_id: str) -> UnknownJobError:
    advice = f"{context.line('trainings', 'list')} shows those of this account"
    return UnknownJobError(f"no training {training_id} at {context.client.base_url}: {advice}")

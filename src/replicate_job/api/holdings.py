"""Endpoints for models, trainings and deployments. They are not in ``client``, since running a job does not need them.

Every function raises the same errors as the methods of ``Client``. ``ask`` sends a request, and may repeat it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import msgspec

from replicate_job.api.client import Ask, Client, step
from replicate_job.wire.holdings import DeploymentInfo, ModelInfo, Page, SearchAnswer, TrainingInfo, WithExample


async def search(client: Client, query: str, limit: int) -> list[ModelInfo]:
    """The models that match the query best, at most ``limit`` (1 to 50), with their tags."""
    path = f"/search?{urlencode({'query': query, 'limit': limit})}"
    found = (await client.send("GET", path, SearchAnswer)).models
    return [
        msgspec.structs.replace(each.model, tags=(each.metadata and each.metadata.tags) or each.model.tags)
        for each in found
    ]


async def list_models(client: Client, query: str, ask: Ask | None = None) -> AsyncIterator[list[ModelInfo]]:
    """Pages of the public models that match the query."""
    async for page in client.pages("/models", Page[ModelInfo], method="QUERY", text=query, ask=ask):
        yield page.results


async def get_readme(client: Client, owner: str, name: str) -> str:
    """The model's readme in Markdown. Raises NotFoundError for a model without a readme."""
    return await client.get_text(f"/models/{owner}/{name}/readme")


async def get_example(client: Client, owner: str, name: str) -> dict[str, Any] | None:
    """The example input on the model's page. None if the page has no example."""
    model = await client.send("GET", f"/models/{owner}/{name}", WithExample)
    return (model.default_example and model.default_example.input) or model.example_input


async def list_trainings(client: Client, ask: Ask | None = None) -> AsyncIterator[list[TrainingInfo]]:
    """Pages of the account's trainings, newest first."""
    async for page in client.pages("/trainings", Page[TrainingInfo], ask=ask):
        yield page.results


async def get_training(client: Client, training_id: str) -> TrainingInfo:
    return await client.send("GET", f"/trainings/{step(training_id)}", TrainingInfo)


async def cancel_training(client: Client, training_id: str) -> TrainingInfo:
    return await client.send("POST", f"/trainings/{step(training_id)}/cancel", TrainingInfo)


async def list_deployments(client: Client, ask: Ask | None = None) -> AsyncIterator[list[DeploymentInfo]]:
    """Pages of the account's deployments, newest first."""
    async for page in client.pages("/deployments", Page[DeploymentInfo], ask=ask):
        yield page.results


async def get_deployment(client: Client, owner: str, name: str) -> DeploymentInfo:
    return await client.send("GET", f"/deployments/{owner}/{name}", DeploymentInfo)

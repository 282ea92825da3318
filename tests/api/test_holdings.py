from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import pytest

from replicate_job.api import holdings
from replicate_job.api.client import Client
from replicate_job.api.transport import Transport
from replicate_job.errors import NoAnswerError, NotFoundError, ReplicateJobError
from replicate_job.testing import Answer, Fault, ScriptedAPI, ScriptedModel, ScriptedTraining

_T = TypeVar("_T")
SDXL = "stability-ai/sdxl"


@pytest.fixture
async def client(api: ScriptedAPI) -> AsyncIterator[Client]:
    async with Transport(api.base_url, api.token, user_agent="replicate-job/0") as transport:
        yield Client(transport)


async def test_a_search_returns_models_without_their_schemas(api: ScriptedAPI, client: Client) -> None:
    api.models["acme/fox"] = ScriptedModel(name="acme/fox", description="Paints a red fox & more")
    (found,) = await holdings.search(client, "red fox &", 5)
    assert (found.model, found.description, found.url) == (
        "acme/fox",
        "Paints a red fox & more",
        "https://replicate.com/acme/fox",
    )
    assert len(await holdings.search(client, "scripted", 2)) == 2


async def test_the_tags_in_a_search_result_belong_to_their_model(api: ScriptedAPI, client: Client) -> None:
    body = b'{"models":[{"model":{"owner":"a","name":"b"},"metadata":{"tags":["text-to-image"]}}]}'
    api.faults.next("other", Fault.answering(Answer(200, body)))
    assert [found.tags for found in await holdings.search(client, "a", 1)] == [("text-to-image",)]


async def test_the_query_for_a_list_of_models_is_plain_text(api: ScriptedAPI, client: Client) -> None:
    found = [model.model async for page in holdings.list_models(client, "meta") for model in page]
    assert found == ["meta/llama-2-70b-chat"]
    assert (api.requests[-1].method, api.requests[-1].headers["content-type"]) == ("QUERY", "text/plain")


async def test_trainings_come_newest_first_over_all_pages(api: ScriptedAPI, client: Client) -> None:
    made = [ScriptedTraining(model=SDXL, created=at) for at in range(205)]
    api.trainings.update((training.id, training) for training in made)
    pages = [page async for page in holdings.list_trainings(client)]
    assert [len(page) for page in pages] == [100, 100, 5]
    assert [training.id for page in pages for training in page] == [training.id for training in reversed(made)]


async def test_a_failed_page_is_requested_again_if_the_caller_retries(api: ScriptedAPI, client: Client) -> None:
    made = [ScriptedTraining(model=SDXL) for _ in range(101)]
    api.trainings.update((training.id, training) for training in made)

    async def ask(request: Callable[[], Awaitable[_T]]) -> _T:
        api.faults.next("list", "503")
        with pytest.raises(ReplicateJobError):
            await request()
        return await request()

    assert sum([len(page) async for page in holdings.list_trainings(client, ask)]) == 101


async def test_a_list_whose_pages_form_a_circle_raises_an_error(api: ScriptedAPI, client: Client) -> None:
    page = Answer(200, b'{"results":[],"next":"https://elsewhere.example/v1/trainings?cursor=a"}')
    api.faults.next("list", *[Fault.answering(page)] * 2)
    with pytest.raises(NoAnswerError, match="no end"):
        [page async for page in holdings.list_trainings(client)]


async def test_a_cancel_request_ends_a_running_training_and_leaves_an_ended_training_unchanged(
    api: ScriptedAPI, client: Client
) -> None:
    running, over = ScriptedTraining(model=SDXL, status="processing"), ScriptedTraining(model=SDXL)
    api.trainings.update({running.id: running, over.id: over})
    assert (await holdings.cancel_training(client, running.id)).status == "canceled"
    assert (await holdings.cancel_training(client, over.id)).status == "succeeded"
    shown = await holdings.get_training(client, running.id)
    assert (shown.is_terminal, shown.model, shown.version) == (True, SDXL, api.models[SDXL].version_ids[0])
    with pytest.raises(NotFoundError):
        await holdings.get_training(client, "nothing")


async def test_a_deployment_shows_its_hardware(client: Client) -> None:
    shown = await holdings.get_deployment(client, "acme", "flux")
    assert [page async for page in holdings.list_deployments(client)] == [[shown]]
    assert shown.deployment == "acme/flux"
    assert shown.current_release
    assert (shown.current_release.number, shown.current_release.configuration.hardware) == (1, "cpu")


async def test_a_model_shows_its_readme_and_its_example(api: ScriptedAPI, client: Client) -> None:
    assert (await holdings.get_readme(client, "replicate", "hello-world")).startswith("# Hello World\n")
    assert await holdings.get_example(client, "replicate", "hello-world") == {"text": "Ada"}
    assert await holdings.get_example(client, "acme", "private") is None
    with pytest.raises(NotFoundError):
        await holdings.get_readme(client, "acme", "private")
    api.faults.next("model", Fault.answering(Answer(200, b"\xff\xfe")))
    assert await holdings.get_readme(client, "acme", "private") == "\ufffd\ufffd"

"""Webhooks from the create request to a receiver, which verifies them with the secret of the API."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response

from replicate_job.errors import WebhookVerificationError
from replicate_job.serving.listener import bind, listen, origin_of
from replicate_job.wire.webhook import verify_webhook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

TALKER = """
    import time
    from cog import BasePredictor, ConcatenateIterator

    class Predictor(BasePredictor):
        def predict(self, wait: bool = False) -> ConcatenateIterator[str]:
            print("begun", flush=True)
            yield "a"
            if wait:
                time.sleep(60)
            yield "b"
"""


class Receiver:
    """Keeps the headers and bodies of the requests that it receives."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._sent: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self._sent.put_nowait((dict(request.headers), await request.body()))
        await Response()(scope, receive, send)

    async def next(self, secret: str) -> Any:
        """The prediction in the next request. Its signature must be right."""
        async with asyncio.timeout(30):
            headers, body = await self._sent.get()
        verify_webhook(headers, body, secret)
        with pytest.raises(WebhookVerificationError):
            verify_webhook(headers, body + b" ", secret)
        return msgspec.json.decode(body)

    @property
    def has_more(self) -> bool:
        return not self._sent.empty()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    with bind() as listening:
        receiver = Receiver(f"{origin_of(listening)}/hook")
        async with listen(receiver, listening):
            yield receiver


async def create(api: Any, receiver: Receiver, *events: str, path: str = "/v1/predictions", **given: Any) -> Any:
    body = {"input": given, "webhook": receiver.url}
    body |= {"version": await api.version()} if path == "/v1/predictions" else {}
    body |= {"webhook_events_filter": list(events)} if events else {}
    return await (await api.request("POST", path, body)).json()


async def secret_of(api: Any) -> str:
    return str((await api.get("/v1/webhooks/default/secret"))["key"])


async def test_a_receiver_gets_the_events_start_and_completed_with_the_object_that_a_get_returns(
    write_model: Callable[..., Path], local: Any, receiver: Receiver
) -> None:
    write_model(TALKER)
    async with local() as api:
        secret, made = await secret_of(api), await create(api, receiver)
        seen = [await receiver.next(secret)]
        while "completed_at" not in seen[-1]:
            seen.append(await receiver.next(secret))
        assert {each["id"] for each in seen} == {made["id"]}
        assert (seen[0]["status"], seen[-1]["status"], seen[-1]["output"]) == ("processing", "succeeded", ["a", "b"])
        assert seen[-1] == await api.get(made["urls"]["get"])


async def test_with_the_events_filter_completed_only_that_event_is_sent(
    write_model: Callable[..., Path], local: Any, receiver: Receiver
) -> None:
    write_model(TALKER)
    async with local() as api:
        await create(api, receiver, "completed")
        assert (await receiver.next(await secret_of(api)))["status"] == "succeeded"
    assert not receiver.has_more


@pytest.mark.parametrize("way", ["model", "deployment"])
async def test_official_models_and_deployments_have_webhooks_too(local: Any, receiver: Receiver, way: str) -> None:
    async with local() as api:
        if way == "model":
            path, given = "/v1/models/black-forest-labs/flux-schnell/predictions", {"prompt": "a"}
        else:
            version = await api.version("replicate/hello-world")
            deployment = {"name": "a", "model": "replicate/hello-world", "version": version, "hardware": "cpu"}
            counts = {"min_instances": 0, "max_instances": 1}
            await api.request("POST", "/v1/deployments", deployment | counts)
            path, given = "/v1/deployments/local/a/predictions", {"text": "a"}
        made = await create(api, receiver, "completed", path=path, **given)
        await api.request("POST", made["urls"]["cancel"])
        told = await receiver.next(await secret_of(api))
        assert (told["id"], told["status"]) == (made["id"], "canceled")


async def test_canceling_a_prediction_sends_the_event_completed(
    write_model: Callable[..., Path], local: Any, receiver: Receiver
) -> None:
    write_model(TALKER)
    async with local() as api:
        made = await create(api, receiver, "completed", wait=True)
        await api.until(made, lambda found: found["output"] == ["a"])
        await api.request("POST", made["urls"]["cancel"])
        assert (await receiver.next(await secret_of(api)))["status"] == "canceled"


async def test_stopping_the_server_sends_the_event_completed_of_its_running_predictions(
    write_model: Callable[..., Path], local: Any, receiver: Receiver
) -> None:
    write_model(TALKER)
    async with local() as api:
        secret, made = await secret_of(api), await create(api, receiver, "completed", wait=True)
        await api.until(made, lambda found: found["output"] == ["a"])
    told = await receiver.next(secret)
    assert (told["status"], told["error"]) == ("failed", "the server was stopped before this ended")


async def test_an_unreachable_receiver_does_not_change_the_prediction(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(TALKER)
    async with receiving() as gone:
        pass
    notices: list[str] = []
    async with local(on_warning=notices.append) as api:
        made = await create(api, gone)
        done = await api.until(made, lambda found: "completed_at" in found)
        assert done["status"] == "succeeded"
        while not any("a webhook did not get through" in notice for notice in notices):
            await api.get("/v1/account")
    assert not any("/hook" in notice for notice in notices)

"""examples/app.py, served by uvicorn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from pyreqwest.multipart import FormBuilder, PartBuilder
from standardwebhooks import Webhook

from replicate_job.testing import OutputFile, Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.examples.conftest import Program, Start

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the example of Standard Webhooks
TOGETHER = 200


@pytest.fixture
def serve(start: Start) -> Callable[[], Program]:
    settings = {"CREATE_RATE": "none", "PUBLIC_URL": "https://shop.example", "WEBHOOK_SECRET": SECRET}
    return lambda: start("uvicorn", "app:app", "--port", "0", **settings)


@pytest.fixture
def server(serve: Callable[[], Program]) -> Program:
    return serve()


@pytest.fixture
async def shop(server: Program, reach: Callable[[str], AbstractAsyncContextManager[Any]]) -> AsyncIterator[Any]:
    url = await asyncio.to_thread(server.wait_for, r"running on (http://[\d.:]+)")
    async with reach(url) as shop:
        yield shop


def pictures_in(folder: Path) -> set[str]:
    return set(map(str, folder.rglob("*.webp")))


async def test_two_hundred_requests_at_the_same_time_share_one_client(
    shop: Any, server: Program, api: ScriptedAPI, folder: Path
) -> None:
    async def order(number: int) -> Any:
        response = await shop.request("POST", "/pictures", {"key": f"order-{number}", "prompt": f"a fox, {number}"})
        return await response.json()

    pictures = await asyncio.gather(*map(order, range(TOGETHER)))
    assert [picture["key"] for picture in pictures] == [f"order-{number}" for number in range(TOGETHER)]
    assert {picture["status"] for picture in pictures} == {"succeeded"}
    assert {file for picture in pictures for file in picture["files"]} == pictures_in(folder)
    assert (await order(7))["files"] == pictures[7]["files"]
    assert api.count("create") == len(api.predictions) == TOGETHER
    assert await asyncio.to_thread(server.stop) in {0, -15}
    assert "Traceback" not in server.output


async def test_an_uploaded_file_is_sent_to_the_model(shop: Any, api: ScriptedAPI) -> None:
    form = FormBuilder().part("image", PartBuilder.from_bytes(b"\x89PNG\r\n\x1a\n...").file_name("cat.png"))
    response = await shop.client.post(f"{shop.base_url}/variations").multipart(form).build().send()
    assert (await response.json())["status"] == "succeeded"
    assert api.predictions[0].input["image"].endswith(";base64,iVBORw0KGgouLi4=")


async def test_after_a_signed_webhook_the_outputs_are_saved_and_an_unsigned_webhook_is_refused(
    shop: Any, api: ScriptedAPI, folder: Path
) -> None:
    api.next(Script(duration=3600, output=[OutputFile(name="fox.gif", content=b"GIF89a")]))
    ordered = await shop.request("POST", "/orders", {"key": "order-17", "prompt": "a fox"})
    assert ordered.status == 202
    (prediction,) = api.predictions
    assert await ordered.json() == {"key": "order-17", "prediction_id": prediction.id}
    assert (await shop.get("/orders/order-17"))["status"] in {"starting", "processing"}
    prediction.finish()
    body = {"id": prediction.id, "status": "succeeded"}
    assert (await shop.request("POST", "/webhooks", body)).status == 401
    assert not (folder / "outputs").exists()
    text, now = msgspec.json.encode(body).decode(), int(time.time())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": Webhook(SECRET).sign("msg_1", datetime.fromtimestamp(now, UTC), text),
    }
    assert (await shop.request("POST", "/webhooks", body, **headers)).status == 204
    kept = folder / "outputs" / prediction.id / "output-0.gif"
    await asyncio.to_thread(api.wait_until, kept.exists)
    assert kept.read_bytes() == b"GIF89a"
    assert (await shop.get("/orders/order-17"))["status"] == "succeeded"
    assert api.count("create") == 1


async def test_an_error_response_is_one_line_with_the_right_status(shop: Any, api: ScriptedAPI) -> None:
    assert (await shop.request("GET", "/orders/nothing")).status == 404
    api.faults.next("create", "402")
    refused = await shop.request("POST", "/pictures", {"key": "order-17", "prompt": "a fox"})
    assert refused.status == 502
    assert "402" in (await refused.json())["detail"]


async def test_a_request_that_timed_out_gets_its_picture_when_it_is_sent_again(shop: Any, api: ScriptedAPI) -> None:
    api.next(Script(duration=3600, output=[]))
    order = {"key": "order-17", "prompt": "a fox", "timeout": 0.5}
    late = await shop.request("POST", "/pictures", order)
    assert late.status == 504
    api.predictions[0].finish()
    again = await shop.request("POST", "/pictures", order | {"timeout": 60})
    assert (again.status, (await again.json())["status"]) == (200, "succeeded")
    assert api.count("create") == 1


async def test_the_orders_of_a_server_that_was_killed_are_finished_by_the_next_server(
    shop: Any, server: Program, serve: Callable[[], Program], api: ScriptedAPI, folder: Path
) -> None:
    api.next(Script(duration=3600, output=[OutputFile(name="fox.gif", content=b"GIF89a")]))
    await shop.request("POST", "/orders", {"key": "order-17", "prompt": "a fox"})
    await asyncio.to_thread(server.kill)
    (prediction,) = api.predictions
    prediction.finish()
    await asyncio.to_thread(serve().wait_for, "resumed order-17: succeeded")
    assert (folder / "outputs" / prediction.id / "output-0.gif").read_bytes() == b"GIF89a"
    assert api.count("create") == 1

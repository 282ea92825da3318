"""The data that a page of another origin may read from the local server, in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from replicate_job.serving.answer import Answer
from replicate_job.serving.listener import bind, listen, origin_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytest.importorskip("playwright.async_api", reason="playwright is not installed")

PAGE = Answer(200, b"<!doctype html><link rel=icon href=data:,><title>elsewhere</title>", "text/html")
PICTURE = """
async (url) => {
  const image = Object.assign(new Image(), { crossOrigin: "anonymous", src: url });
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: image.naturalWidth, height: 1 });
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL().slice(0, 21);
}
"""
STREAM = """
(url) => new Promise((resolve, reject) => {
  const source = new EventSource(url), said = [];
  source.addEventListener("output", (event) => said.push(event.data));
  source.addEventListener("done", () => { source.close(); resolve(said.join("")); });
  source.addEventListener("error", () => { source.close(); reject(new Error("the stream cannot be read")); });
})
"""
READ = "(url) => fetch(url).then((answer) => `read ${answer.status}`, () => 'kept from it')"
WRITE = """
(url) => fetch(url, { method: "POST", mode: "no-cors", body: "{}" }).then((answer) => answer.type, () => 'kept from it')
"""


@pytest_asyncio.fixture(loop_scope="session")
async def elsewhere(visit: Any) -> AsyncIterator[Any]:
    """The browser's page at another site: for the browser, localhost and 127.0.0.1 are different sites."""
    with bind() as listening:
        async with listen(PAGE, listening):
            await visit.page.goto(origin_of(listening).replace("127.0.0.1", "localhost"))
            yield visit


async def run(visit: Any, model: str, given: dict[str, Any]) -> Any:
    version = (await visit.api(f"/v1/models/{model}"))["latest_version"]["id"]
    prediction = await visit.api("/v1/predictions", {"version": version, "input": given})
    while "completed_at" not in prediction:
        prediction = await visit.api(f"/v1/predictions/{prediction['id']}")
    assert prediction["status"] == "succeeded", prediction
    return prediction


async def test_a_page_of_another_origin_can_read_a_stream_and_a_picture(elsewhere: Any) -> None:
    painted = await run(
        elsewhere,
        "black-forest-labs/flux-schnell",
        {"prompt": "a hill", "megapixels": "0.25", "num_inference_steps": 1},
    )
    spoken = await run(elsewhere, "me/words", {"prompt": "one two three"})
    page = elsewhere.page
    assert await page.evaluate(PICTURE, painted["output"][0]) == "data:image/png;base64"
    assert await page.evaluate(READ, painted["output"][0]) == "read 200"
    assert await page.evaluate(STREAM, spoken["urls"]["stream"]) == "one two three "


async def test_a_page_of_another_origin_cannot_read_or_write_anything_else(elsewhere: Any) -> None:
    elsewhere.expected = "CORS policy|ERR_FAILED|403|Failed to load"
    spoken = await run(elsewhere, "me/words", {"prompt": "one two three"})
    page, origin = elsewhere.page, elsewhere.origin
    for path in ("/", "/v1/account", "/v1/predictions", "/v1/files", "/v1/models", f"/v1/predictions/{spoken['id']}"):
        assert await page.evaluate(READ, origin + path) == "kept from it", path
    before = len((await elsewhere.api("/v1/predictions"))["results"])
    assert await page.evaluate(WRITE, f"{origin}/v1/predictions") in {"opaque", "kept from it"}
    assert await page.evaluate(WRITE, spoken["urls"]["cancel"]) in {"opaque", "kept from it"}
    assert len((await elsewhere.api("/v1/predictions"))["results"]) == before

"""Small Cog models, written by each test, behind the real local server and real Cog servers."""

from __future__ import annotations

import textwrap
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from pyreqwest.client import Client, ClientBuilder

from replicate_job.local.options import Options
from replicate_job.local.server import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from pyreqwest.client.types import JsonLoadsContext
    from pyreqwest.response import Response

NOTHING_TO_INSTALL = 'build:\n  python_version: ""\npredict: "predict.py:Predictor"\n'


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The worker's own, but for the environments: each of those is made once for all workers."""
    own = tmp_path_factory.getbasetemp()
    shared = (own if worker_id == "master" else own.parent) / "venvs"
    shared.mkdir(exist_ok=True)
    folder = tmp_path_factory.mktemp("cache")
    (folder / "venvs").symlink_to(shared)
    return folder


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes ``tmp/models/me/<name>`` and gives its folder; its root is ``tmp/models``."""

    def write(code: str, config: str = NOTHING_TO_INSTALL, name: str = "model", **files: str) -> Path:
        folder = tmp_path / "models" / "me" / name
        folder.mkdir(parents=True)
        (folder / "cog.yaml").write_text(config)
        (folder / "predict.py").write_text(textwrap.dedent(code))
        for file, content in files.items():
            (folder / file.replace("_dot_", ".")).write_text(content)
        return folder

    return write


class Api:
    """A client of a local server. Paths are below its origin."""

    def __init__(self, base_url: str, client: Client) -> None:
        self.base_url, self.client = base_url, client

    async def request(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        url = path if path.startswith("http") else self.base_url + path
        request = self.client.request(method, url)
        for name, value in headers.items():
            request = request.header(name.replace("_", "-"), value)
        if body is not None:
            request = request.body_bytes(msgspec.json.encode(body)).header("content-type", "application/json")
        return await request.build().send()

    async def get(self, path: str, **headers: str) -> Any:
        return await (await self.request("GET", path, **headers)).json()

    async def version(self, name: str = "me/model") -> str:
        return str((await self.get(f"/v1/models/{name}"))["latest_version"]["id"])

    async def create(self, given: dict[str, Any], **headers: str) -> Any:
        body = {"version": await self.version(), "input": given}
        return await (await self.request("POST", "/v1/predictions", body, **headers)).json()

    async def run(self, **given: Any) -> Any:
        """A prediction at its end."""
        prediction = await self.create(given, prefer="wait")
        assert "completed_at" in prediction, prediction
        return prediction

    async def until(self, prediction: Any, reached: Callable[[Any], bool]) -> Any:
        """Read the prediction's stream, an event at a time, until a GET shows what is waited for."""
        if reached(found := await self.get(prediction["urls"]["get"])):
            return found
        async with (
            self.client.get(prediction["urls"]["stream"]).streamed_read_buffer_limit(0).build_streamed() as response
        ):
            while await response.body_reader.read_chunk():
                if reached(found := await self.get(prediction["urls"]["get"])):
                    return found
        found = await self.get(prediction["urls"]["get"])
        assert reached(found), found
        return found


async def exact(answer: JsonLoadsContext) -> Any:
    """The answer's JSON. pyreqwest's own reader is off by one bit in a tenth of all floats (measured, 0.15)."""
    return msgspec.json.decode(await answer.body_reader.bytes())


@pytest.fixture
def reach() -> Callable[[str], AbstractAsyncContextManager[Api]]:
    """An ``Api`` at an origin, to be entered."""

    @asynccontextmanager
    async def open_client(base_url: str) -> AsyncIterator[Api]:
        async with ClientBuilder().no_proxy().json_handler(loads=exact).build() as client:
            yield Api(base_url, client)

    return open_client


@pytest.fixture
def local(tmp_path: Path, cache: Path, reach: Callable[[str], AbstractAsyncContextManager[Api]]) -> Callable[..., Any]:
    """A server of the test's models, to be entered; it gives an ``Api``."""

    @asynccontextmanager
    async def start(**options: Any) -> AsyncIterator[Api]:
        settings: dict[str, Any] = {"models": [tmp_path / "models"], "cache_dir": cache, "grace": 0.2} | options
        async with serve(Options(**settings)) as base_url, reach(base_url) as api:
            yield api

    return start

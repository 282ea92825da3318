"""Tests of the built-in models in their own environments, on the real local server."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.local.catalog.catalog import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

sys.path.insert(0, str(BUILT_IN / "_shared"))  # their environments also have this folder on the path


class Running:
    """Makes predictions with one built-in model. A call returns a prediction that has ended."""

    def __init__(self, api: Any, name: str) -> None:
        self.api, self._name = api, name

    async def __call__(self, **given: Any) -> Any:
        prediction = await self.create("wait", **given)
        if prediction["status"] not in {"starting", "processing"}:
            return prediction
        return await self.api.until(
            prediction, lambda found: "completed_at" in found
        )  # on a busy machine, a blocking wait may end before

    async def create(self, prefer: str = "respond-async", **given: Any) -> Any:
        """Create a prediction by version, which works for official and community models."""
        body = {"version": await self.api.version(self._name), "input": given}
        return await (await self.api.request("POST", "/v1/predictions", body, prefer=prefer)).json()

    async def output(self, **given: Any) -> Any:
        prediction = await self(**given)
        assert prediction["status"] == "succeeded", prediction
        return prediction["output"]

    async def failure(self, **given: Any) -> str:
        """The error of a prediction, without the class name that Cog's server may put before it."""
        prediction = await self(**given)
        assert prediction["status"] == "failed", prediction
        assert "\n" not in prediction["error"]
        return str(prediction["error"]).removeprefix("ValueError: ")


@pytest.fixture
def running(local: Callable[..., Any]) -> Callable[[str], Any]:
    """Opens a local server. Yields a ``Running`` for the model of that name."""

    @asynccontextmanager
    async def start(name: str) -> AsyncIterator[Running]:
        async with local() as api:
            yield Running(api, name)

    return start


@pytest.fixture
def inputs() -> Callable[[str], list[str]]:
    """Returns the names of a built-in model's inputs, in the order of its shipped OpenAPI document."""

    def read(name: str) -> list[str]:
        document = msgspec.json.decode((BUILT_IN / name / "openapi.json").read_bytes())
        found = document["components"]["schemas"]["Input"]["properties"]
        return sorted(found, key=lambda each: int(found[each]["x-order"]))

    return read

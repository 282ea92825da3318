"""File inputs and outputs between the real server, its real model servers and a web site."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from replicate_job.serving.listener import bind, listen, origin_of

SHOW = """
    from cog import BasePredictor, Path

    class Predictor(BasePredictor):
        def predict(self, document: Path) -> Path:
            made = Path(f"made{document.suffix}")
            made.write_text(document.name + " " + document.read_text())
            return made
"""


@pytest.fixture
async def site() -> AsyncIterator[str]:
    """The origin of a web site on the loopback address."""

    async def page(_: Request) -> Response:
        return Response("from the web", media_type="text/csv")

    with bind() as listening:
        async with listen(Starlette(routes=[Route("/{path:path}", page)]), listening):
            yield origin_of(listening)


async def test_a_model_gets_a_downloaded_file_with_its_suffix(
    write_model: Callable[..., Path], local: Any, site: str
) -> None:
    write_model(SHOW)
    async with local(allow_private=True) as api:
        done = await api.run(document=f"{site}/table?x=1")
        assert done["error"] is None
        assert (await (await api.request("GET", done["output"])).text()).endswith("table.csv from the web")
        assert done["input"] == {"document": f"{site}/table?x=1"}
        again = await api.run(document=done["output"])
        assert (await (await api.request("GET", again["output"])).text()).endswith("from the web")


async def test_a_private_address_as_input_fails_the_prediction_with_the_reason(
    write_model: Callable[..., Path], local: Any, site: str
) -> None:
    write_model(SHOW)
    async with local() as api:
        done = await api.run(document=f"{site}/table")
        assert done["status"] == "failed"
        assert done["error"].startswith("input.document: 127.0.0.1 is in a private network or on this machine")


async def test_an_output_of_type_any_may_be_a_file(write_model: Callable[..., Path], local: Any) -> None:
    write_model("""
        from typing import Any
        from cog import BasePredictor, Path

        class Predictor(BasePredictor):
            def predict(self) -> Any:
                Path("note.txt").write_text("a note")
                return Path("note.txt")
    """)
    async with local() as api:
        done = await api.run()
        assert await (await api.request("GET", done["output"])).text() == "a note", done

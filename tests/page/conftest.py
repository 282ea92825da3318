"""The page in a real Chromium, with the real local server and Cog servers. All these tests share them."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import struct
import textwrap
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from replicate_job.testing import LocalAPI, ServerOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CONFIG = 'build:\n  python_version: ""\npredict: "predict.py:{name}"\n'
MODELS = {
    # It yields its words. In the middle, it waits until the file "gate" exists.
    "words": """
        import os, sys, time
        from cog import BasePredictor, ConcatenateIterator

        class Predictor(BasePredictor):
            def predict(self, prompt: str, gate: str = "") -> ConcatenateIterator[str]:
                words = prompt.split(" ")
                print("said to", prompt, flush=True)
                for place, word in enumerate(words):
                    bar = f"\\rwords: {place * 100 // len(words):3d}%|{'#' * place}| {place}/{len(words)} [00:01<00:02]"
                    print(bar, end="", file=sys.stderr, flush=True)
                    while place == len(words) // 2 and gate and not os.path.exists(gate):
                        time.sleep(0.01)
                    if word == "fail":
                        raise ValueError("this cannot be <b>done</b>")
                    yield word + " "
        """,
    "files": """
        import wave
        from cog import BasePredictor, Input, Path

        class Predictor(BasePredictor):
            def predict(self, image: Path = Input(description="Given back", default=None)) -> list[Path]:
                if image:
                    print(len(image.read_bytes()), "bytes")
                    Path("same.png").write_bytes(image.read_bytes())
                    return [Path("same.png")]
                with wave.open("tone.wav", "wb") as sound:
                    sound.setnchannels(1)
                    sound.setsampwidth(2)
                    sound.setframerate(8000)
                    sound.writeframes(bytes(8000))
                Path("table.csv").write_text("a,b\\n1,<b>2</b>\\n")
                Path("data.zip").write_bytes(b"PK")
                return [Path("tone.wav"), Path("table.csv"), Path("data.zip")]
        """,
    "edited": """
        from cog import BaseRunner

        class Runner(BaseRunner):
            def run(self, prompt: str = "a") -> str:
                return "old " + prompt
        """,
    "heard": """
        from cog import BaseModel, BasePredictor

        class Output(BaseModel):
            language: str
            transcription: str
            segments: list[dict]

        class Predictor(BasePredictor):
            def predict(self) -> Output:
                print("Stand-in: not heard: <b>music</b>")
                return Output(language="english", transcription=" Good day.\\nHow are you? ", segments=[{"id": 0}])
        """,
    "every": """
        from typing import Literal, Optional
        from cog import BasePredictor, Input, Path, Secret

        class Predictor(BasePredictor):
            def predict(
                self,
                prompt: str = Input(description="Asked for"),
                style: Literal["plain", "bold"] = Input(default="plain"),
                size: int = Input(choices=[256, 512], default=512),
                strength: float = Input(ge=0, le=1, default=0.8),
                steps: int = Input(ge=1, le=50, default=4),
                seed: Optional[int] = Input(default=None),
                fast: bool = Input(default=True),
                maybe: Optional[bool] = Input(default=None),
                negative: str = Input(default="ugly"),
                words: list[str] = Input(default=["a", "b"]),
                counts: list[int] = Input(default=[]),
                images: list[Path] = Input(default=None),
                key: Secret = Input(default=None),
                options: dict = Input(default=None),
            ) -> dict:
                return {"said": "<img src=x onerror=alert(1)>", "vector": list(range(400)), "in": [{"a": None}]}
        """,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All these tests share one event loop, because they share the browser."""
    for item in items:
        if Path(item.path).parent == Path(__file__).parent and item.get_closest_marker("asyncio"):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of the models, and the cache folder with their environments."""
    root = tmp_path_factory.mktemp("page")
    for name, code in MODELS.items():
        folder = root / "models" / "me" / name
        folder.mkdir(parents=True)
        (folder / "cog.yaml").write_text(CONFIG.format(name="Runner" if "Runner" in code else "Predictor"))
        (folder / "predict.py").write_text(textwrap.dedent(code))
    (root / "models/me/words/README.md").write_text(
        "# Words\n\nSays `words` **again**: <b>see</b> [here](javascript:x).\n"
    )
    return root / "models", root / "cache"


@pytest.fixture(scope="session")
def replicate_local_options(folders: tuple[Path, Path]) -> ServerOptions:
    models, cache = folders
    return ServerOptions(models=[models], cache_dir=cache, grace=0.2)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    api.expect.set_options(timeout=30_000)  # starting a model takes time
    async with api.async_playwright() as playwright:
        try:
            started = await playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox"] if not os.getuid() else []
            )
        except api.Error as error:
            reason = "it does not start" if CHROMIUM else "none in PATH, nor by playwright install chromium"
            pytest.skip(f"no Chromium: {reason} ({error.message.splitlines()[0]:.60}…)")
        yield started
        await started.close()


class Visit:
    """A visit of the page. ``complaints`` are the console's messages. ``expected`` is a pattern of allowed messages."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page, self.origin = page, origin
        self.complaints: list[str] = []
        self.expected = r"(?!)"
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.text} {message.location}")

    async def to(self, path: str) -> Visit:
        await self.page.goto(self.origin + path)
        await self.page.locator("main h1").wait_for()
        return self

    def field(self, name: str) -> Locator:
        return self.page.locator(f'.field[data-name="{name}"]')

    def text(self, name: str) -> Locator:
        return self.page.get_by_role("textbox", name=name, exact=True)

    async def run(self) -> None:
        await self.page.keyboard.press("Control+Enter")

    async def status(self, status: str) -> None:
        from playwright.async_api import expect  # noqa: PLC0415 - playwright is not installed everywhere

        await expect(self.page.get_by_test_id("status")).to_have_text(status)

    async def snippet(self, kind: str) -> str:
        await self.page.get_by_role("tab", name=kind, exact=True).click()
        return await self.page.get_by_test_id("snippet").inner_text()

    async def api(self, path: str, body: Any = None) -> Any:
        request = self.page.request
        answer = await (
            request.get(self.origin + path) if body is None else request.post(self.origin + path, data=body)
        )
        return await answer.json()

    async def create(self, prompt: str, **others: str) -> Any:
        """Create a prediction of me/words without the page."""
        version = (await self.api("/v1/models/me/words"))["latest_version"]["id"]
        return await self.api("/v1/predictions", {"version": version, "input": {"prompt": prompt, **others}})

    async def prediction(self) -> Any:
        """The prediction whose address the page has."""
        return await self.api(f"/v1/predictions/{self.page.url.rpartition('/')[2]}")

    async def pure(self, module: str, expression: str, argument: Any = None) -> Any:
        """The value of a JavaScript expression with one of the page's modules as ``m``, and with ``given``."""
        await self.page.goto(f"{self.origin}/page/any/icon.svg")  # a page without scripts of its own
        code = f"async (given) => {{ const m = await import('/page/any/js/{module}.js'); return {expression}; }}"
        return await self.page.evaluate(code, argument)


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    made = await browser.new_context(
        viewport={"width": 1280, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
    )
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(context: BrowserContext, replicate_local: LocalAPI) -> AsyncIterator[Visit]:
    """A new visit. At the end, the console must have no messages except the expected ones."""
    page = await context.new_page()
    page.set_default_timeout(30_000)
    visitor = Visit(page, replicate_local.base_url)
    yield visitor
    assert [text for text in visitor.complaints if not re.search(visitor.expected, text)] == []


@pytest.fixture
def edited(folders: tuple[Path, Path], visit: Visit) -> Callable[[str], Awaitable[str]]:
    """Replaces ``run`` of the model me/edited. Returns the new version's id when the server has noticed it."""
    place = folders[0] / "me/edited/predict.py"

    async def edit(method: str) -> str:
        before = (await visit.api("/v1/models/me/edited"))["latest_version"]["id"]
        place.write_text(f"from cog import BaseRunner\n\nclass Runner(BaseRunner):\n    {method}\n")
        async with asyncio.timeout(20):
            while (now := (await visit.api("/v1/models/me/edited"))["latest_version"]["id"]) == before:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.1)
        return str(now)

    return edit


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A PNG of four pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header, rows = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0), zlib.compress(b"\0\xff\0\0\0\xff\0" * 2)
    path = tmp_path / "small.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path

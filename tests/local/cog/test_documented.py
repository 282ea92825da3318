"""The example models of Cog's documentation, served from their folders without change."""

from __future__ import annotations

import asyncio
import base64
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from replicate_job.local.prediction import Produced

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HELLO = """
from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def setup(self):
        self.prefix = "hello"

    def predict(self, text: str = Input(description="Text to prefix with 'hello '")) -> str:
        return self.prefix + " " + text
"""
RESIZE = """
from cog import BasePredictor, Input, Path
from PIL import Image


class Predictor(BasePredictor):
    def predict(
        self,
        image: Path = Input(description="Image to resize"),
        width: int = Input(description="Width to resize image to", ge=1, le=10),
        height: int = Input(description="Height to resize image to", ge=1, le=10),
    ) -> Path:
        image = Image.open(image)
        image = image.resize((width, height))
        output_path = Path("resized.png")
        image.save(output_path)
        return output_path
"""
STREAM = """
from cog import BasePredictor, ConcatenateIterator, Input


class Predictor(BasePredictor):
    def predict(self, text: str = Input(description="Text to repeat")) -> ConcatenateIterator[str]:
        for word in [text, ", ", "again"]:
            yield word
"""
CONCURRENT = """
import asyncio

from cog import AsyncConcatenateIterator, BasePredictor, Input


class Predictor(BasePredictor):
    async def setup(self) -> None:
        self.all = asyncio.Barrier(4)

    async def predict(self, name: str = Input(description="Who")) -> AsyncConcatenateIterator[str]:
        yield "hello "
        await self.all.wait()
        yield name
"""
OBJECT = """
from typing import Optional

from cog import BaseModel, BasePredictor, Path


class Output(BaseModel):
    score: Optional[float] = None
    file: Optional[Path] = None


class Predictor(BasePredictor):
    def predict(self, scored: bool) -> Output:
        if scored:
            return Output(score=1.5)
        Path("made.txt").write_text("hello")
        return Output(file=Path("made.txt"))
"""
METRICS = """
from cog import BasePredictor, Secret


class Predictor(BasePredictor):
    def predict(self, prompt: str, api_token: Secret = None) -> list[str]:
        self.record_metric("token_count", 1, mode="incr")
        self.record_metric("timing.inference", 0.85)
        print(api_token)
        return [prompt, "" if api_token is None else api_token.get_secret_value()]
"""
CONFIG = 'build:\n  python_version: "3.13"\npredict: "predict.py:Predictor"\n'


async def test_the_hello_world_model_runs(write_model: Callable[..., Path], bench: Any) -> None:
    write_model(HELLO, CONFIG)
    async with bench() as engine:
        assert await engine.output(text="world") == "hello world"


async def test_a_model_resizes_an_image(write_model: Callable[..., Path], bench: Any, cache: Path) -> None:
    write_model(RESIZE, f"{CONFIG}build:\n  python_requirements: requirements.txt\n", requirements_dot_txt="pillow\n")
    drawn = BytesIO()
    Image.new("RGB", (64, 64), "red").save(drawn, "PNG")
    async with bench() as engine:
        given = f"data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}"
        address = await engine.output(image=given, width=10, height=5)
        assert address.endswith(".png")
        with Image.open(BytesIO(engine.read(address))) as image:
            assert image.size == (10, 5)
        version = engine.catalog.find("me", "model").version
    # The model's own copy of its output is removed when its process ends.
    assert not (cache / "workspaces" / version / "src" / "resized.png").exists()
    assert (cache / "workspaces" / version / "src" / "predict.py").exists()


async def test_a_text_model_streams_its_output_in_pieces(write_model: Callable[..., Path], bench: Any) -> None:
    write_model(STREAM, CONFIG)
    async with bench() as engine:
        run = await engine.run(text="well")
        assert run.parts == run.end.output == ["well", ", ", "again"]


@pytest.mark.parametrize("config", ["concurrency:\n  max: 4\n", ""], ids=["in cog.yaml", "in the code"])
async def test_four_predictions_of_an_async_model_run_at_the_same_time(
    write_model: Callable[..., Path], bench: Any, config: str
) -> None:
    code = CONCURRENT
    if not config:
        code = code.replace("BasePredictor, Input", "BasePredictor, Input, concurrent")
        code = code.replace("    async def predict", "    @concurrent(max=4)\n    async def predict")
    write_model(code, CONFIG + config)
    async with bench() as engine:
        assert engine.catalog.find("me", "model").concurrency == 4
        begun = [engine.start(name=name) for name in "abcd"]
        for run, _ in begun:
            await run.until(Produced)
        runs = await asyncio.gather(*(task for _, task in begun))
        assert [run.end.output for run in runs] == [["hello ", name] for name in "abcd"]


async def test_an_output_object_leaves_out_missing_fields(write_model: Callable[..., Path], bench: Any) -> None:
    write_model(OBJECT, CONFIG)
    async with bench() as engine:
        scored = await engine.output(scored=True)
        assert scored["score"] == 1.5
        assert scored.get("file") is None
        assert engine.read((await engine.output(scored=False))["file"]) == b"hello"


async def test_a_model_gets_secrets_and_records_metrics(write_model: Callable[..., Path], bench: Any) -> None:
    write_model(METRICS, CONFIG)
    async with bench() as engine:
        run = await engine.run(prompt="a", api_token="xyz")  # noqa: S106 - a model's input
        assert run.end.output == ["a", "xyz"]
        assert run.end.metrics["token_count"] == 1
        assert run.end.metrics["timing"] == {"inference": 0.85}
        assert "xyz" not in run.log
        assert await engine.output(prompt="b") == ["b", ""]

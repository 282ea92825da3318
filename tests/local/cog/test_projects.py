"""Cog projects as people write them: constructs of public projects, each in a small model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG = 'run: "predict.py:Predictor"\n'


async def test_a_class_without_a_base_whose_method_is_decorated_is_served(
    write_model: Callable[..., Path], bench: Any
) -> None:
    code = """
        from cog.input import Input

        def logged(function):  # without functools.wraps
            def call(*args, **kwargs):
                return function(*args, **kwargs)
            return call

        class Predictor:
            @logged
            def predict(model, text: str, far: float = Input(default=float("inf")), **others) -> str:
                return f"{text} {far} {others}"
    """
    write_model(code, CONFIG)
    async with bench() as engine:
        assert await engine.output(text="a") == "a inf {}"


async def test_a_partial_method_is_served(write_model: Callable[..., Path], bench: Any) -> None:
    code = """
        import functools
        from typing import Iterator
        from cog import BasePredictor, Input

        class Predictor(BasePredictor):
            def repeat(self, text: str = Input(default="x"), times: int = 1) -> Iterator[str]:
                yield from [text] * times
            predict = functools.partialmethod(repeat, times=2)
    """
    write_model(code, CONFIG)
    async with bench() as engine:
        assert await engine.output() == ["x", "x"]
        assert await engine.output(text="y", times=1) == ["y"]

"""Replicate's own first model: a greeting."""

# ruff: noqa: INP001 - a Cog model is a folder, not a package, and its inputs are positional defaults

from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(self, text: str = Input(description="Text to prefix with 'hello '")) -> str:
        """Greet."""
        return "hello " + text

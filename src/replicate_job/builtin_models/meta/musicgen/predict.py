"""A predictor with MusicGen's inputs, run by the composer."""

# ruff: noqa: INP001 - a Cog model is a folder, not a package

from composer.musicgen import Predictor

__all__ = ["Predictor"]

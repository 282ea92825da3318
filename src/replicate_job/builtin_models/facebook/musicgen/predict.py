"""MusicGen's inputs, and a composer that answers."""

# ruff: noqa: INP001 - a Cog model is a folder, not a package

from composer.musicgen import Predictor

__all__ = ["Predictor"]

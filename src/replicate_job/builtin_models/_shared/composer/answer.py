"""MusicGen's inputs to a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from log import ignored, left_out

from composer import studio
from composer.prompt import read

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

IGNORED = {
    "continuation": False,
    "continuation_start": 0,
    "continuation_end": None,
    "multi_band_diffusion": False,
    "top_k": 250,
    "top_p": 0.0,
    "temperature": 1.0,
    "classifier_free_guidance": 3,
}
"""Inputs without effect here, and their defaults: the log names those that were set to something else."""


def answer(given: Mapping[str, Any]) -> Path:
    """Compose what the inputs ask for; the log says what is played of it and what is not."""
    studio.announce("MusicGen")
    _check(given)
    ignored([name for name, default in IGNORED.items() if given[name] != default])
    if given["input_audio"]:
        left_out("input_audio is not heard: the piece is made from the prompt alone")
    seconds = studio.bounded(given["duration"])
    seed = studio.seeded(given["seed"])
    request = read(given["prompt"] or "")
    made = studio.perform(request, seconds, seed)
    stereo = given["model_version"].startswith("stereo")
    return studio.save(studio.finish(made, given["normalization_strategy"], stereo=stereo), given["output_format"])


def _check(given: Mapping[str, Any]) -> None:
    """Refuse what the real model refuses, in its words."""
    version, audio, continuation = given["model_version"], given["input_audio"], given["continuation"]
    if given["prompt"] is None and audio is None:
        raise ValueError("Must provide either prompt or input_audio")
    if continuation and not audio:
        raise ValueError("Must provide `input_audio` if continuation is `True`.")
    if version in {"stereo-large", "large"} and audio and not continuation:
        raise ValueError(
            "`stereo-large` and `large` model does not support melody input. Set `model_version='stereo-melody-large'` "
            "or `model_version='melody-large'` to condition on audio input."
        )
    if "stereo" in version and given["multi_band_diffusion"]:
        raise ValueError("Multi-Band Diffusion is only available with non-stereo models.")

"""Makes a file from MusicGen's inputs, and logs which inputs it followed."""

from __future__ import annotations

import os
import tempfile
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from log import Progress, ignored, left_out, say

from composer.arrangement import arrange
from composer.loudness import normalised
from composer.mix import mix
from composer.noise import RATE, Array
from composer.prompt import read
from composer.score import compose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from composer.prompt import Request

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
"""Maps inputs without effect here to their defaults. The log names the inputs that have another value."""
_LONGEST = 120  # seconds
_COMPRESSION = 0.5  # 160 kbit/s


def answer(given: Mapping[str, Any]) -> Path:
    """Compose a piece by the inputs. The log names the words of the prompt that the piece follows, and the others."""
    _check(given)
    ignored([name for name, default in IGNORED.items() if given[name] != default])
    if given["input_audio"]:
        left_out("input_audio is not heard: the piece is made from the prompt alone")
    seconds = bounded(given["duration"])
    seed = seeded(given["seed"])
    request = read(given["prompt"] or "")
    made = perform(request, seconds, seed)
    if not given["model_version"].startswith("stereo"):
        made = made.mean(axis=0, keepdims=True)
    return save(normalised(made, given["normalization_strategy"]), given["output_format"])


def _check(given: Mapping[str, Any]) -> None:
    """Raise the real model's errors for inputs that it refuses."""
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


def seeded(seed: int | None) -> int:
    """Return the seed, or draw one (four bytes) for None, -1 and 0, as MusicGen does, and log it."""
    # Cog passes an integer of more than 64 bits as a float.
    seed = int(seed) if seed and seed != -1 else int.from_bytes(os.urandom(4), "big")
    say(f"Using seed {seed}")
    return seed


def bounded(seconds: int) -> int:
    """Return the duration to compose: at most 120 seconds, which is logged. Raises ValueError below 1 second."""
    if seconds < 1:
        raise ValueError(f"duration must be at least 1 second, not {seconds}")
    if seconds > _LONGEST:
        say(f"Duration set to {_LONGEST} s (asked for {seconds})")
    return min(_LONGEST, int(seconds))


def perform(request: Request, seconds: float, seed: int) -> Array:
    """Compose and play a piece (2, samples), not yet normalised or limited. The progress bar counts its seconds."""
    piece = arrange(request, seconds, seed)
    played, missed = request.played(piece.players.values())
    if played:
        say(f"Played: {', '.join(played)}")
    if missed:
        left_out(f"not played: {', '.join(missed)}")
    say(f"Composing: {piece.sentence()}")
    progress, total = Progress(), max(1, round(seconds))
    progress.show(0, total)
    sound = mix(piece, compose(piece), lambda part: progress.show(0.95 * part * total, total))
    progress.show(total, total)
    return sound


def save(sound: Array, suffix: str) -> Path:
    """Write (channels, samples) as ``out.wav`` (16 bits) or ``out.mp3`` into a folder of its own."""
    path = Path(tempfile.mkdtemp(prefix="composer-")) / f"out.{suffix}"
    if suffix == "mp3":
        import soundfile  # noqa: PLC0415 - only this format needs it

        # As floats: libsndfile 1.2 distorts an MP3 that is made of 16-bit numbers.
        soundfile.write(path, sound.T, RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=_COMPRESSION)
        return path
    counts = np.round(sound.T * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(counts.shape[1])
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(counts.tobytes())
    return path

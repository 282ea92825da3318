"""What both models share: seeds, pictures and their sizes, files in a format and quality."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from log import Progress, say
from PIL import Image, UnidentifiedImageError

from painter.paint import STAGES, paint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from painter.scene import Scene

NOTICE = (
    "This is a stand-in: the built-in painter of replicate-job, made of numpy and noise. "
    "It is not {model}, has no trained weights, and paints landscapes and cities only."
)


def announce(model: str) -> None:
    """Say in the log, before anything else, that this is not the model whose name it answers to."""
    say(NOTICE.format(model=model))


def seeded(seed: int | None) -> int:
    """Return the seed, or draw one (two bytes, as FLUX does), and log it."""
    # Cog hands an integer beyond 64 bits on as a float.
    seed = int.from_bytes(os.urandom(2), "big") if seed is None else int(seed)
    say(f"Using seed: {seed}")
    return seed


def open_picture(name: str, path: str | os.PathLike[str]) -> Image.Image:
    """Open an input that must be a picture. Raises ValueError that names the input, not our copy of it."""
    try:
        return Image.open(path)
    except UnidentifiedImageError:
        raise ValueError(f"{name} is not a picture that can be read") from None


def describe(scene: Scene) -> None:
    """Log what was understood of the prompt and what was not."""
    if scene.words:
        say(f"Understood: {', '.join(scene.words)}")
        if scene.missed:
            say(f"Not painted: {', '.join(scene.missed)}")
    else:
        say("Nothing in the prompt is known to the painter: its words only choose a landscape")


def bounded(width: int, height: int) -> tuple[int, int]:
    """Return a size that the painter can paint: sides of 64 to 2048 pixels, multiples of 8; a change is logged."""
    size = tuple(min(2048, max(64, side // 8 * 8)) for side in (width, height))
    if size != (width, height):
        say(f"Size set to {size[0]}x{size[1]} (asked for {width}x{height})")
    return size


def pictures(scene: Scene, size: tuple[int, int], seed: int, count: int, steps: int) -> Iterator[Image.Image]:
    """Paint ``count`` variations at consecutive seeds; progress counts to ``steps``; below 4 the work is coarser."""
    progress = Progress()
    progress.show(0, steps)
    detail = min(1.0, steps / 4)
    for number in range(count):
        for stage, picture in enumerate(paint(scene, *size, seed + number, detail), 1):
            if picture is None:
                progress.show(steps * (number + stage / (STAGES + 1)) / count, steps)
            else:
                progress.show(steps * (number + 1) / count, steps)
                yield picture


def save(picture: Image.Image, name: str, quality: int) -> Path:
    """Write a picture into a folder of its own; the suffix of ``name`` gives the format (webp, jpg, png)."""
    path = Path(tempfile.mkdtemp(prefix="painter-")) / name
    options = {} if path.suffix == ".png" else {"quality": quality}
    picture.save(path, **options)
    return path

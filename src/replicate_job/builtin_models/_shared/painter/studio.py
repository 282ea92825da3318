"""Functions that both image models share: for seeds, sizes, pictures, and files in a format and quality."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from log import Progress, left_out, say
from PIL import Image, ImageFilter, UnidentifiedImageError

from painter import card
from painter.landscape import STAGES, paint
from painter.scene import is_known

if TYPE_CHECKING:
    from collections.abc import Iterator

    from painter.scene import Request


def seeded(seed: int | None) -> int:
    """Return the seed, or draw one (two bytes, as FLUX does), and log it."""
    # Cog passes an integer of more than 64 bits as a float.
    seed = int.from_bytes(os.urandom(2), "big") if seed is None else int(seed)
    say(f"Using seed: {seed}")
    return seed


def open_picture(name: str, path: str | os.PathLike[str]) -> Image.Image:
    """Open an input that must be a picture. Raises ValueError with the input's name."""
    try:
        return Image.open(path)
    except UnidentifiedImageError:
        raise ValueError(f"{name} is not a picture that can be read") from None


def describe(request: Request) -> None:
    """Log which words of the prompt are painted and which are not, or why the picture is a card."""
    if request.scene:
        say(f"Painted: {', '.join(request.painted)}")
        if request.missed:
            left_out(f"not painted: {', '.join(request.missed)}")
        return
    unknown = ", ".join(word for word in request.missed if not is_known(word))
    known = ", ".join(word for word in request.missed if is_known(word))
    reasons = [f"it can't paint {unknown}"] if unknown else []
    reasons += [f"it can't paint {known} together with the rest"] if known else []
    left_out(f"a card: {' and '.join(reasons) or 'the prompt names no place that it paints'}")


def bounded(width: int, height: int) -> tuple[int, int]:
    """Return a size that can be painted: sides of 64 to 2048 pixels, multiples of 8. A change is logged."""
    wide, high = (min(2048, max(64, side // 8 * 8)) for side in (width, height))
    if (wide, high) != (width, height):
        say(f"Size set to {wide}x{high} (asked for {width}x{height})")
    return wide, high


def pictures(request: Request, size: tuple[int, int], seed: int, count: int, steps: int) -> Iterator[Image.Image]:
    """Make ``count`` pictures with consecutive seeds. With fewer ``steps`` than 4, scenes are coarser.

    The progress bar counts the stages that are painted. A card has no stages.
    """
    progress, done = Progress(), 0
    for number in range(count):
        if request.scene is None:
            yield _card(request, size, seed + number, first=number == 0)
            continue
        progress.show(done, count * STAGES)
        for part in paint(request.scene, *size, seed + number, min(1.0, steps / 4)):
            done += 1
            progress.show(done, count * STAGES)
            if part:
                yield part


def _card(request: Request, size: tuple[int, int], seed: int, *, first: bool) -> Image.Image:
    picture, missing, left = card.draw(request.text, seed, request.key, *size)
    if missing and first:
        left_out(f"its font has no letters for {missing}")
    if left and first:
        left_out(f"the card has no room for the last {left} characters of the prompt")
    return picture


def over(image: Image.Image, painting: Image.Image, strength: float, mask: Image.Image | None) -> Image.Image:
    """Blend a painting over an image of the same size. At ``strength`` 1, nothing of the image remains.

    A mask limits this to its white areas.
    """
    mixed = Image.blend(image, painting, strength)
    return Image.composite(mixed, image, mask.filter(ImageFilter.GaussianBlur(2))) if mask else mixed


def save(picture: Image.Image, name: str, quality: int) -> Path:
    """Sign a picture and write it into a folder of its own. ``name`` has the format's suffix (webp, jpg, png)."""
    path = Path(tempfile.mkdtemp(prefix="painter-")) / name
    card.sign(picture).save(path, quality=quality)  # a PNG ignores the quality
    return path

"""Reads pictures from files, and writes them."""

# ruff: noqa: INP001 - a Cog model is a folder, not a package

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MOST = 2_096_704
"""The most pixels that the real model accepts. The error message is the real model's too."""

# Pillow's own limit is not needed, because the one above is lower, and is checked before a picture is decoded.
Image.MAX_IMAGE_PIXELS = None


def read(path: str | os.PathLike[str]) -> Image.Image:
    """Open a picture, upright, as L, LA, RGB or RGBA. Raises ValueError if it cannot be read or is too large."""
    try:
        opened = Image.open(path)
    except UnidentifiedImageError:
        raise ValueError("image is not a picture that can be read") from None
    width, height = opened.size
    if width * height > MOST:
        shape = (height, width, len(opened.getbands()))
        raise ValueError(
            f"Input image of dimensions {shape} has a total number of pixels {width * height} greater than the max "
            f"size that fits in GPU memory on this hardware, {MOST}. Resize input image and try again."
        )
    return _plain(ImageOps.exif_transpose(opened))


def _plain(opened: Image.Image) -> Image.Image:
    if opened.mode.startswith("I;16"):
        opened = Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8))
    grey = opened.mode in {"1", "L", "LA", "La"}
    see_through = opened.has_transparency_data
    plain = opened.convert(("LA" if see_through else "L") if grey else ("RGBA" if see_through else "RGB"))
    if opened.mode in {"CMYK", "LAB", "YCbCr"}:
        plain.info.pop("icc_profile", None)  # it describes the colours before this conversion
    return plain


def write(picture: Image.Image) -> Path:
    """Write a PNG into a folder of its own."""
    path = Path(tempfile.mkdtemp(prefix="real-esrgan-")) / "output.png"
    # A higher level saves little on a photograph, and 16 megapixels take 8 seconds instead of 2.
    picture.save(path, compress_level=1, icc_profile=picture.info.get("icc_profile"))
    return path

"""A painting over a given image: what image-to-image and inpainting come down to here."""

from __future__ import annotations

from PIL import Image, ImageFilter


def over(image: Image.Image, painting: Image.Image, strength: float, mask: Image.Image | None = None) -> Image.Image:
    """Blend a painting over an image of the same size; 1 leaves only the painting.

    A mask limits it to its white parts.
    """
    mixed = Image.blend(image, painting, strength)
    if mask is None:
        return mixed
    return Image.composite(mixed, image, mask.filter(ImageFilter.GaussianBlur(2)))

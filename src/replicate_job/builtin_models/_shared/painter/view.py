"""Where the painter stands: the projection that every part of a picture shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class View:
    """A level camera. Pixels count from the top left; ``horizon`` is a row, ``focal`` is in pixels.

    ``eye`` is the height above the ground or water in world units. A point at height ``h`` and distance
    ``z`` appears ``focal * (h - eye) / z`` pixels above the horizon; seen in the water, ``focal * (h + eye) / z``
    below it.
    """

    width: int
    height: int
    horizon: int
    focal: float
    eye: float

    @property
    def above(self) -> int:
        """Rows from the horizon to the top edge, or to the bottom edge if that is farther: what water mirrors."""
        return max(self.horizon, self.height - self.horizon) + 48

    @property
    def columns(self) -> np.ndarray:
        """Horizontal position of every column over the focal length: the tangent of its bearing."""
        return ((np.arange(self.width, dtype=np.float32) + 0.5) - self.width / 2) / np.float32(self.focal)

    def place(self, x: float, h: float, z: float) -> tuple[float, float]:
        """Return the pixel (column, row) of a point in the world."""
        return self.width / 2 + self.focal * x / z, self.horizon - self.focal * (h - self.eye) / z


def framed(width: int, height: int, horizon: float, eye: float) -> View:
    """Stand so that the horizon lies at a fraction of the height; tall pictures look a little narrower."""
    focal = 0.82 * max(width, 0.8 * height)
    return View(width, height, round(horizon * height), focal, eye)

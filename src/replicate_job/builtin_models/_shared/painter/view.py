"""The camera, the light and the scene, which all parts of a picture share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from painter.noise import Array
    from painter.palette import Palette
    from painter.scene import Scene


@dataclass(frozen=True)
class View:
    """A level camera. Pixels count from the top left; ``horizon`` is a row, ``focal`` is in pixels.

    ``eye`` is the height above the water in world units. A point at height ``h`` and distance ``z`` appears
    ``focal * (h - eye) / z`` pixels above the horizon; seen in the water, ``focal * (h + eye) / z`` below it.
    ``bearing`` is the tangent of the sun's angle to the right.
    """

    width: int
    height: int
    horizon: int
    focal: float
    eye: float
    bearing: float
    scene: Scene
    light: Palette
    seed: int

    @property
    def below(self) -> int:
        return self.height - self.horizon

    @property
    def above(self) -> int:
        """Rows of sky that are painted: at least as many as the water below the horizon can reflect."""
        return max(self.horizon, self.below) + 48

    @property
    def columns(self) -> Array:
        """The tangent of each column's angle to the right: its horizontal position divided by the focal length."""
        return ((np.arange(self.width, dtype=np.float32) + 0.5) - self.width / 2) / np.float32(self.focal)

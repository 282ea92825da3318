"""Mountains as a height field: how they are shaped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from painter.noise import Array, fbm, octave, ramp, rng


@dataclass(frozen=True)
class Relief:
    """Heights on a grid, rows from ``near`` to ``far``, columns from ``-side`` to ``side`` (world units)."""

    height: Array
    near: float
    far: float
    side: float

    @property
    def cell(self) -> tuple[float, float]:
        """World size of one cell: depth, width."""
        rows, cols = self.height.shape
        return (self.far - self.near) / rows, 2 * self.side / cols

    def at(self, z: Array, x: Array) -> tuple[Array, Array]:
        """Grid position (row, column) of a place, clipped to the field."""
        rows, cols = self.height.shape
        down = (z - self.near) / (self.far - self.near) * (rows - 1)
        across = (x + self.side) / (2 * self.side) * (cols - 1)
        return np.clip(down, 0, rows - 1.001), np.clip(across, 0, cols - 1.001)


def _eroded(dice: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float], octaves: int) -> Array:
    """Fractal noise whose steep places take less detail, as if water had run down them: ridges and valleys."""
    total = np.zeros(shape, dtype=np.float32)
    slope_y, slope_x = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    weight = 1.0
    for level in range(octaves):
        scaled = cells[0] * 2.03**level, cells[1] * 2.03**level
        if scaled[0] > shape[0] * 0.7:
            break
        layer = octave(dice, shape, scaled)
        ridge = 1 - 2 * np.sqrt(layer * layer + 0.004) if level < 4 else layer  # noqa: PLR2004 - large shapes have crests
        steep_y, steep_x = np.gradient(layer)
        slope_y += steep_y * (shape[0] / cells[0]) * weight
        slope_x += steep_x * (shape[1] / cells[1]) * weight
        total += weight * ridge / (1 + 0.3 * (slope_y**2 + slope_x**2))
        weight *= 0.5
    return total


def mountains(seed: int, fine: float, bearing: float) -> Relief:
    """Raise a range across the far shore, with a valley where the sun stands and higher peaks behind."""
    near, far, side = 4.2, 19.0, 12.0
    shape = int(720 * fine), int(1080 * fine)
    dice = rng(seed, "mountains")
    z = np.linspace(near, far, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-side, side, shape[1], dtype=np.float32)[None, :]
    rough = _eroded(dice, shape, (5.2, 8.4), 9)
    shore = 5.0 + 0.55 * octave(dice, shape, (2, 5)) + 0.25 * octave(dice, shape, (2, 14))
    valley = np.abs(x - bearing * z) / (0.16 * z + 0.5)
    opening = 0.26 + 0.74 * ramp(0.15, 2.1, valley)
    rise = ramp(0.0, 6.4, z - shore) * 2.1 + ramp(0.0, 1.5, z - shore) * 0.2
    massif = 0.85 + 0.5 * fbm(dice, shape, (2.2, 3.4), 3)
    height = rise * opening * (0.7 + 0.62 * rough) * massif
    bank = np.minimum((z - shore) * 0.3, 0.045)
    return Relief((height + bank).astype(np.float32), near, far, side)

"""Clouds: a lit layer of fractal vapour seen in perspective."""

# ruff: noqa: PLR0913, PLR0917 - what stands where, in which light, from where

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from painter.noise import Array, lookup, ramp, rng, tile
from painter.sky import distance, heights

if TYPE_CHECKING:
    from painter.palette import Palette
    from painter.view import View


def clouds(sky: Array, view: View, palette: Palette, bearing: float, cover: float, seed: int) -> None:
    """Lay clouds over the sky; ``cover`` is 0 for none and 1 for a closed ceiling."""
    if cover <= 0:
        return
    dice = rng(seed, "clouds")
    vapour = tile(dice, 512, 5, 7, 0.53)
    wisps = tile(dice, 512, 3, 7, 0.6)
    up = heights(view)[:, None] + np.float32(0.055)
    far = np.broadcast_to(np.float32(1.0) / up, sky.shape[:2])
    across = view.columns[None, :] * far
    shift = dice.uniform(0, 512, 4)
    density = lookup(vapour, far * 30 + shift[0], across * 30 + shift[1])
    density += (lookup(wisps, far * 64 + shift[2], across * 19 + shift[3]) - 0.5) * 0.42
    toward = 6.0
    ahead = lookup(vapour, far * 30 + shift[0] + toward, across * 30 + shift[1] + toward * np.sign(bearing - 0.02))
    edge = 0.74 - 0.62 * cover
    body = ramp(edge, edge + 0.34, density)
    relief = np.clip(0.56 + (density - ahead) * 1.5 - 0.3 * ramp(edge + 0.18, edge + 0.7, density), 0, 1.2)
    near = np.exp(-distance(view, bearing, palette.elevation, 1.9) * 2.6)
    lit = palette.lit_cloud * 0.82 + near[..., None] * palette.sun * 0.42
    shade = palette.dark_cloud * 0.9 + near[..., None] * palette.glow * 0.12
    colour = shade + (lit - shade) * relief[..., None]
    rim = ramp(0.02, 0.35, body) * (1 - ramp(0.35, 0.95, body)) * near**2
    colour += rim[..., None] * palette.sun * 0.55
    fade = ramp(0.0, 0.1, heights(view))[:, None] * 0.55 + 0.4
    alpha = (body * fade)[..., None]
    sky *= 1 - alpha
    sky += colour * alpha

"""City pictures: a street between towers, at night."""

# ruff: noqa: PLR0913, PLR0917 - what stands where, in which light, from where

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from painter import city, cloud, neon, sky
from painter.noise import Array, fbm, lookup, ramp, resize, rng, soften, tile
from painter.palette import linear
from painter.view import framed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from painter.city import Style
    from painter.palette import Palette
    from painter.scene import Scene
    from painter.view import View


def paint(
    scene: Scene, light: Palette, width: int, height: int, seed: int, _detail: float
) -> Iterator[tuple[Array, int] | None]:
    """Paint a street at night; yields ``None`` seven times, then the canvas (linear light) and its horizon row."""
    dice = rng(seed, "town")
    glowing = "neon" in scene.shows
    view = framed(width, height, 0.6, 0.3)
    air = heavens(light, view, seed, dice.uniform(-0.25, 0.25), glowing=glowing)
    yield None
    boxes = city.canyon(dice)
    style = city.styled(air, light.shade, neon=glowing)
    boards = neon.signs(dice) if glowing else []
    state = int(dice.integers(1 << 30))
    yield None
    ahead = build(view, air, boxes, style, boards, view.eye, state, below=view.height - view.horizon)
    yield None
    mirrored = build(view, air, boxes, style, boards, -view.eye, state, below=0)
    yield None
    canvas = np.empty((height, width, 3), dtype=np.float32)
    canvas[:] = ahead[:height][::-1]
    yield None
    ground = road(view, mirrored, style, seed)
    yield None
    lay(canvas, view, ground)
    yield None
    yield canvas, view.horizon


def heavens(light: Palette, view: View, seed: int, bearing: float, *, glowing: bool) -> Array:
    """Paint the sky over a city at night, which the streets light from below."""
    air = sky.gradient(view, light)
    up = sky.heights(view)
    if not glowing:
        air += np.exp(-up * 9)[:, None, None] * linear("#a06038") * 0.42
        cloud.clouds(air, view, light, bearing, 0.5, seed)
        return air
    top, low = linear("#10143c"), linear("#a0349a")
    teal = linear("#1c7ca8")
    mix = ramp(-0.5, 0.5, fbm(rng(seed, "smog"), air.shape[:2], (2, 3), 3))[..., None]
    air[:] = top + (low * mix + teal * (1 - mix) - top) * np.exp(-up[:, None, None] * 3.6) * 1.1
    cloud.clouds(air, view, light, bearing, 0.42, seed)
    return air * 0.62 + top * 0.2


def build(
    view: View,
    air: Array,
    boxes: list[city.Box],
    style: Style,
    boards: list[neon.Sign],
    eye: float,
    state: int,
    *,
    below: int,
) -> Array:
    """Paint buildings and signs, rows upward from ``-below``, as seen from a height (negative: in the mirror)."""
    canvas = np.concatenate([np.repeat(air[:1] * 0.1, below, axis=0), air]) if below else air.copy()
    pending = list(boards)
    for box in boxes:
        while pending and pending[0].depth > box.near + box.deep:
            neon.hang(canvas, view, eye, pending.pop(0), style.thick)
        city.draw(canvas, view, eye, style, box)
    if boards:
        neon.strips(canvas, view, eye, np.random.default_rng(state), style.thick)
        city.haze_band(canvas, view, linear("#d8409a") * 0.5 + linear("#2080c0") * 0.4, 0.3)
    for sign in boards:
        neon.hang(canvas, view, eye, sign, style.thick)
    return canvas


def road(view: View, mirrored: Array, style: Style, seed: int) -> Array:
    """Paint the street, rows down from the horizon: asphalt, puddles that mirror the lights, markings."""
    rows = np.arange(view.height - view.horizon, dtype=np.float32) + 0.7
    far = np.minimum(view.eye * view.focal / rows, 50)[:, None]
    across = view.columns[None, :] * far
    dice = rng(seed, "road")
    coarse, fine = tile(dice, 256, 4, 5, 0.55), tile(dice, 256, 16, 4, 0.7)
    deep = np.broadcast_to(far, across.shape)
    pools = ramp(0.42, 0.66, lookup(coarse, deep * 60, across * 60))
    rough = lookup(fine, deep * 240, across * 120) - 0.5
    depth = len(rows)
    still = mirrored[:depth]
    smear = np.stack(
        [resize(resize(still[..., c], max(3, depth // 26), view.width // 2), depth, view.width) for c in range(3)],
        axis=-1,
    )
    shift = np.clip(
        (np.arange(depth)[:, None] + rough * (6 + 0.09 * np.arange(depth)[:, None])).astype(int), 0, depth - 1
    )
    sharp = still[shift, np.arange(view.width)[None, :]]
    shine = (0.2 + 0.62 * pools)[..., None]
    image = smear * (1 - 0.6 * pools[..., None]) + sharp * 0.6 * pools[..., None]
    tar = style.wall * (style.above + style.street * 0.16) * (0.5 + 0.5 * rough + 0.3 * (1 - pools))[..., None]
    stripe = (np.abs(across) < 0.022) & ((far * 1.4) % 1 < 0.55)  # noqa: PLR2004 - a dash and its gap
    kerb = np.abs(np.abs(across) - 0.74) < 0.014  # noqa: PLR2004 - half a kerb
    mark = soften((stripe * 0.5 + kerb * 0.25).astype(np.float32), 2)[..., None]
    haze = (1 - np.exp(-far * style.thick * 0.8))[..., None]
    return (tar * (1 + 5 * mark) + image * shine * 1.12) * (1 - 0.5 * haze) + style.haze * haze * 0.5


def lay(canvas: Array, view: View, ground: Array) -> None:
    """Put the road within its kerbs."""
    top = view.horizon
    rows = np.arange(view.height - top, dtype=np.float32) + 0.7
    far = (view.eye * view.focal / rows)[:, None]
    edge = (0.92 - np.abs(view.columns)[None, :] * far) * view.focal / far
    inside = np.clip(edge + 0.5, 0, 1)[..., None]
    canvas[top:] = canvas[top:] * (1 - inside) + ground * inside

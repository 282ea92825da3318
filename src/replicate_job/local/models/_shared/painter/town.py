"""City pictures: a street between towers, or a skyline across the water."""

# ruff: noqa: PLR0913, PLR0917 - what stands where, in which light, from where

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from painter import city, cloud, figure, neon, sky
from painter.noise import Array, fbm, lookup, ramp, resize, rng, soften, tile
from painter.palette import linear
from painter.trees import Stencil
from painter.view import framed
from painter.water import water

if TYPE_CHECKING:
    from collections.abc import Iterator

    from painter.city import Style
    from painter.palette import Palette
    from painter.scene import Scene
    from painter.view import View


def paint(
    scene: Scene, light: Palette, width: int, height: int, seed: int, _detail: float
) -> Iterator[tuple[Array, int] | None]:
    """Paint a city; yields ``None`` seven times, then the canvas (linear light) and its horizon row."""
    dice = rng(seed, "town")
    street = scene.ground == "street"
    glowing = "neon" in scene.sights
    view = framed(width, height, 0.6 if street else 0.62, 0.3 if street else 0.16)
    air = heavens(scene, light, view, seed, dice.uniform(-0.25, 0.25), glowing=glowing)
    yield None
    boxes = city.canyon(dice) if street else city.skyline(dice)
    style = city.styled(scene.hour, air, light.shade, light.sun, neon=glowing)
    boards = neon.signs(dice) if street and (glowing or scene.hour in {"night", "dusk"}) else []
    state = int(dice.integers(1 << 30))
    yield None
    ahead = build(view, air, boxes, style, boards, view.eye, state, below=view.height - view.horizon, glowing=glowing)
    yield None
    mirrored = build(view, air, boxes, style, boards, -view.eye, state, below=0, glowing=glowing)
    yield None
    canvas = np.empty((height, width, 3), dtype=np.float32)
    canvas[:] = ahead[:height][::-1]
    ground = (
        road(view, mirrored, style, seed, wet=glowing or "rain" in scene.skies or scene.hour == "night")
        if street
        else water(view, mirrored, light, seed, 0.0, rough=0.3, body=linear("#12202c"))
    )
    yield None
    lay(canvas, view, ground, street=street)
    yield None
    if street:
        walker(canvas, view, dice, umbrella="rain" in scene.skies or dice.random() < 0.5)  # noqa: PLR2004 - a coin
    yield None
    yield canvas, view.horizon


def heavens(scene: Scene, light: Palette, view: View, seed: int, bearing: float, *, glowing: bool) -> Array:
    """Paint the sky over a city; at night the streets light it from below."""
    air = sky.gradient(view, light)
    if glowing:
        up = sky.heights(view)[:, None, None]
        top, low = linear("#10143c"), linear("#a0349a")
        teal = linear("#1c7ca8")
        mix = ramp(-0.5, 0.5, fbm(rng(seed, "smog"), air.shape[:2], (2, 3), 3))[..., None]
        air[:] = top + (low * mix + teal * (1 - mix) - top) * np.exp(-up * 3.6) * 1.1
        cloud.clouds(air, view, light, bearing, 0.42, seed)
        air[:] = air * 0.62 + top * 0.2
        return air
    sky.glow(air, view, light, bearing)
    if light.stars and not scene.skies & {"rain", "storm", "fog"}:
        sky.stars(air, view, light.stars * 0.55, seed)
    if scene.hour == "night":
        air += np.exp(-sky.heights(view) * 9)[:, None, None] * linear("#a06038") * 0.42
        if "moon" in scene.sights:
            sky.moon(air, view, bearing, 0.36, 0.05, seed)
    else:
        sky.sun(air, view, light, bearing)
    cloud.clouds(air, view, light, bearing, 0.15 if "clear" in scene.skies else 0.5, seed)
    return air


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
    glowing: bool,
) -> Array:
    """Paint buildings and signs, rows upward from ``-below``, as seen from a height (negative: in the mirror)."""
    canvas = np.concatenate([np.repeat(air[:1] * 0.1, below, axis=0), air]) if below else air.copy()
    pending = list(boards)
    for box in boxes:
        while pending and pending[0].depth > box.near + box.deep:
            neon.hang(canvas, view, eye, pending.pop(0), style.thick)
        city.draw(canvas, view, eye, style, box)
    if glowing and boards:
        neon.strips(canvas, view, eye, np.random.default_rng(state), style.thick)
        city.haze_band(canvas, view, linear("#d8409a") * 0.5 + linear("#2080c0") * 0.4, 0.3)
    for sign in boards:
        neon.hang(canvas, view, eye, sign, style.thick)
    return canvas


def road(view: View, mirrored: Array, style: Style, seed: int, *, wet: bool) -> Array:
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
    shine = (0.2 + 0.62 * pools if wet else 0.04 + 0.0 * pools)[..., None]
    image = smear * (1 - 0.6 * pools[..., None]) + sharp * 0.6 * pools[..., None]
    tar = style.wall * (style.above + style.street * 0.16) * (0.5 + 0.5 * rough + 0.3 * (1 - pools))[..., None]
    stripe = (np.abs(across) < 0.022) & ((far * 1.4) % 1 < 0.55)  # noqa: PLR2004 - a dash and its gap
    kerb = np.abs(np.abs(across) - 0.74) < 0.014  # noqa: PLR2004 - half a kerb
    mark = soften((stripe * 0.5 + kerb * 0.25).astype(np.float32), 2)[..., None]
    haze = (1 - np.exp(-far * style.thick * 0.8))[..., None]
    return (tar * (1 + 5 * mark) + image * shine * 1.12) * (1 - 0.5 * haze) + style.haze * haze * 0.5


def lay(canvas: Array, view: View, ground: Array, *, street: bool) -> None:
    """Put the ground under the buildings: within the kerbs for a street, from the far bank down for water."""
    top = view.horizon
    if not street:
        bank = min(view.height - top - 1, round(view.eye * view.focal / 8.1))
        canvas[top + bank :] = ground[bank:]
        return
    rows = np.arange(view.height - top, dtype=np.float32) + 0.7
    far = (view.eye * view.focal / rows)[:, None]
    edge = (0.92 - np.abs(view.columns)[None, :] * far) * view.focal / far
    inside = np.clip(edge + 0.5, 0, 1)[..., None]
    canvas[top:] = canvas[top:] * (1 - inside) + ground * inside


def walker(canvas: Array, view: View, dice: np.random.Generator, *, umbrella: bool) -> None:
    """Let someone walk down the street, dark against the lights, with a dim reflection."""
    depth = dice.uniform(1.35, 2.1)
    x, base = view.place(dice.uniform(-0.32, 0.32), 0.0, depth)
    size = 0.31 * view.focal / depth
    pen = Stencil(view.width, view.height)
    figure.person(pen, x, base, size, umbrella=umbrella)
    mask = pen.mask()
    foot = min(view.height - 1, round(base))
    under = min(view.height - foot, foot)
    shadow = np.zeros_like(mask)
    shadow[foot : foot + under] = soften(mask, 3)[foot - under : foot][::-1] * np.linspace(0.7, 0.1, under)[:, None]
    canvas *= (1 - shadow * 0.75)[..., None]
    rim = np.clip(soften(mask, 3) - mask, 0, 1)[..., None] * 0.12
    canvas *= (1 - mask * 0.97)[..., None]
    canvas += rim * soften(canvas, 40)

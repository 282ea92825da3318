"""What is heard around the music: rain, waves, wind, birds, a fire, an old record."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from composer.noise import RATE, Array, banded, rng, samples
from composer.tone import envelope, ring


def _noise(size: int, chance: np.random.Generator) -> Array:
    return chance.standard_normal((2, size)).astype(np.float32)


def _slow(size: int, chance: np.random.Generator, seconds: float) -> Array:
    """A curve from 0 to 1 that wanders, with a turn about every ``seconds``."""
    turns = chance.uniform(0, 1, max(4, int(size / RATE / seconds) + 4))
    place = np.linspace(0, turns.size - 1.001, size)
    low = place.astype(int)
    part = place - low
    part = part * part * (3 - 2 * part)
    return (turns[low] * (1 - part) + turns[low + 1] * part).astype(np.float32)


def _scattered(size: int, chance: np.random.Generator, per_second: float, grain: Callable[[], Array]) -> Array:
    """Small sounds at random moments and places."""
    bed = np.zeros((2, size), dtype=np.float32)
    for _ in range(int(size / RATE * per_second) + 1):
        sound, side = grain(), chance.uniform(0.15, 0.85)
        start = int(chance.integers(0, max(1, size - sound.size)))
        end = min(size, start + sound.size)
        bed[0, start:end] += sound[: end - start] * np.float32(1 - side)
        bed[1, start:end] += sound[: end - start] * np.float32(side)
    return bed


def _rain(size: int, chance: np.random.Generator) -> Array:
    def drop() -> Array:
        height = chance.uniform(1200, 5200)
        fall = ring(height, chance.uniform(0.2, 0.9), chance.uniform(120, 320), samples(0.03))
        return fall * envelope(fall.size, 0.001, 0.01)

    hush = banded(_noise(size, chance), 700, 9000, slope=1.0) * (0.10 + 0.05 * _slow(size, chance, 1.5))
    return hush + np.float32(0.35) * _scattered(size, chance, 45, drop)


def _waves(size: int, chance: np.random.Generator) -> Array:
    swell = _slow(size, chance, 2.5) ** 2
    return banded(_noise(size, chance), 120, 1600, slope=1.0) * (0.08 + 0.5 * swell)


def _wind(size: int, chance: np.random.Generator) -> Array:
    return banded(_noise(size, chance), 180, 700, slope=2.0) * (0.1 + 0.5 * _slow(size, chance, 1.8))


def _birds(size: int, chance: np.random.Generator) -> Array:
    def chirp() -> Array:
        time = np.arange(samples(chance.uniform(0.08, 0.22))) / RATE
        height, sweep, rate = chance.uniform(2400, 4200), chance.uniform(-3000, 3000), chance.uniform(14, 34)
        phase = 2 * np.pi * (height * time + sweep * time**2 / 2) + 9 * np.sin(2 * np.pi * rate * time)
        return (np.sin(phase) * np.sin(np.pi * time / time[-1]) ** 2).astype(np.float32) * np.float32(0.4)

    return _scattered(size, chance, 2.2, chirp)


def _fire(size: int, chance: np.random.Generator) -> Array:
    def crack() -> Array:
        burst = chance.standard_normal(samples(0.012)).astype(np.float32)
        return burst * envelope(burst.size, 0.001, 0.009) * np.float32(chance.uniform(0.1, 0.8) ** 2)

    hum = banded(_noise(size, chance), 60, 500, slope=1.0) * (0.12 + 0.12 * _slow(size, chance, 0.7))
    return hum + _scattered(size, chance, 9, crack)


def _vinyl(size: int, chance: np.random.Generator) -> Array:
    def crack() -> Array:
        burst = chance.standard_normal(samples(0.003)).astype(np.float32)
        return burst * envelope(burst.size, 0.0005, 0.002) * np.float32(chance.uniform(0.1, 0.9) ** 3)

    return banded(_noise(size, chance), 300, 5000, slope=1.0) * np.float32(0.02) + _scattered(size, chance, 14, crack)


_SOUNDS = {"rain": _rain, "waves": _waves, "wind": _wind, "birds": _birds, "fire": _fire, "vinyl": _vinyl}
LEVELS = {"rain": -31.0, "waves": -31.0, "wind": -34.0, "birds": -36.0, "fire": -34.0, "vinyl": -46.0}
"""How loud each is, in LUFS."""


def ambience(name: str, size: int, seed: int) -> Array:
    """A bed of that sound, (2, size)."""
    return _SOUNDS[name](size, rng(seed, name))

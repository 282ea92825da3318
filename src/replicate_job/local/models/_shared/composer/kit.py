"""The drum kit: swept sines and filtered noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from composer.noise import RATE, Array, banded, rng, samples
from composer.tone import envelope, ring

PLACES = {"hat": 0.28, "open": 0.28, "pedal": 0.28, "ride": -0.32, "crash": -0.25, "shaker": 0.4, "rim": -0.2,
          "tom": 0.15, "brush": 0.1}  # fmt: skip
"""Where a drum stands, from -1 (left) to 1; the others are in the middle."""


def _time(seconds: float) -> Array:
    return (np.arange(samples(seconds)) / RATE).astype(np.float32)


def _swept(seconds: float, low: float, above: float, speed: float, fall: float) -> Array:
    """A sine that falls from ``low + above`` Hz to ``low``."""
    time = _time(seconds).astype(np.float64)
    phase = 2 * np.pi * (low * time + above / speed * (1 - np.exp(-speed * time)))
    return (np.sin(phase) * np.exp(-fall * time)).astype(np.float32)


def _hiss(seconds: float, low: float, high: float, fall: float, chance: np.random.Generator) -> Array:
    time = _time(seconds)
    noise = banded(chance.standard_normal(time.size).astype(np.float32), low, high, slope=3.0)
    return noise * np.exp(-fall * time)


def _kick(chance: np.random.Generator) -> Array:
    sound = _swept(0.42, 48, 130, 32, 8.5)
    click = _hiss(0.42, 1500, 6000, 220, chance)
    return np.tanh(1.4 * sound) * np.float32(0.8) + np.float32(0.10) * click


def _snare(chance: np.random.Generator) -> Array:
    body = ring((186, 331), (0.55, 0.25), (20, 26), samples(0.32))
    return body + np.float32(0.34) * _hiss(0.32, 1100, 9000, 15, chance)


def _clap(chance: np.random.Generator) -> Array:
    sound = np.float32(0.5) * _hiss(0.3, 900, 5000, 18, chance)
    for late in (0.011, 0.022):
        start = samples(late)
        sound[start:] += _hiss(0.3, 900, 5000, 60, chance)[: sound.size - start] * np.float32(0.5)
    return sound


def _ride(chance: np.random.Generator) -> Array:
    metal = ring(chance.uniform(3000, 9000, 14), 0.03, 6.0, samples(0.7), chance.uniform(0, 6.28, 14))
    return metal + np.float32(0.16) * _hiss(0.7, 5500, 12000, 11, chance)


def _rim(chance: np.random.Generator) -> Array:
    return ring((820, 1710, 2480), (0.4, 0.4, 0.2), (60, 75, 90), samples(0.12)) + np.float32(0.1) * _hiss(
        0.12, 2000, 8000, 120, chance
    )


def _brush(chance: np.random.Generator) -> Array:
    sound = _hiss(0.3, 1800, 9000, 13, chance)
    return np.float32(0.3) * sound * envelope(sound.size, 0.018, 0.05)


def _shaker(chance: np.random.Generator) -> Array:
    sound = _hiss(0.14, 5500, 12000, 26, chance)
    return np.float32(0.28) * sound * envelope(sound.size, 0.02, 0.04)


_KIT: dict[str, Callable[[np.random.Generator], Array]] = {
    "kick": _kick,
    "snare": _snare,
    "clap": _clap,
    "hat": lambda chance: np.float32(0.2) * _hiss(0.12, 7500, 13000, 48, chance),
    "open": lambda chance: np.float32(0.17) * _hiss(0.4, 7000, 13000, 11, chance),
    "pedal": lambda chance: np.float32(0.14) * _hiss(0.1, 6500, 12000, 60, chance),
    "ride": _ride,
    "crash": lambda chance: np.float32(0.22) * _hiss(2.4, 3200, 13000, 2.6, chance),
    "rim": _rim,
    "brush": _brush,
    "shaker": _shaker,
    "tom": lambda chance: _swept(0.6, 82, 50, 14, 6) + np.float32(0.06) * _hiss(0.6, 300, 2500, 40, chance),
}


class Kit:
    """The drums of one piece; each stroke is one of three takes."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._takes: dict[tuple[str, int], Array] = {}

    def stroke(self, drum: str, number: int) -> Array:
        take = drum, number % 3
        if take not in self._takes:
            sound = _KIT[drum](rng(self._seed, drum, take[1]))
            self._takes[take] = sound * envelope(sound.size, 0.0008, 0.02)
        return self._takes[take]

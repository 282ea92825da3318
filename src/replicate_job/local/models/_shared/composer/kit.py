"""The drum kit: swept sines and filtered noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from composer.noise import RATE, Array, banded, rng, samples
from composer.tone import envelope, ring

PLACES = {"hat": 0.28, "ride": -0.32, "crash": -0.25, "tom": 0.15}
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


def _ride(chance: np.random.Generator) -> Array:
    metal = ring(chance.uniform(3000, 9000, 14), 0.03, 6.0, samples(0.7), chance.uniform(0, 6.28, 14))
    return metal + np.float32(0.16) * _hiss(0.7, 5500, 12000, 11, chance)


_KIT: dict[str, Callable[[np.random.Generator], Array]] = {
    "kick": _kick,
    "snare": _snare,
    "hat": lambda chance: np.float32(0.2) * _hiss(0.12, 7500, 13000, 48, chance),
    "ride": _ride,
    "crash": lambda chance: np.float32(0.22) * _hiss(2.4, 3200, 13000, 2.6, chance),
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

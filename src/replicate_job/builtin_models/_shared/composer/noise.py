"""Arrays of sound, and random numbers that depend on a seed and a purpose."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

RATE = 32000
"""Samples a second, as in the real model."""


def rng(seed: int, purpose: str, more: int = 0) -> np.random.Generator:
    """A random generator for each purpose, so that the parts of a piece do not affect each other."""
    return np.random.default_rng([abs(seed), int(seed < 0), zlib.crc32(purpose.encode()), more])


def samples(seconds: float) -> int:
    return round(seconds * RATE)


def banded(sound: Array, low: float, high: float, *, slope: float = 2.0) -> Array:
    """Keep the band from ``low`` to ``high`` Hz (0: no limit). The edges fall by ``slope`` times 6 dB an octave."""
    size = sound.shape[-1]
    length = 1 << max(0, size + RATE // 50 - 1).bit_length()
    spectrum = np.fft.rfft(sound, length)
    place = np.fft.rfftfreq(length, 1 / RATE)
    gain = np.ones_like(place)
    if low:
        gain /= np.sqrt(1 + (low / np.maximum(place, 1e-3)) ** (2 * slope))
    if high:
        gain /= np.sqrt(1 + (place / high) ** (2 * slope))
    return np.fft.irfft(spectrum * gain.astype(np.float32), length)[..., :size].astype(np.float32)

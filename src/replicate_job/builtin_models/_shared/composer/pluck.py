"""Plucked strings, after Karplus and Strong: a burst of noise goes round a delay line and loses its edge."""

from __future__ import annotations

import numpy as np

from composer.noise import RATE, Array


def pluck(height: float, size: int, chance: np.random.Generator, *, soft: float, lasting: float) -> Array:
    """Pluck a string of ``height`` Hz. ``soft`` (0 to 1) is the finger, ``lasting`` the seconds that it rings."""
    weight = 0.5 if height < 500 else 0.3  # noqa: PLR2004 - high strings would be silent at once
    period = int(RATE / height - weight)
    # The line's length is whole, the string's is not: played a little too low, then read a little faster.
    speed = height * (period + weight) / RATE
    rounds = int(size * speed / period) + 3
    loss = 10 ** (-3 * period / (RATE * lasting))
    line = _burst(period, chance, soft)
    sound = np.empty((rounds, period), dtype=np.float32)
    last = line[-1]
    for number in range(rounds):
        sound[number] = line
        behind = np.concatenate(([last], line[:-1]))
        last = line[-1]
        line = np.float32(loss) * (np.float32(1 - weight) * line + np.float32(weight) * behind)
    flat = sound.reshape(-1)
    heard = np.interp(np.arange(size) * speed, np.arange(flat.size), flat).astype(np.float32)
    return heard * np.float32(1 / max(1e-6, float(np.abs(heard).max())))


def _burst(period: int, chance: np.random.Generator, soft: float) -> Array:
    """One period of noise, smoothed by the finger, without what the place of plucking silences."""
    noise = chance.uniform(-1, 1, period)
    spectrum = np.fft.rfft(noise)
    number = np.arange(spectrum.size)
    spectrum = np.exp(1j * np.angle(spectrum)) / (1 + (number * (0.04 + 0.22 * soft)) ** 2) ** 0.5
    spectrum *= np.abs(np.sin(np.pi * number * 0.21)) + 0.12
    spectrum[0] = 0
    return np.fft.irfft(spectrum, period).astype(np.float32)

"""Tones made of sine waves, and the shapes that they come and go in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from composer.noise import RATE, Array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_BLOCK = 256
_HIGHEST = 14500.0  # Hz: what lies above is left out, well before it would fold back


def ring(pitches: ArrayLike, levels: ArrayLike, decays: ArrayLike, size: int, phases: ArrayLike = 0.0) -> Array:
    """Sum sine waves (Hz) that decay (per second), ``size`` samples of them.

    One matrix product: a wave at sample a*BLOCK + b is the product of what it is at a*BLOCK and at b.
    """
    heights, powers, falls, turns = np.broadcast_arrays(
        np.asarray(pitches, dtype=np.float64), np.asarray(levels), np.asarray(decays), np.asarray(phases)
    )
    heard = heights < _HIGHEST
    speed = (2j * np.pi * heights[heard] - falls[heard]) / RATE
    coarse = np.exp(np.outer(np.arange(-(-size // _BLOCK)) * _BLOCK, speed)) * (
        powers[heard] * np.exp(1j * turns[heard])
    )
    fine = np.exp(np.outer(speed, np.arange(_BLOCK)))
    left = np.concatenate([coarse.real, coarse.imag], axis=1).astype(np.float32)
    right = np.concatenate([fine.imag, fine.real], axis=0).astype(np.float32)
    return (left @ right).reshape(-1)[:size]


def envelope(size: int, attack: float, release: float) -> Array:
    """From 0 up within ``attack`` seconds and down to 0 in the last ``release`` seconds, without a corner."""
    shape = np.ones(size, dtype=np.float32)
    rise, fall = min(size // 2, max(2, int(attack * RATE))), min(size // 2, max(2, int(release * RATE)))
    shape[:rise] *= _slope(rise)
    shape[size - fall :] *= _slope(fall)[::-1]
    return shape


def _slope(size: int) -> Array:
    return (0.5 - 0.5 * np.cos(np.pi * np.arange(size) / size)).astype(np.float32)


def vibrato(sound: Array, rate: float, cents: float, delay: float) -> Array:
    """Let the pitch swing by ``cents`` to both sides, from ``delay`` seconds on."""
    time = np.arange(sound.size) / RATE
    depth = (2 ** (cents / 1200) - 1) * np.clip((time - delay) / 0.3, 0, 1)
    shift = depth / (2 * np.pi * rate) * (1 - np.cos(2 * np.pi * rate * time)) * RATE
    return np.interp(np.arange(sound.size) - shift, np.arange(sound.size), sound).astype(np.float32)


def hertz(pitch: float) -> float:
    """The frequency of a MIDI pitch; 69 is 440 Hz."""
    return 440.0 * 2 ** ((pitch - 69) / 12)

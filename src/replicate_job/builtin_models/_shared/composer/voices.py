"""The instruments. Each makes one note; all of them are sums of sine waves or plucked strings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from composer.noise import RATE, Array, banded, rng
from composer.pluck import pluck
from composer.tone import envelope, ring, vibrato

if TYPE_CHECKING:
    from collections.abc import Callable

_DETUNED = np.array([-6.5, -2.0, 2.5, 7.0])  # cents: the players of a section


@dataclass(frozen=True)
class Voice:
    """An instrument. ``melody`` is where a tune lies on it, as MIDI pitches; a ``wide`` one differs left and right."""

    play: Callable[[float, int, float, float, np.random.Generator], Array]
    melody: tuple[int, int]
    attack: float
    release: float
    wide: bool = False


def _overtones(height: float, top: float, most: int) -> Array:
    return np.arange(1, max(2, min(most, int(top / height)) + 1))


def _piano(height: float, size: int, force: float, bright: float, chance: np.random.Generator) -> Array:
    number = _overtones(height, 9000, 28)
    stiff = 2.2e-4 * (height / 262) ** 1.1
    pitches = height * number * np.sqrt(1 + stiff * number**2)
    levels = number ** -(1.0 + 0.9 * (1.15 - force) / bright) * (0.25 + np.abs(np.sin(np.pi * number / 7.4)))
    falls = 0.75 * (height / 262) ** 0.65 * (1 + 0.14 * number + 0.012 * number**2)
    turns = chance.uniform(0, 2 * np.pi, number.size)
    # Two strings a note, not quite alike: the first sound goes fast, what stays goes slowly.
    sound = ring(
        np.concatenate([pitches, pitches * 1.0005, (95, 160, 270)]),
        np.concatenate([levels, 0.45 * levels, np.full(3, 0.10 * force)]),
        np.concatenate([2.6 * falls, 0.7 * falls, (42, 55, 70)]),
        size,
        np.concatenate([turns, turns + 0.4, (0, 0, 0)]),
    )
    return sound * np.float32(0.5)


def _guitar(height: float, size: int, force: float, bright: float, chance: np.random.Generator) -> Array:
    return pluck(height, size, chance, soft=min(1.0, 0.75 / bright - 0.35 * force + 0.2), lasting=3.4)


def _section(height: float, size: int, chance: np.random.Generator, levels: Array, number: Array) -> Array:
    """Several players of the same note, each a little beside it."""
    pitches = np.outer(2 ** (_DETUNED / 1200), height * number)
    turns = chance.uniform(0, 2 * np.pi, pitches.shape)
    return ring(pitches.ravel(), np.tile(levels, _DETUNED.size) / _DETUNED.size, 0.0, size, turns.ravel())


def _swelling(size: int, seconds: float) -> Array:
    """How far the overtones have come: they speak later than the ground tone."""
    return (1 - np.exp(-np.arange(size) / (seconds * RATE))).astype(np.float32)


def _strings(height: float, size: int, force: float, bright: float, chance: np.random.Generator) -> Array:
    number = _overtones(height, 8000, 26)
    levels = number**-0.95 / (1 + (number * height / (2300 * bright * (0.6 + 0.6 * force))) ** 2)
    return _section(height, size, chance, levels, number) * np.float32(0.9)


def _flute(height: float, size: int, force: float, bright: float, chance: np.random.Generator) -> Array:
    levels = np.array([1.0, 0.30 * bright, 0.14 * bright, 0.05, 0.025])
    tone = vibrato(ring(height * np.arange(1, 6), levels, 0.0, size), 5.0, 11, 0.25)
    breath = banded(chance.standard_normal(size).astype(np.float32), 0.8 * height, 3.2 * height)
    return (tone + np.float32(0.035 + 0.02 * force) * breath) * np.float32(0.6)


def _pad(height: float, size: int, force: float, bright: float, chance: np.random.Generator) -> Array:
    number = _overtones(height, 5000, 18)
    levels = number**-1.0 / (1 + (number * height / (950 * bright * (0.7 + 0.3 * force))) ** 2)
    return _section(height, size, chance, levels, number)


def _bass(height: float, size: int, force: float, bright: float, chance: np.random.Generator) -> Array:
    del chance
    number = _overtones(height, 2600, 18)
    levels = number**-1.25 / (1 + (number * height / (650 * bright * (0.6 + 0.6 * force))) ** 2)
    sound = ring(height * number, levels, 1.1 + 0.55 * number, size)
    return sound + ring((180, 420, 900), (0.05 * force, 0.05 * force, 0.03 * force), (60, 80, 120), size)


def _bells(height: float, size: int, force: float, bright: float, chance: np.random.Generator) -> Array:
    ratios = np.array([1, 1.0015, 2.0, 3.01, 4.17, 5.43, 6.79])
    levels = np.array([0.6, 0.4, 0.42, 0.22, 0.14 * bright, 0.08 * force * bright, 0.05 * force * bright])
    return ring(height * ratios, levels, 0.9 * ratios**0.9, size, chance.uniform(0, 2 * np.pi, 7)) * np.float32(0.6)


VOICES: dict[str, Voice] = {
    "piano": Voice(_piano, (67, 91), 0.003, 0.22),
    "guitar": Voice(_guitar, (64, 85), 0.002, 0.14),
    "strings": Voice(_strings, (65, 86), 0.12, 0.4, wide=True),
    "flute": Voice(_flute, (69, 91), 0.05, 0.1),
    "bells": Voice(_bells, (72, 93), 0.002, 1.0),
    "pad": Voice(_pad, (60, 81), 0.3, 0.8, wide=True),
    "bass": Voice(_bass, (40, 62), 0.005, 0.06),
}


def note(  # noqa: PLR0913, PLR0917 - an instrument, a note on it, and how it is played
    voice: Voice, height: float, size: int, force: float, bright: float, seed: int
) -> Array:
    """One note with its end: (2, size) for a wide voice, else (size,)."""
    # A slow voice in a short note has to speak at once.
    attack = min(voice.attack, 0.3 * size / RATE)
    shape = envelope(size, attack, voice.release) * np.float32(force**1.3)
    sides = [
        voice.play(height, size, force, bright, rng(seed, f"note {side}", round(height)))
        for side in range(2 if voice.wide else 1)
    ]
    return np.stack(sides) * shape if voice.wide else sides[0] * shape

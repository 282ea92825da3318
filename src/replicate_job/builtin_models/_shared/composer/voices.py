"""The instruments: sums of sine waves, with overtones and an envelope for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from composer.noise import RATE, Array, rng

_BLOCK = 256
_PLAYERS = (-6.5, -2.0, 2.5, 7.0)  # cents by which the players of a section are out of tune
_HARMONIC = tuple(range(1, 29))
_PLUCKED = 0.21  # the place where a string is plucked, as a share of its length


@dataclass(frozen=True)
class Voice:
    """An instrument.

    ``melody`` is its range for a tune, in MIDI pitches; ``attack`` and ``release`` are in seconds. The level of an
    overtone falls with its number to the power of ``slope``, and faster above ``cut`` Hz. The level decays by ``decay``
    a second at middle C, and faster for higher notes. ``ratios`` are the overtones' frequencies, divided by the
    fundamental's frequency.
    """

    melody: tuple[int, int]
    attack: float
    release: float
    slope: float
    cut: float
    decay: float = 0.0
    ratios: tuple[float, ...] = _HARMONIC
    plucked: bool = False
    section: bool = False
    gain: float = 0.6


VOICES: dict[str, Voice] = {
    "piano": Voice((67, 91), 0.003, 0.22, 1.25, 3500, 1.0),
    "guitar": Voice((64, 85), 0.002, 0.14, 0.9, 2600, 1.6, plucked=True),
    "strings": Voice((65, 86), 0.12, 0.4, 0.95, 2000, section=True),
    "flute": Voice((69, 91), 0.05, 0.1, 2.0, 3000),
    "bells": Voice((72, 93), 0.002, 1.0, 0.9, 6000, 0.8, (1, 1.0015, 2.0, 3.01, 4.17, 5.43)),
    "bass": Voice((40, 62), 0.005, 0.06, 1.25, 650, 2.2),
}


def hertz(pitch: float) -> float:
    """The frequency of a MIDI pitch; 69 is 440 Hz."""
    return 440.0 * 2 ** ((pitch - 69) / 12)


def note(voice: Voice, height: float, size: int, force: float, bright: float, seed: int) -> Array:  # noqa: PLR0913, PLR0917 - an instrument, a note on it, and how it is played
    """A note of ``height`` Hz with its release: (2, size) for a section, whose sides differ, else (1, size)."""
    ratios = np.array([ratio for ratio in voice.ratios if ratio * height < RATE * 0.45])
    pitches = height * ratios
    levels = ratios**-voice.slope / (1 + (pitches / (voice.cut * bright * (0.5 + 0.7 * force))) ** 2)
    if voice.plucked:
        levels *= np.abs(np.sin(np.pi * ratios * _PLUCKED)) + 0.12
    decays = voice.decay * (height / 262) ** 0.65 * (1 + 0.16 * ratios)
    if voice.section:
        detuned = 2 ** (np.array(_PLAYERS) / 1200)
        pitches = np.outer(detuned, pitches).ravel()
        levels, decays = np.tile(levels, detuned.size) / detuned.size, np.tile(decays, detuned.size)
    sides = []
    for side in range(2 if voice.section else 1):
        phases = rng(seed, f"note {side}", round(height)).uniform(0, 2 * np.pi, pitches.size)
        sides.append(_ring(pitches, levels, decays, phases, size))
    # A slow attack would not end within a short note.
    shape = _envelope(size, min(voice.attack, 0.3 * size / RATE), voice.release)
    return np.stack(sides) * shape * np.float32(voice.gain * force**1.3)


def _ring(pitches: Array, levels: Array, decays: Array, phases: Array, size: int) -> Array:
    """Sum sine waves (Hz) that decay (per second), ``size`` samples of them.

    This takes one matrix product, because the value of a wave at the sample a*_BLOCK + b is the product of its
    (complex) values at a*_BLOCK and at b.
    """
    speed = (2j * np.pi * pitches - decays) / RATE
    coarse = np.exp(np.outer(np.arange(-(-size // _BLOCK)) * _BLOCK, speed)) * (levels * np.exp(1j * phases))
    fine = np.exp(np.outer(speed, np.arange(_BLOCK)))
    left = np.concatenate([coarse.real, coarse.imag], axis=1).astype(np.float32)
    right = np.concatenate([fine.imag, fine.real], axis=0).astype(np.float32)
    return (left @ right).reshape(-1)[:size]


def _envelope(size: int, attack: float, release: float) -> Array:
    """A smooth envelope, up from 0 in ``attack`` seconds, and down to 0 in the last ``release`` seconds."""
    time = np.arange(size) / RATE
    rise = np.clip(time / max(attack, 2 / RATE), 0, 1)
    fall = np.clip((size / RATE - time) / min(release, size / RATE / 2), 0, 1)
    shape: Array = np.sin(np.pi / 2 * rise) ** 2 * np.sin(np.pi / 2 * fall) ** 2
    return shape.astype(np.float32)

"""Score to sound: every part played, placed left and right, in a room, faded at the end."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from composer.loudness import raised
from composer.noise import RATE, Array, banded, rng, samples
from composer.tone import hertz
from composer.voices import VOICES, note

if TYPE_CHECKING:
    from collections.abc import Callable

    from composer.arrangement import Arrangement
    from composer.score import Score

LEVELS = {"melody": -20.5, "chords": -24.0, "pad": -28.0, "bass": -24.0}
"""How loud each part is, in LUFS."""
_SENDS = {"melody": 1.0, "chords": 0.9, "pad": 1.0, "bass": 0.12}
_SIDES = {"melody": -0.02, "chords": 0.0, "pad": 0.0, "bass": 0.0}
_SPREAD = {"melody": 0.25, "chords": 0.45, "pad": 0.0, "bass": 0.0}
_CENTRES = {"melody": 76, "chords": 60, "pad": 60, "bass": 40}
_LOW_SIDE = -0.2  # low notes stay near the middle
_LOOSE = 0.004  # seconds: how exactly a player plays
_RELEASED = 0.9
_PREDELAY = 0.018
_RISE = 0.001


def _panned(sound: Array, side: float) -> Array:
    """Place a sound from -1 (left) to 1 (right), as loud everywhere; a wide one only leans."""
    angle = (side + 1) * np.pi / 4
    sides = np.array([[np.cos(angle)], [np.sin(angle)]], dtype=np.float32)
    return sound * sides * np.float32(np.sqrt(2)) if sound.ndim > 1 else sound * sides


class Desk:
    """Plays a score into stems. ``played`` is told the share of notes that are done."""

    def __init__(self, score: Score, played: Callable[[float], None]) -> None:
        self._score, self._piece, self._played = score, score.piece, played
        self._size = samples(score.piece.seconds)
        self._total = sum(map(len, score.parts.values()))
        self._done = 0

    def mix(self) -> Array:
        """The whole piece, (2, samples), neither normalised nor limited."""
        piece = self._piece
        stems = {part: self._part(part) for part in self._score.parts}
        share, seconds = piece.style.room
        dry, wet = np.zeros((2, self._size), dtype=np.float32), np.zeros((2, self._size), dtype=np.float32)
        for part, stem in stems.items():
            level = raised(stem, LEVELS[part])
            dry += level
            wet += level * np.float32(_SENDS[part])
        whole = dry + np.float32(share) * _reverberated(wet, seconds, piece.seed)
        return banded(whole, 28, 0) * _fade(piece)

    def _part(self, part: str) -> Array:
        player, piece = self._piece.players[part], self._piece
        voice = VOICES[player]
        stem = np.zeros((2, self._size), dtype=np.float32)
        chance = rng(piece.seed, f"timing {part}")

        @cache
        def played(pitch: int, size: int, force: float) -> Array:
            return note(voice, hertz(pitch), size, force, piece.brightness, piece.seed)

        for one in self._score.parts[part]:
            start = self._score.seconds(one.start)
            length = self._score.seconds(one.start + one.length) - start
            # In steps of a fiftieth of a second, so that equal notes are made once.
            size = samples(round((length + voice.release * _RELEASED) * 50) / 50)
            at = samples(max(0.0, start + float(chance.normal(0, _LOOSE))))
            if size and at < self._size:
                side = _SIDES[part] + _SPREAD[part] * (one.pitch - _CENTRES[part]) / 24
                sound = _panned(played(one.pitch, size, round(one.force, 1)), min(0.5, max(_LOW_SIDE, side)))
                end = min(self._size, at + size)
                stem[:, at:end] += sound[:, : end - at]
            self._count()
        return stem

    def _count(self) -> None:
        self._done += 1
        self._played(self._done / self._total)


def _reverberated(sound: Array, seconds: float, seed: int) -> Array:
    """The sound of the room alone: noise that dies away, its treble sooner, different left and right."""
    length = samples(seconds)
    time = np.arange(length) / RATE
    noise = rng(seed, "room").standard_normal((2, length)).astype(np.float32)
    low = banded(noise, 220, 2200, slope=1.0) * 10 ** (-3 * time / seconds)
    high = banded(noise, 2200, 7000, slope=1.0) * 10 ** (-3 * time / (0.45 * seconds))
    room = ((low + high) * np.minimum(1, time / 0.01)).astype(np.float32)
    room /= np.sqrt(np.sum(room**2, axis=1, keepdims=True))
    late = samples(_PREDELAY)
    size = sound.shape[-1]
    fast = 1 << (size + length + late - 1).bit_length()
    # Each ear hears a little of the other side.
    sides = 0.75 * sound + 0.25 * sound[::-1]
    made = np.fft.irfft(np.fft.rfft(sides, fast) * np.fft.rfft(room, fast), fast)
    return np.pad(made, ((0, 0), (late, 0)))[:, :size].astype(np.float32)


def _fade(piece: Arrangement) -> Array:
    """Up from nothing within a thousandth of a second, and down to nothing at the end, within the last chord."""
    size = samples(piece.seconds)
    tail = piece.seconds - piece.beats * piece.beat
    fall = min(size, samples(min(2.0, max(0.4, 0.75 * tail))))
    shape = np.ones(size, dtype=np.float32)
    # The filters ring before a stroke, too: what rang before the first one is cut off there.
    rise = samples(_RISE)
    shape[:rise] = np.linspace(0, 1, rise, endpoint=False)
    shape[size - fall :] = np.cos(np.linspace(0, np.pi / 2, fall)) ** 2
    return shape

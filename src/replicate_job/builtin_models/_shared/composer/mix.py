"""Turns a score into sound: plays each part, places it left and right in a room, and fades the end."""

from __future__ import annotations

from functools import cache
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from composer.loudness import raised
from composer.noise import RATE, Array, banded, rng, samples
from composer.voices import VOICES, hertz, note

if TYPE_CHECKING:
    from collections.abc import Callable

    from composer.arrangement import Arrangement
    from composer.melody import Note

LEVELS = {"melody": -20.5, "chords": -24.0, "bass": -24.0}
"""The loudness of each part, in LUFS."""
_SENDS = {"melody": 1.0, "chords": 0.9, "bass": 0.12}
_SPREAD = {"melody": 0.25, "chords": 0.45, "bass": 0.0}
_CENTRE = 66


def mix(piece: Arrangement, parts: dict[str, list[Note]], played: Callable[[float], None]) -> Array:
    """The sound of the piece (2, samples), not yet normalised or limited.

    ``played`` is called with the share that is done, from 0 to 1.
    """
    share, seconds = piece.style.room
    dry, wet = (np.zeros((2, samples(piece.seconds)), dtype=np.float32) for _ in range(2))
    total, counter = sum(map(len, parts.values())), count(1)
    for part, notes in parts.items():
        level = raised(_part(piece, part, notes, lambda: played(next(counter) / total)), LEVELS[part])
        dry += level
        wet += level * np.float32(_SENDS[part])
    whole = dry + np.float32(share) * _reverberated(wet, seconds, piece.seed)
    return banded(whole, 28, 0) * _fade(piece)


def _part(piece: Arrangement, part: str, notes: list[Note], played: Callable[[], None]) -> Array:
    voice = VOICES[piece.players[part]]
    stem = np.zeros((2, samples(piece.seconds)), dtype=np.float32)

    @cache
    def sound(pitch: int, size: int, force: float) -> Array:
        return note(voice, hertz(pitch), size, force, piece.brightness, piece.seed)

    for tone in notes:
        # The length is rounded to a fiftieth of a second, so that notes of nearly equal length are made once.
        size = samples(round((tone.length * piece.beat + voice.release * 0.9) * 50) / 50)
        at = samples(tone.start * piece.beat)
        if size and at < stem.shape[1]:
            side = min(0.5, max(-0.2, _SPREAD[part] * (tone.pitch - _CENTRE) / 24))  # low notes stay in the middle
            end = min(stem.shape[1], at + size)
            stem[:, at:end] += (sound(tone.pitch, size, round(tone.force, 1)) * _sides(side))[:, : end - at]
        played()
    return stem


def _sides(place: float) -> Array:
    """The gains of the left and the right channel for a sound at a place from -1 (left) to 1 (right)."""
    angle = (place + 1) * np.pi / 4
    return np.array([[np.cos(angle)], [np.sin(angle)]], dtype=np.float32)


def _reverberated(sound: Array, seconds: float, seed: int) -> Array:
    """The reverb of a sound. Its impulse response is decaying noise, which differs left and right."""
    length, size = samples(seconds), sound.shape[-1]
    time = np.arange(length) / RATE
    noise = rng(seed, "room").standard_normal((2, length)).astype(np.float32)
    room = banded(noise, 220, 3500, slope=1.0) * 10 ** (-3 * time / seconds) * np.minimum(1, time / 0.03)
    room = (room / np.sqrt(np.sum(room**2, axis=1, keepdims=True))).astype(np.float32)
    fast = 1 << (size + length - 1).bit_length()
    # Each channel also gets a little of the other one.
    sides = 0.75 * sound + 0.25 * sound[::-1]
    return np.fft.irfft(np.fft.rfft(sides, fast) * np.fft.rfft(room, fast), fast)[:, :size].astype(np.float32)


def _fade(piece: Arrangement) -> Array:
    """The gain of each sample: it rises within a millisecond, and falls to 0 at the end, within the last chord."""
    size = samples(piece.seconds)
    tail = piece.seconds - piece.beats * piece.beat
    fall = min(size, samples(min(2.0, max(0.4, 0.75 * tail))))
    shape = np.ones(size, dtype=np.float32)
    # The filters also make sound before a note starts. The rise removes this sound before the first note.
    shape[:32] = np.linspace(0, 1, 32, endpoint=False)
    shape[size - fall :] = np.cos(np.linspace(0, np.pi / 2, fall)) ** 2
    return shape

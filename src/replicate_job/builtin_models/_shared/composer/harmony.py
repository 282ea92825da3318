"""Scales, chords and how one chord leads to the next."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

SCALES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
}
NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_MAJOR_THIRD = 4
_MIDDLE = 60
_OCTAVE = 12
_GRATING = 6  # semitones of movement that a clash inside a chord is worth


@dataclass(frozen=True)
class Chord:
    """Notes over ``length`` beats from ``start``. ``root`` and ``tones`` (root first) are pitch classes."""

    start: float
    length: float
    root: int
    tones: tuple[int, ...]


def is_minor(mode: str) -> bool:
    return SCALES[mode][2] < _MAJOR_THIRD


def spell(symbol: str, tonic: int, mode: str, *, sevenths: bool) -> tuple[int, ...]:
    """The pitch classes of a chord written as in PROGRESSIONS, root first."""
    scale, step = SCALES[mode], int(symbol.rstrip("#")) - 1
    tones = [scale[(step + third) % 7] for third in (0, 2, 4, 6)[: 4 if sevenths else 3]]
    if symbol.endswith("#"):
        tones[1] = (tones[0] + _MAJOR_THIRD) % _OCTAVE
    elif (tones[2] - tones[0]) % _OCTAVE == 6:  # noqa: PLR2004 - a tritone: a diminished chord sounds wrong in a song
        tones = [scale[(step + third) % 7] for third in (0, 2, 5)]
    return tuple((tone + tonic) % _OCTAVE for tone in tones)


def voiced(tones: tuple[int, ...], before: tuple[int, ...]) -> tuple[int, ...]:
    """Put a chord around middle C so that its notes move as little as they can from those ``before``."""
    shapes = []
    for turn in range(len(tones)):
        pitch = _MIDDLE - 8 + (tones[turn] - (_MIDDLE - 8)) % _OCTAVE
        shape = [pitch]
        for tone in (*tones[turn + 1 :], *tones[:turn]):
            shape.append(shape[-1] + (tone - shape[-1]) % _OCTAVE)
        shapes += [tuple(shape), tuple(note - _OCTAVE for note in shape)]
    return min(shapes, key=lambda shape: (_movement(shape, before), shape))


def _movement(shape: tuple[int, ...], before: tuple[int, ...]) -> float:
    centre = abs(sum(shape) / len(shape) - _MIDDLE)
    tight = sum(1 for low, high in pairwise(shape) if high - low == 1)
    moved = sum(min(abs(note - old) for old in before) for note in shape) if before else 0
    return moved + centre + _GRATING * tight


def ladder(tonic: int, mode: str, low: int, high: int, *, pentatonic: bool) -> list[int]:
    """The pitches of a scale from ``low`` to ``high``; ``pentatonic`` keeps the five that never clash."""
    steps = SCALES[mode]
    if pentatonic:
        steps = tuple(steps[step] for step in ((0, 2, 3, 4, 6) if is_minor(mode) else (0, 1, 2, 4, 5)))
    classes = {(tonic + step) % _OCTAVE for step in steps}
    return [pitch for pitch in range(low, high + 1) if pitch % _OCTAVE in classes]

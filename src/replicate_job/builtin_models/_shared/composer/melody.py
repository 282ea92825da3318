"""A tune in phrases of four bars: a motif, its answer, a contrasting bar, and a cadence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from composer.noise import rng
from composer.voices import VOICES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from composer.arrangement import Arrangement

_RHYTHMS: dict[int, tuple[tuple[float, ...], ...]] = {
    4: ((1, 1, 1, 1), (1.5, 0.5, 2), (1, 0.5, 0.5, 2), (1.5, 0.5, 1, 1), (0.5, 0.5, 1, 2), (2, 1, 1)),
    3: ((2, 0.5, 0.5), (1.5, 0.5, 1), (1, 1, 1), (1, 0.5, 0.5, 1), (2, 1)),
}
"""Maps the number of beats in a bar to the rhythms of a bar: the lengths of its notes in beats."""
_CADENCES: dict[int, tuple[float, ...]] = {4: (1, 1, 2), 3: (0.5, 0.5, 2)}
_STEPS = (-2, -1, -1, 1, 1, 2)
_ARCH = (0, 1, 3, 0)
"""For each bar of a phrase, how far it is above the melody's centre, in steps of the scale."""


@dataclass(frozen=True)
class Note:
    """A note. ``start`` and ``length`` are in beats, ``pitch`` is a MIDI pitch (60 is middle C), ``force`` 0 to 1."""

    start: float
    length: float
    pitch: int
    force: float


class Tune:
    """Writes a melody. ``chords`` has the tones of each bar's chord, then of the chord on which the melody ends."""

    def __init__(self, piece: Arrangement, scale: Sequence[int], chords: Sequence[Sequence[int]]) -> None:
        low, high = VOICES[piece.players["melody"]].melody
        self._piece, self._chords = piece, chords
        self._scale = [pitch for pitch in range(low, high + 1) if pitch % 12 in scale]
        self._centre = len(self._scale) // 2 - 1
        self._chance = rng(piece.seed, "melody")
        self._motifs = [self._motif() for _ in range(4)]
        self._notes: list[Note] = []
        self._index = self._centre

    def write(self) -> list[Note]:
        for bar in range(self._piece.bars):
            phrase, place = divmod(bar, 4)
            other = phrase % 4 == 2  # noqa: PLR2004 - phrases of the form AABA
            if place == 3 or bar == self._piece.bars - 1:  # noqa: PLR2004 - the fourth bar
                self._cadence(bar)
            else:
                rhythm, contour = self._motifs[2 * other + (place == 2)]  # noqa: PLR2004 - the third bar contrasts
                self._bar(bar, rhythm, contour, self._centre + _ARCH[place] + 2 * other)
        last = len(self._chords) - 1
        tonics = [index for index, pitch in enumerate(self._scale) if pitch % 12 == self._piece.tonic]
        start = float(self._piece.beats)
        length = self._piece.seconds / self._piece.beat - start
        self._add(start, length, min(tonics, key=lambda index: abs(index - self._near(self._index, last))), 0.8)
        return self._notes

    def _motif(self) -> tuple[tuple[float, ...], tuple[int, ...]]:
        """A rhythm, and the distance of each note from the first note, in steps of the scale. Distances stay small."""
        rhythms = _RHYTHMS[self._piece.meter]
        rhythm = rhythms[int(self._chance.integers(len(rhythms)))]
        contour = [0]
        for _ in rhythm[1:]:
            step, now = int(self._chance.choice(_STEPS)), contour[-1]
            contour.append(now - abs(step) if now > 1 else now + abs(step) if now < -1 else now + step)
        return rhythm, tuple(contour)

    def _bar(self, bar: int, rhythm: Sequence[float], contour: Sequence[int], centre: int) -> None:
        """Add a motif that moves from the previous note towards ``centre``. Its long notes are notes of the chord."""
        anchor = self._near((centre + self._index) // 2, bar)
        start = float(bar * self._piece.meter)
        for number, (length, step) in enumerate(zip(rhythm, contour, strict=True)):
            index = self._near(anchor + step, bar) if length >= 1 else self._clamped(anchor + step)
            self._add(start, length * 0.95, index, 0.82 if number == 0 else 0.7)
            start += length

    def _cadence(self, bar: int) -> None:
        """Step down to a note of the chord, then rest."""
        goal = self._near((self._centre + self._index) // 2, bar)
        rhythm = _CADENCES[self._piece.meter]
        start = float(bar * self._piece.meter)
        for number, length in enumerate(rhythm):
            remaining = len(rhythm) - 1 - number
            self._add(start, length * (0.95 if remaining else 0.65), self._clamped(goal + remaining), 0.72)
            start += length

    def _add(self, start: float, length: float, index: int, force: float) -> None:
        self._notes.append(Note(start, length, self._scale[index], force))
        self._index = index

    def _clamped(self, index: int) -> int:
        return min(len(self._scale) - 1, max(0, index))

    def _near(self, index: int, bar: int) -> int:
        """The index in the scale that is nearest to ``index`` and belongs to the chord of a bar."""
        fits = [step for step, pitch in enumerate(self._scale) if pitch % 12 in self._chords[bar]]
        return min(fits, key=lambda step: abs(step - self._clamped(index)))

"""A tune in phrases of four bars: a motif, its answer, something else, and a cadence."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from composer.harmony import Chord, ladder
from composer.noise import rng
from composer.note import Note

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from composer.arrangement import Arrangement

_CELLS: dict[int, tuple[tuple[tuple[float, ...], ...], ...]] = {
    4: (
        ((2, 2), (3, 1), (1.5, 2.5), (2, 1, 1)),
        ((1, 1, 1, 1), (1.5, 0.5, 2), (1, 0.5, 0.5, 2), (1.5, 0.5, 1, 1), (0.5, 0.5, 1, 2), (1, 1, 1.5, 0.5)),
        ((0.5, 0.5, 1, 0.5, 0.5, 1), (1, 0.5, 0.5, 1, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5, 1, 1), (1.5, 0.5, 0.5, 0.5, 1)),
    ),
    3: (
        ((3,), (2, 1)),
        ((2, 0.5, 0.5), (1.5, 0.5, 1), (1, 1, 1), (1, 0.5, 0.5, 1)),
        ((1, 0.5, 0.5, 1), (0.5, 0.5, 1, 1), (1.5, 0.5, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5, 1)),
    ),
}
"""Rhythms of a bar by metre and by how busy it is, in beats."""
_CADENCES: dict[int, tuple[tuple[float, ...], ...]] = {
    4: ((1, 1, 2), (1.5, 0.5, 2), (0.5, 0.5, 3)),
    3: ((1, 2), (0.5, 0.5, 2)),
}
_STEPS = (-2, -1, -1, 1, 1, 2, 3)
_ARCH = (0, 1, 3, 0)
"""How far above its centre each bar of a phrase lies, in steps of the scale."""
_FORM = "AABA"
_BREATH = 0.75
_SLOW = 88  # beats per minute


@dataclass(frozen=True)
class _Motif:
    rhythm: tuple[float, ...]
    contour: tuple[int, ...]


class _Tune:
    """Writes one melody between two pitches."""

    def __init__(self, piece: Arrangement, chords: Sequence[Chord], low: int, high: int) -> None:
        self._piece, self._chords = piece, chords
        self._scale = ladder(piece.tonic, piece.mode, low, high, pentatonic=piece.style.pentatonic)
        self._chance = rng(piece.seed, "melody")
        self._cells = _CELLS.get(piece.meter, _CELLS[4])
        self._motifs: dict[str, _Motif] = {}
        self._centre = len(self._scale) // 2 - 1
        # Beats are long in a slow piece: more notes to each keep it moving.
        self._busy = min(2, piece.style.busy + (1 if piece.tempo < _SLOW and piece.style.busy else 0))

    def write(self, bars: int) -> list[Note]:
        notes: list[Note] = []
        for bar in range(bars):
            phrase, place = divmod(bar, 4)
            section = _FORM[phrase % len(_FORM)]
            if place == 3 or bar == bars - 1:  # noqa: PLR2004 - the fourth bar
                notes += self._cadence(bar, self._between(self._centre, notes), last=bar == bars - 1)
                continue
            motif = self._motif(section + ("b" if place == 2 else "a"))  # noqa: PLR2004 - the third bar
            centre = self._centre + _ARCH[place] + (2 if section == "B" else 0)
            notes += self._bar(bar, motif, self._between(centre, notes), varied=place == 1 or phrase > 0)
        return notes

    def _motif(self, name: str) -> _Motif:
        """The motif of that name, made when it is first wanted. It wanders by step and comes back."""
        if name not in self._motifs:
            rhythm = _chosen(self._chance, self._cells[self._busy])
            contour = [0]
            for _ in rhythm[1:]:
                step = int(self._chance.choice(_STEPS))
                contour.append(
                    contour[-1] + (-abs(step) if contour[-1] > 1 else abs(step) if contour[-1] < -1 else step)
                )
            self._motifs[name] = _Motif(rhythm, tuple(contour))
        return self._motifs[name]

    def _between(self, centre: int, notes: list[Note]) -> int:
        """Where a bar begins: on the way from the note before to where it should lie."""
        return (centre + self._scale.index(notes[-1].pitch) + 1) // 2 if notes else centre

    def _bar(self, bar: int, motif: _Motif, centre: int, *, varied: bool) -> list[Note]:
        start = float(bar * self._piece.meter)
        anchor = self._near(centre, start)
        turn = -1 if varied and self._chance.random() < 0.25 else 1  # noqa: PLR2004 - a quarter of them upside down
        notes = []
        for length, step in zip(motif.rhythm, motif.contour, strict=True):
            place = anchor + step * turn
            index = self._near(place, start) if length >= 1 or start % 2 == 0 else self._held(place)
            force = 0.82 if start % self._piece.meter == 0 else 0.72 if start % 1 == 0 else 0.6
            notes.append(Note(start, length * 0.95, self._scale[index], force))
            start += length
        return notes

    def _cadence(self, bar: int, centre: int, *, last: bool) -> list[Note]:
        """Walk to a note of the chord and stay there; the last one leads on to the tonic."""
        start = float(bar * self._piece.meter)
        rhythm = _chosen(self._chance, _CADENCES[3 if self._piece.meter == 3 else 4])  # noqa: PLR2004 - in three
        goal = self._near(centre + (0 if last else int(self._chance.integers(-1, 2))), start + sum(rhythm) - rhythm[-1])
        way = 1 if self._chance.random() < 0.6 else -1  # noqa: PLR2004 - more often down to it than up
        notes = []
        for number, length in enumerate(rhythm):
            left = len(rhythm) - 1 - number
            index = self._held(goal + way * left)
            breath = _BREATH if not left and not last and length > 1 else 0.0
            notes.append(Note(start, (length - breath) * 0.97, self._scale[index], 0.75 if left else 0.7))
            start += length
        return notes

    def final(self, start: float, length: float, after: int) -> Note:
        """The tonic nearest to ``after``."""
        tonics = [pitch for pitch in self._scale if pitch % 12 == self._piece.tonic]
        return Note(start, length, min(tonics, key=lambda pitch: abs(pitch - after)), 0.8)

    def _held(self, index: int) -> int:
        return min(len(self._scale) - 1, max(0, index))

    def _near(self, index: int, beat: float) -> int:
        """The step nearest to ``index`` that belongs to the chord at ``beat``."""
        index = self._held(index)
        chord = chord_at(self._chords, beat)
        fits = [step for step, pitch in enumerate(self._scale) if pitch % 12 in chord.tones]
        return min(fits, key=lambda step: (abs(step - index), step)) if fits else index


def _chosen(chance: np.random.Generator, options: tuple[tuple[float, ...], ...]) -> tuple[float, ...]:
    return options[int(chance.integers(len(options)))]


def chord_at(chords: Sequence[Chord], beat: float) -> Chord:
    """The chord that sounds at a beat."""
    place = bisect_left([chord.start for chord in chords], beat + 1e-6) - 1
    return chords[max(0, place)]


def tune(piece: Arrangement, chords: Sequence[Chord], low: int, high: int) -> list[Note]:
    """Write the melody of the whole piece, its last note on the last chord."""
    writer = _Tune(piece, chords, low, high)
    notes = writer.write(piece.beats // piece.meter)
    end = chords[-1]
    return [*notes, writer.final(end.start, end.length, notes[-1].pitch if notes else (low + high) // 2)]

"""Converts an arrangement to a score: every note of every part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from composer.melody import Note, Tune

if TYPE_CHECKING:
    from composer.arrangement import Arrangement

SCALES: dict[str, tuple[int, ...]] = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
COMPS: dict[str, tuple[float, float, str]] = {
    "block": (4, 4, "all"),
    "waltz": (1, 0.85, "bass all all all"),
    "broken": (0.5, 0.9, "bass 2 1 2 0 2 1 2"),
    "picking": (0.5, 1.4, "bass 2 1 3 0 2 1 2"),
}
"""Maps a way to play chords to the beats between strokes, the beats of a stroke, and its notes of the chord."""
_MIDDLE = 60
_BASS_LOW, _ROOT_LOW = 33, 40
_ROLL = 0.12  # beats between the notes of the last chord


@dataclass(frozen=True)
class Chord:
    """``start`` and ``length`` in beats; ``tones`` are pitch classes, root first; ``shape`` is MIDI pitches."""

    start: float
    length: float
    tones: tuple[int, ...]
    shape: tuple[int, ...]


def compose(piece: Arrangement) -> dict[str, list[Note]]:
    """Write all parts of a piece."""
    chords = _chords(piece)
    scale = tuple((step + piece.tonic) % 12 for step in SCALES[piece.mode])
    parts: dict[str, list[Note]] = {}
    for part, player in piece.players.items():
        if part == "melody":
            parts[part] = Tune(piece, scale, [chord.tones for chord in chords]).write()
        elif part == "chords":
            parts[part] = _comp(piece, chords, "block" if player == "strings" else piece.style.comp)
        else:
            parts[part] = [Note(chord.start, chord.length, _low(chord, _BASS_LOW), 0.8) for chord in chords]
    return parts


def _chords(piece: Arrangement) -> list[Chord]:
    """The progression with one chord a bar, then the tonic, which rings to the end.

    The last bar has the chord that leads to the tonic: the fifth step in major, the seventh in minor.
    """
    steps = [piece.progression[bar % len(piece.progression)] for bar in range(piece.bars)]
    if piece.bars > 1:
        steps[-1] = "5" if piece.mode == "major" else "7"
    chords: list[Chord] = []
    for number, step in enumerate([*steps, "1"]):
        start = float(number * piece.meter)
        length = piece.meter if number < piece.bars else piece.seconds / piece.beat - start
        tones = _spelled(int(step) - 1, piece)
        chords.append(Chord(start, length, tones, _voiced(tones, chords[-1].shape if chords else ())))
    return chords


def _spelled(step: int, piece: Arrangement) -> tuple[int, ...]:
    scale = SCALES[piece.mode]
    return tuple((scale[(step + third) % 7] + piece.tonic) % 12 for third in (0, 2, 4))


def _voiced(tones: tuple[int, ...], before: tuple[int, ...]) -> tuple[int, ...]:
    """Place a chord around middle C, so that its notes are as close as possible to the notes ``before``."""
    shapes = []
    for turn in range(len(tones)):
        shape = [_MIDDLE - 12 + tones[turn]]
        for tone in (*tones[turn + 1 :], *tones[:turn]):
            shape.append(shape[-1] + (tone - shape[-1]) % 12)
        shapes += [tuple(shape), tuple(pitch + 12 for pitch in shape)]

    def movement(shape: tuple[int, ...]) -> float:
        moved = sum(min(abs(pitch - old) for old in before) for pitch in shape) if before else 0
        return moved + abs(sum(shape) / len(shape) - _MIDDLE)

    return min(shapes, key=movement)


def _comp(piece: Arrangement, chords: list[Chord], name: str) -> list[Note]:
    """The notes of the chords, struck or broken. The last chord is played from its lowest note to its highest."""
    step, length, parts = COMPS[name]
    notes = []
    for chord in chords[:-1]:
        for number, part in enumerate(parts.split()):
            at = number * step
            if at < piece.meter:
                lasting, force = min(length, piece.meter), 0.55 if number else 0.8
                notes += [Note(chord.start + at, lasting, pitch, force) for pitch in _pitches(chord, part)]
    last = chords[-1]
    roll = 0.0 if name == "block" else _ROLL
    rolled = (*_pitches(last, "bass"), *last.shape)
    return notes + [Note(last.start + roll * number, last.length, pitch, 0.7) for number, pitch in enumerate(rolled)]


def _pitches(chord: Chord, part: str) -> tuple[int, ...]:
    if part == "all":
        return chord.shape
    if part == "bass":
        return (_low(chord, _ROOT_LOW),)
    octave, step = divmod(int(part), len(chord.shape))
    return (chord.shape[step] + 12 * octave,)


def _low(chord: Chord, least: int) -> int:
    """The chord's root, as the lowest pitch from ``least`` on."""
    return least + (chord.tones[0] - least) % 12

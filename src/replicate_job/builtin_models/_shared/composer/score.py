"""Arrangement to score: every note of every part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from composer.arrangement import COMPS
from composer.harmony import Chord, is_minor, spell, voiced
from composer.melody import chord_at, tune
from composer.note import Note
from composer.pattern import BASSLINES, bar_of
from composer.pattern import COMPS as PATTERNS
from composer.voices import VOICES

if TYPE_CHECKING:
    from composer.arrangement import Arrangement

_SHORT = 4  # bars: in a shorter piece there are two chords a bar
_STRUM = 0.03  # beats between the strings
_BASS_LOW = 33
_ROOT_LOW = 40


@dataclass(frozen=True)
class Score:
    """The notes of each part, in beats."""

    piece: Arrangement
    chords: tuple[Chord, ...]
    parts: dict[str, tuple[Note, ...]]

    def seconds(self, beat: float) -> float:
        return beat * self.piece.beat


def compose(piece: Arrangement) -> Score:
    """Write all parts of a piece."""
    chords = _chords(piece)
    parts: dict[str, tuple[Note, ...]] = {}
    for part, player in piece.players.items():
        if part == "melody":
            low, high = VOICES[player].melody
            parts[part] = tuple(tune(piece, chords, low, high))
        elif part == "chords":
            parts[part] = tuple(_comp(piece, chords, player))
        elif part == "pad":
            parts[part] = tuple(_pad(chords))
        else:
            parts[part] = tuple(_bass(piece, chords))
    return Score(piece, tuple(chords), parts)


def _chords(piece: Arrangement) -> list[Chord]:
    """The progression, a chord a bar (two where the piece is short), then a dominant, and the tonic at the end."""
    bars = piece.beats // piece.meter
    length = float(piece.meter)
    if 0 < bars < _SHORT and piece.meter % 2 == 0:
        length /= 2
    count = round(bars * piece.meter / length)
    symbols = [piece.progression[number % len(piece.progression)] for number in range(count)]
    if count > 1:
        symbols[0] = piece.progression[0]
        symbols[-1] = _cadence(piece)
    chords = []
    for number, symbol in enumerate(symbols):
        tones = spell(symbol, piece.tonic, piece.mode, sevenths=piece.style.sevenths)
        chords.append(Chord(number * length, length, tones[0], tones))
    start = float(piece.beats)
    ring = piece.seconds / piece.beat - start
    last = spell("1", piece.tonic, piece.mode, sevenths=piece.style.sevenths)
    if not bars and piece.beats:
        chords.append(Chord(0.0, start, last[0], last))
    return [*chords, Chord(start, ring, last[0], last)]


def _cadence(piece: Arrangement) -> str:
    """The chord before the last: a dominant, in minor with its leading note where the genre has one."""
    if not is_minor(piece.mode):
        return "4" if piece.style.progressions == "ambient" or piece.mode == "mixolydian" else "5"
    return "5#" if piece.style.progressions == "classical" else "7"


def _comp(piece: Arrangement, chords: list[Chord], player: str) -> list[Note]:
    """The chords as this player strikes, strums or breaks them."""
    name = piece.style.comp
    if player in COMPS and player != piece.style.chords:
        name = COMPS[player]
    pattern = bar_of(PATTERNS[name], piece.meter)
    notes: list[Note] = []
    shape: tuple[int, ...] = ()
    shapes = {}
    for chord in chords:
        shapes[chord.start] = shape = voiced(chord.tones, shape)
    for bar in range(max(1, piece.beats // piece.meter) if piece.beats else 0):
        for at, length, part, force in pattern:
            start = bar * piece.meter + at
            chord = chord_at(chords, start)
            if start < piece.beats:
                end = min(start + length, chord.start + chord.length) if name == "block" else start + length
                notes += _strike(shapes[chord.start], chord.root, part, start, end - start, force)
                if name == "block" and end < start + length - 1e-6:
                    later = chord_at(chords, end)
                    notes += _strike(shapes[later.start], later.root, part, end, start + length - end, force)
    last = chords[-1]
    slow = name in {"alberti", "picking", "waltz", "strum"}
    notes += _strike(shapes[last.start], last.root, "roll" if slow else "all", last.start, last.length, 0.75)
    return notes


def _strike(  # noqa: PLR0913, PLR0917 - a chord, and how it is struck
    shape: tuple[int, ...], root: int, part: str, start: float, length: float, force: float
) -> list[Note]:
    low = _ROOT_LOW + (root - _ROOT_LOW) % 12
    spread = {"strum": _STRUM, "upstroke": -_STRUM, "roll": 0.12}.get(part, 0.0)
    match part:
        case "bass":
            pitches: tuple[int, ...] = (low,)
        case "strum" | "upstroke" | "roll":
            pitches = (low, *shape)
        case "all":
            pitches = shape
        case _:
            step = int(part)
            pitches = (shape[step % len(shape)] + 12 * (step // len(shape)),)
    ordered = pitches if spread >= 0 else pitches[::-1]
    return [
        Note(start + abs(spread) * number, length, pitch, force * (1 - 0.06 * number if spread else 1))
        for number, pitch in enumerate(ordered)
    ]


def _pad(chords: list[Chord]) -> list[Note]:
    notes, shape = [], ()
    for chord in chords:
        shape = voiced(chord.tones, shape)
        notes += [Note(chord.start, chord.length, pitch, 0.7) for pitch in shape]
    return notes


def _bass(piece: Arrangement, chords: list[Chord]) -> list[Note]:
    pattern = bar_of(BASSLINES[piece.style.bassline], piece.meter)
    notes = []
    for bar in range(piece.beats // piece.meter):
        for at, length, part, force in pattern:
            start = bar * piece.meter + at
            chord = chord_at(chords, start)
            end = min(start + length, chord.start + chord.length) if piece.style.bassline == "root" else start + length
            notes.append(Note(start, end - start, _bass_pitch(chord, part), force))
            if end < start + length - 1e-6:
                notes.append(Note(end, start + length - end, _bass_pitch(chord_at(chords, end), "root"), force))
    last = chords[-1]
    return [*notes, Note(last.start, last.length, _bass_pitch(last, "root"), 0.8)]


def _bass_pitch(chord: Chord, part: str) -> int:
    root = _BASS_LOW + (chord.root - _BASS_LOW) % 12
    return root + (chord.tones[2] - root) % 12 if part == "fifth" else root

"""What is heard in a recording: its tempo, its key and, roughly, its tune."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from composer.harmony import SCALES
from composer.loudness import limited, raised
from composer.noise import RATE, Array, samples
from composer.note import Note

if TYPE_CHECKING:
    import os

_HOP, _WINDOW = 320, 4096
_FRAME = _HOP / RATE  # seconds
_SLOWEST, _FASTEST, _USUAL = 50.0, 200.0, 105.0
_LOW, _HIGH = 55, 88  # MIDI: where a tune is looked for
_QUIET = 0.08
_STEP = 9  # semitones
_CROSSING = 0.06  # seconds
_PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}
"""How well each note fits a key (Krumhansl and Kessler)."""


@dataclass(frozen=True)
class Heard:
    """``tempo`` in beats per minute, ``tonic`` a pitch class, ``phase`` the seconds of its first beat."""

    tempo: float
    tonic: int
    mode: str
    phase: float
    tune: tuple[Note, ...]


def opened(path: str | os.PathLike[str]) -> Array:
    """Read a file as (2, samples) at our rate. Raises ValueError where it is no sound that can be read."""
    import soundfile  # noqa: PLC0415 - only an input needs it

    try:
        sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        raise ValueError("input_audio is not audio that can be read (WAV, FLAC, OGG and MP3 are)") from None
    if not sound.size:
        raise ValueError("input_audio is empty")
    sides = np.ascontiguousarray(np.nan_to_num(sound[:, :2]).T)
    sides = np.concatenate([sides, sides]) if sides.shape[0] == 1 else sides
    return _resampled(sides, rate)


def _resampled(sound: Array, rate: int) -> Array:
    if rate == RATE:
        return sound
    size = sound.shape[1]
    length = round(size * RATE / rate)
    spectrum = np.fft.rfft(sound)
    kept = np.zeros((2, length // 2 + 1), dtype=spectrum.dtype)
    both = min(kept.shape[1], spectrum.shape[1])
    kept[:, :both] = spectrum[:, :both]
    return (np.fft.irfft(kept, length) * (length / size)).astype(np.float32)


def listen(sound: Array) -> Heard:
    """Listen to (2, samples)."""
    middle = np.pad(sound.mean(axis=0), (_WINDOW // 2, _WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(middle, _WINDOW)[::_HOP]
    heights = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW).astype(np.float32), axis=1)).astype(np.float32)
    tempo, phase = _pulse(heights)
    notes = _salience(heights)
    tonic, mode = _key(notes)
    return Heard(tempo, tonic, mode, phase, tuple(_tune(notes, tempo, phase, tonic, mode)))


def _pulse(heights: Array) -> tuple[float, float]:
    """Tempo and the first beat: where the sudden rises of the spectrum repeat."""
    loud = np.log1p(100 * heights / max(1e-9, float(heights.max())))
    rises = np.maximum(0, np.diff(loud, axis=0)).sum(axis=1)
    rises = rises - rises.mean()
    size = rises.size
    lags = np.arange(int(60 / _FASTEST / _FRAME), min(size - 1, int(60 / _SLOWEST / _FRAME)) + 1)
    if not lags.size or not rises.any():
        return 100.0, 0.0
    again = np.fft.irfft(np.abs(np.fft.rfft(rises, 2 * size)) ** 2)[:size] / np.arange(size, 0, -1)
    usual = np.exp(-0.5 * (np.log2(60 / (lags * _FRAME) / _USUAL) / 0.7) ** 2)
    lag = float(lags[int(np.argmax(again[lags] * usual))])
    phases = np.arange(0, lag, 1.0)
    combs = [rises[np.arange(phase, size, lag).astype(int)].mean() for phase in phases]
    return 60 / (lag * _FRAME), float(phases[int(np.argmax(combs))]) * _FRAME


def _salience(heights: Array) -> Array:
    """How strongly each MIDI pitch of the range sounds in each frame: its ground tone and the next two overtones."""
    pitches = np.arange(_LOW, _HIGH + 1)
    ground = 440 * 2 ** ((pitches - 69) / 12) * _WINDOW / RATE
    return sum(
        heights[:, np.round(ground * number).astype(int)] * weight for number, weight in ((1, 1.0), (2, 0.5), (3, 0.3))
    )


def _key(notes: Array) -> tuple[int, str]:
    total = np.zeros(12)
    for index, weight in enumerate(notes.sum(axis=0)):
        total[(index + _LOW) % 12] += weight
    scores = {
        (tonic, mode): float(np.corrcoef(total, np.roll(profile, tonic))[0, 1]) if total.std() else 0.0
        for mode, profile in _PROFILES.items() for tonic in range(12)
    }  # fmt: skip
    return max(scores, key=lambda key: scores[key])


def _tune(notes: Array, tempo: float, phase: float, tonic: int, mode: str) -> list[Note]:
    """The strongest note of the key in every half beat; equal neighbours are one note, quiet ones a rest."""
    half = 30 / tempo / _FRAME
    inside = np.array([(pitch - tonic) % 12 in SCALES[mode] for pitch in range(_LOW, _HIGH + 1)])
    tune: list[Note] = []
    strongest = float(notes.max()) or 1.0
    for step in range(int((notes.shape[0] - phase / _FRAME) / half)):
        start = int(phase / _FRAME + step * half)
        slot = notes[start : max(start + 1, int(start + half))].mean(axis=0) * inside
        if slot.max() < _QUIET * strongest:
            continue
        if tune:  # a tune moves by small steps: what leaps is rather another voice, or an overtone
            slot = slot / (1 + (np.abs(np.arange(_LOW, _HIGH + 1) - tune[-1].pitch) / _STEP) ** 2)
        pitch = _LOW + int(np.argmax(slot))
        if tune and tune[-1].pitch == pitch and tune[-1].start + tune[-1].length == step / 2:
            tune[-1] = Note(tune[-1].start, tune[-1].length + 0.5, pitch, 0.75)
        else:
            tune.append(Note(step / 2, 0.5, pitch, 0.75))
    return tune


def last_beat(heard: Heard, seconds: float) -> float:
    """The last beat of a recording that leaves room to cross over, in seconds; its end where it has none."""
    beat = 60 / heard.tempo
    count = int((seconds - _CROSSING - heard.phase) / beat)
    return heard.phase + count * beat if count > 0 else max(0.0, seconds - _CROSSING)


def joined(before: Array, after: Array, seconds: float) -> Array:
    """``before`` up to ``seconds``, then ``after``, which is brought to the same level."""
    at, cross = samples(seconds), min(samples(_CROSSING), before.shape[1] - samples(seconds))
    # Both at the level of a finished piece, so that neither is raised over the other.
    before, after = raised(before, -18.0), limited(raised(after, -18.0))
    whole = np.zeros((2, at + after.shape[1]), dtype=np.float32)
    whole[:, : at + cross] = before[:, : at + cross]
    turn = np.linspace(0, np.pi / 2, cross, dtype=np.float32)
    whole[:, at : at + cross] *= np.cos(turn)
    after = after.copy()
    after[:, :cross] *= np.sin(turn)
    whole[:, at:] += after
    return whole

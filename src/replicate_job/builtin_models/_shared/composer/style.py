"""What each genre sounds like: tempo, metre, harmony, who plays what and how."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """How a genre is played.

    ``tempo`` is its slowest and fastest in beats per minute, ``busy`` 0 to 2 how many notes the melody has, ``room``
    the reverb's share and seconds.
    """

    progressions: str
    tempo: tuple[int, int]
    mode: str
    lead: str
    chords: str
    pad: str | None = None
    bass: str | None = None
    comp: str = "block"
    bassline: str = "root"
    meter: int = 4
    sevenths: bool = False
    pentatonic: bool = False
    busy: int = 1
    room: tuple[float, float] = (0.22, 1.6)


STYLES: dict[str, Style] = {
    "waltz": Style("classical", (84, 160), "major", "piano", "piano", comp="waltz", meter=3, room=(0.26, 2.0)),
    "epic": Style("epic", (84, 124), "minor", "strings", "piano", "pad", "bass", "pulse", room=(0.36, 2.8)),
    "ambient": Style("ambient", (56, 76), "major", "bells", "pad", "strings", "bass", sevenths=True, pentatonic=True,
                     busy=0, room=(0.5, 4.0)),
    "folk": Style("modal", (84, 116), "major", "flute", "guitar", None, "bass", "picking", "two", pentatonic=True),
    "classical": Style("classical", (80, 126), "major", "piano", "piano", "strings", comp="alberti", room=(0.3, 2.2)),
    "pop": Style("pop", (96, 124), "major", "piano", "guitar", "pad", "bass", "strum", "eighths"),
}  # fmt: skip

PROGRESSIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "pop": {
        "major": ("1 5 6 4", "1 6 4 5", "6 4 1 5", "1 4 6 5", "1 3 4 5"),
        "minor": ("1 6 3 7", "1 4 6 7", "1 3 7 6", "1 7 6 7", "6 7 1 3"),
    },
    "classical": {
        "major": ("1 4 5 1", "1 6 2 5", "1 5 6 3 4 1 4 5", "1 2 5 1", "1 6 4 5"),
        "minor": ("1 4 5# 1", "1 6 4 5#", "1 7 6 5#", "1 4 7 3 6 4 5# 1"),
    },
    "epic": {"major": ("1 5 6 4", "6 4 1 5", "1 4 6 5"), "minor": ("1 6 3 7", "1 7 6 7", "1 6 4 7", "6 7 1 1")},
    "ambient": {"major": ("1 4 6 5", "4 1 2 6", "1 3 6 4", "1 2 4 1"), "minor": ("1 6 3 7", "1 4 6 7", "1 7 4 6")},
    "modal": {"major": ("1 4 1 5", "1 5 4 1", "1 4 5 4", "1 6 4 5"), "minor": ("1 4 1 4", "1 7 4 1", "1 7 6 7")},
}
"""Chords a bar, as steps of the scale; ``#`` raises the third to the leading note."""

MOOD_MODES = {
    "sad": "minor",
    "dark": "minor",
    "tense": "minor",
    "mysterious": "dorian",
    "happy": "major",
    "playful": "major",
    "triumphant": "major",
    "romantic": "major",
    "dreamy": "lydian",
    "calm": "major",
}
MOOD_PACES = {"sad": 0.1, "calm": 0.1, "dreamy": 0.2, "romantic": 0.3, "dark": 0.3, "happy": 0.7, "playful": 0.8,
              "triumphant": 0.6, "tense": 0.8, "energetic": 1.0}  # fmt: skip
MOOD_BRIGHTNESS = {"sad": 0.75, "dark": 0.55, "calm": 0.75, "dreamy": 0.8, "romantic": 0.85, "mysterious": 0.8,
                   "happy": 1.25, "playful": 1.25, "triumphant": 1.15, "energetic": 1.3, "tense": 1.1}  # fmt: skip
"""How bright the instruments sound, about 1."""
MOOD_GENRES = {"calm": "classical", "sad": "classical", "romantic": "classical", "dreamy": "ambient", "dark": "epic",
               "tense": "epic", "mysterious": "ambient", "triumphant": "epic", "playful": "folk",
               "happy": "pop", "energetic": "pop"}  # fmt: skip
"""What is played where a prompt names a mood and no genre."""

"""Who strikes when in a bar: drums, chords and bass."""

from __future__ import annotations

DRUMS: dict[str, dict[str, str]] = {
    "pop": {"kick": "x.....o.x.......", "snare": "....x.......x...", "hat": "x.-.x.-.x.-.x.-."},
    "rock": {"kick": "x.....x.x.o.....", "snare": "....x.......x...", "hat": "x.o.x.o.x.o.x.o."},
    "house": {
        "kick": "x...x...x...x...",
        "clap": "....x.......x...",
        "open": "..o...o...o...o.",
        "hat": "x-.-x-.-x-.-x-.-",
    },
    "synthwave": {"kick": "x...x...x...x...", "snare": "....x.......x...", "hat": "o.o.o.o.o.o.o.o."},
    "drum and bass": {"kick": "x.........x.....", "snare": "....x..-.-..x...", "hat": "x.o.x.o.x.o.x.o."},
    "hip hop": {"kick": "x.....x...x.....", "snare": "....x.......x...", "hat": "x.o.x.oox.o.x.o."},
    "lofi": {"kick": "x......o..x.....", "snare": "....o.......o..-", "hat": "o.-.o.-.o.-.o.-."},
    "chip": {"kick": "x...x...x...x...", "snare": "....x.......x.x.", "hat": "..o...o...o...o."},
    "swing": {
        "ride": "x...x.o.x...x.o.",
        "kick": "-...-...-...-...",
        "pedal": "....o.......o...",
        "brush": "..........-.....",
    },
    "shuffle": {"kick": "x.......x.....o.", "snare": "....x.......x...", "ride": "x.o.x.o.x.o.x.o."},
    "bossa": {"kick": "x.....oox.....oo", "rim": "x.....x.....x...", "shaker": "o-x-o-x-o-x-o-x-"},
    "one drop": {"kick": "........x.......", "rim": "........x.......", "hat": "x.o.x.o.x.o.x.o."},
    "funk": {"kick": "x.....x...x..x..", "snare": "....x..-.-..x..-", "hat": "xoxoxoxoxoxoxoxo"},
    "country": {"kick": "x.......x.......", "brush": "-.-.x.-.-.-.x.-."},
    "epic": {"tom": "x..o..o.x..o..oo", "kick": "x.......x......."},
}
"""Sixteenths of a bar of four: ``x`` is a full stroke, ``o`` a lighter one, ``-`` barely there."""

IN_THREE: dict[str, str] = {"kick": "x...........", "brush": "....o...o...", "hat": "....-...-..."}
"""What any drummer plays in a bar of three."""

_OFF = 2  # sixteenths: the middle of a beat

STROKES = {"x": 1.0, "o": 0.62, "-": 0.34}

COMPS: dict[str, dict[int, tuple[tuple[float, float, str, float], ...]]] = {
    "block": {4: ((0, 4, "all", 0.8),), 3: ((0, 3, "all", 0.8),)},
    "pulse": {
        4: tuple((beat / 2, 0.5, "all", 0.9 if beat % 4 == 0 else 0.65) for beat in range(8)),
        3: tuple((beat / 2, 0.5, "all", 0.9 if beat == 0 else 0.65) for beat in range(6)),
    },
    "offbeat": {
        4: tuple((beat + 0.5, 0.35, "all", 0.8) for beat in range(4)),
        3: tuple((beat + 0.5, 0.35, "all", 0.8) for beat in range(3)),
    },
    "syncopated": {
        4: ((0, 0.6, "all", 0.9), (0.75, 0.5, "all", 0.7), (1.5, 0.8, "all", 0.85), (2.5, 0.6, "all", 0.75),
            (3.25, 0.6, "all", 0.7)),
        3: ((0, 0.8, "all", 0.9), (1.5, 0.8, "all", 0.8), (2.5, 0.4, "all", 0.7)),
    },
    "charleston": {
        4: ((0, 1.3, "all", 0.85), (1.5, 2.0, "all", 0.7)),
        3: ((0, 1.3, "all", 0.85), (1.5, 1.3, "all", 0.7)),
    },
    "bossa": {
        4: ((0, 0.9, "low", 0.8), (0.5, 0.7, "high", 0.6), (1.5, 0.9, "high", 0.75), (2, 0.9, "low", 0.7),
            (3, 0.9, "high", 0.7)),
        3: ((0, 0.9, "low", 0.8), (1, 0.9, "high", 0.7), (2, 0.9, "high", 0.6)),
    },
    "strum": {
        4: ((0, 1.0, "strum", 0.9), (1, 0.5, "strum", 0.7), (1.5, 1.0, "upstroke", 0.5), (2.5, 0.5, "upstroke", 0.6),
            (3, 0.5, "strum", 0.75), (3.5, 0.5, "upstroke", 0.5)),
        3: ((0, 1.0, "strum", 0.9), (1, 0.5, "strum", 0.65), (1.5, 0.5, "upstroke", 0.5), (2, 1.0, "strum", 0.65)),
    },
    "waltz": {
        4: ((0, 1.8, "bass", 0.85), (1, 0.8, "all", 0.5), (2, 0.8, "all", 0.55), (3, 0.8, "all", 0.5)),
        3: ((0, 2.6, "bass", 0.85), (1, 0.8, "all", 0.52), (2, 0.8, "all", 0.48)),
    },
    "alberti": {
        4: tuple((beat / 2, 0.9, part, 0.75 if beat % 4 == 0 else 0.55)
                 for beat, part in enumerate(("bass", "2", "1", "2", "0", "2", "1", "2"))),
        3: tuple((beat / 2, 0.9, part, 0.75 if beat == 0 else 0.55)
                 for beat, part in enumerate(("bass", "1", "2", "1", "2", "1"))),
    },
    "arpeggio": {
        4: tuple((beat / 2, 1.6, part, 0.75 if beat % 4 == 0 else 0.6)
                 for beat, part in enumerate(("bass", "0", "1", "2", "3", "2", "1", "0"))),
        3: tuple((beat / 2, 1.6, part, 0.75 if beat == 0 else 0.6)
                 for beat, part in enumerate(("bass", "0", "1", "2", "1", "0"))),
    },
    "picking": {
        4: tuple((beat / 2, 1.4, part, 0.8 if beat % 2 == 0 else 0.6)
                 for beat, part in enumerate(("bass", "2", "1", "3", "0", "2", "1", "2"))),
        3: tuple((beat / 2, 1.4, part, 0.8 if beat == 0 else 0.6)
                 for beat, part in enumerate(("bass", "1", "2", "3", "2", "1"))),
    },
    "sixteenths": {
        4: tuple((beat / 4, 0.25, str(beat % 4), 0.8 if beat % 4 == 0 else 0.6) for beat in range(16)),
        3: tuple((beat / 4, 0.25, str(beat % 4), 0.8 if beat % 4 == 0 else 0.6) for beat in range(12)),
    },
}  # fmt: skip
"""Beat, length in beats, which notes of the chord, how loud."""

BASSLINES: dict[str, dict[int, tuple[tuple[float, float, str, float], ...]]] = {
    "root": {4: ((0, 4, "root", 0.85),), 3: ((0, 3, "root", 0.85),)},
    "two": {
        4: ((0, 1.8, "root", 0.9), (2, 1.8, "fifth", 0.75)),
        3: ((0, 1.8, "root", 0.9), (2, 0.9, "fifth", 0.65)),
    },
    "eighths": {
        4: tuple((beat / 2, 0.46, "root", 0.9 if beat % 2 == 0 else 0.7) for beat in range(8)),
        3: tuple((beat / 2, 0.46, "root", 0.9 if beat % 2 == 0 else 0.7) for beat in range(6)),
    },
    "sixteenths": {
        4: tuple((beat / 4, 0.2, "root", 0.9 if beat % 4 == _OFF else 0.6) for beat in range(16) if beat % 4),
        3: tuple((beat / 4, 0.2, "root", 0.9 if beat % 4 == _OFF else 0.6) for beat in range(12) if beat % 4),
    },
    "offbeat": {
        4: tuple((beat + 0.5, 0.45, "root", 0.9) for beat in range(4)),
        3: tuple((beat + 0.5, 0.45, "root", 0.9) for beat in range(3)),
    },
    "octaves": {
        4: tuple(
            (beat / 2, 0.42, "octave" if beat % 2 else "root", 0.9 if beat % 2 == 0 else 0.7) for beat in range(8)
        ),
        3: tuple(
            (beat / 2, 0.42, "octave" if beat % 2 else "root", 0.9 if beat % 2 == 0 else 0.7) for beat in range(6)
        ),
    },
    "walk": {
        4: ((0, 0.9, "root", 0.9), (1, 0.9, "third", 0.75), (2, 0.9, "fifth", 0.85), (3, 0.9, "approach", 0.75)),
        3: ((0, 0.9, "root", 0.9), (1, 0.9, "third", 0.75), (2, 0.9, "approach", 0.75)),
    },
    "synco": {
        4: ((0, 1.3, "root", 0.95), (1.5, 0.45, "root", 0.65), (2.5, 0.9, "root", 0.85), (3.5, 0.45, "fifth", 0.65)),
        3: ((0, 1.3, "root", 0.95), (1.5, 0.45, "root", 0.65), (2, 0.9, "fifth", 0.75)),
    },
    "bossa": {
        4: ((0, 1.4, "root", 0.9), (1.5, 0.45, "fifth", 0.7), (2, 1.4, "fifth", 0.85), (3.5, 0.45, "root", 0.7)),
        3: ((0, 1.4, "root", 0.9), (1.5, 1.4, "fifth", 0.7)),
    },
}
"""Beat, length in beats, which note of the chord, how loud."""


def drum_bar(name: str, meter: int) -> dict[str, str]:
    """What the drummer plays in a bar of ``meter`` beats."""
    return DRUMS[name] if meter == 4 else IN_THREE  # noqa: PLR2004 - every pattern is written in four

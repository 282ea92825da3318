"""Who strikes when in a bar: drums, chords and bass."""

from __future__ import annotations

DRUMS: dict[str, dict[str, str]] = {
    "pop": {"kick": "x.....o.x.......", "snare": "....x.......x...", "hat": "x.-.x.-.x.-.x.-."},
    "rock": {"kick": "x.....x.x.o.....", "snare": "....x.......x...", "hat": "x.o.x.o.x.o.x.o."},
    "house": {"kick": "x...x...x...x...", "snare": "....o.......o...", "hat": "--x---x---x---x-"},
    "synthwave": {"kick": "x...x...x...x...", "snare": "....x.......x...", "hat": "o.o.o.o.o.o.o.o."},
    "lofi": {"kick": "x......o..x.....", "snare": "....o.......o..-", "hat": "o.-.o.-.o.-.o.-."},
    "chip": {"kick": "x...x...x...x...", "snare": "....x.......x.x.", "hat": "..o...o...o...o."},
    "swing": {"ride": "x...x.o.x...x.o.", "kick": "-...-...-...-...", "hat": "....o.......o..."},
    "epic": {"tom": "x..o..o.x..o..oo", "kick": "x.......x......."},
}
"""Sixteenths of a bar of four: ``x`` is a full stroke, ``o`` a lighter one, ``-`` barely there."""

IN_THREE: dict[str, str] = {"kick": "x...........", "snare": "....-...-...", "hat": "....o...o..."}
"""What any drummer plays in a bar of three."""

STROKES = {"x": 1.0, "o": 0.62, "-": 0.34}

Bar = tuple[tuple[float, float, str, float], ...]
"""Beat, length in beats, which notes of the chord, how loud."""


def _even(step: float, length: float, parts: str, *forces: float, late: float = 0.0) -> Bar:
    """Strokes ``step`` beats apart, from ``late`` on, as loud as ``forces``, which begin again where they end."""
    return tuple(
        (late + number * step, length, part, forces[number % len(forces)]) for number, part in enumerate(parts.split())
    )


COMPS: dict[str, dict[int, Bar]] = {
    "block": {4: ((0, 4, "all", 0.8),), 3: ((0, 3, "all", 0.8),)},
    "pulse": {
        4: _even(0.5, 0.5, 8 * "all ", 0.9, 0.65, 0.65, 0.65),
        3: _even(0.5, 0.5, 6 * "all ", 0.9, 0.65, 0.65, 0.65, 0.65, 0.65),
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
        4: _even(0.5, 0.9, "bass 2 1 2 0 2 1 2", 0.75, 0.55, 0.55, 0.55),
        3: _even(0.5, 0.9, "bass 1 2 1 2 1", 0.75, 0.55, 0.55, 0.55, 0.55, 0.55),
    },
    "picking": {
        4: _even(0.5, 1.4, "bass 2 1 3 0 2 1 2", 0.8, 0.6),
        3: _even(0.5, 1.4, "bass 1 2 3 2 1", 0.8, 0.6, 0.6, 0.6, 0.6, 0.6),
    },
    "sixteenths": {4: _even(0.25, 0.25, 4 * "0 1 2 3 ", 0.8, 0.6, 0.6, 0.6)},
}  # fmt: skip
"""How chords are played, by metre; without an own bar of three, its three beats are the first of the four."""

BASSLINES: dict[str, dict[int, Bar]] = {
    "root": {4: ((0, 4, "root", 0.85),), 3: ((0, 3, "root", 0.85),)},
    "two": {
        4: ((0, 1.8, "root", 0.9), (2, 1.8, "fifth", 0.75)),
        3: ((0, 1.8, "root", 0.9), (2, 0.9, "fifth", 0.65)),
    },
    "eighths": {4: _even(0.5, 0.46, 8 * "root ", 0.9, 0.7)},
    "offbeat": {4: _even(1, 0.45, 4 * "root ", 0.9, late=0.5)},
    "octaves": {4: _even(0.5, 0.42, 4 * "root octave ", 0.9, 0.7)},
    "walk": {
        4: ((0, 0.9, "root", 0.9), (1, 0.9, "third", 0.75), (2, 0.9, "fifth", 0.85), (3, 0.9, "approach", 0.75)),
        3: ((0, 0.9, "root", 0.9), (1, 0.9, "third", 0.75), (2, 0.9, "approach", 0.75)),
    },
    "synco": {
        4: ((0, 1.3, "root", 0.95), (1.5, 0.45, "root", 0.65), (2.5, 0.9, "root", 0.85), (3.5, 0.45, "fifth", 0.65)),
        3: ((0, 1.3, "root", 0.95), (1.5, 0.45, "root", 0.65), (2, 0.9, "fifth", 0.75)),
    },
}
"""The same for the bass."""


def bar_of(patterns: dict[int, Bar], meter: int) -> Bar:
    """What is played in a bar of ``meter`` beats, 3 or 4."""
    return patterns.get(meter) or tuple(one for one in patterns[4] if one[0] < meter)


def drum_bar(name: str, meter: int) -> dict[str, str]:
    """What the drummer plays in a bar of ``meter`` beats."""
    return DRUMS[name] if meter == 4 else IN_THREE  # noqa: PLR2004 - every pattern is written in four

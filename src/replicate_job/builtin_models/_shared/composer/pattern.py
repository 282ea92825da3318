"""What is struck when in a bar: chords and bass."""

from __future__ import annotations

Bar = tuple[tuple[float, float, str, float], ...]
"""Beat, length in beats, which notes of the chord, how loud."""


def _even(step: float, length: float, parts: str, *forces: float) -> Bar:
    """Strokes ``step`` beats apart, as loud as ``forces``, which begin again where they end."""
    return tuple(
        (number * step, length, part, forces[number % len(forces)]) for number, part in enumerate(parts.split())
    )


COMPS: dict[str, dict[int, Bar]] = {
    "block": {4: ((0, 4, "all", 0.8),), 3: ((0, 3, "all", 0.8),)},
    "pulse": {
        4: _even(0.5, 0.5, 8 * "all ", 0.9, 0.65, 0.65, 0.65),
        3: _even(0.5, 0.5, 6 * "all ", 0.9, 0.65, 0.65, 0.65, 0.65, 0.65),
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
}  # fmt: skip
"""How chords are played, by metre; without an own bar of three, its three beats are the first of the four."""

BASSLINES: dict[str, dict[int, Bar]] = {
    "root": {4: ((0, 4, "root", 0.85),), 3: ((0, 3, "root", 0.85),)},
    "two": {
        4: ((0, 1.8, "root", 0.9), (2, 1.8, "fifth", 0.75)),
        3: ((0, 1.8, "root", 0.9), (2, 0.9, "fifth", 0.65)),
    },
    "eighths": {4: _even(0.5, 0.46, 8 * "root ", 0.9, 0.7)},
}
"""The same for the bass."""


def bar_of(patterns: dict[int, Bar], meter: int) -> Bar:
    """What is played in a bar of ``meter`` beats, 3 or 4."""
    return patterns.get(meter) or tuple(one for one in patterns[4] if one[0] < meter)

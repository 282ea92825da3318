"""What is played: notes and strokes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """``start`` and ``length`` in beats, ``pitch`` as MIDI counts (60 is middle C), ``force`` from 0 to 1."""

    start: float
    length: float
    pitch: int
    force: float


@dataclass(frozen=True)
class Stroke:
    """A drum's stroke: ``start`` in beats, ``force`` from 0 to 1."""

    start: float
    drum: str
    force: float

"""What is played."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """``start`` and ``length`` in beats, ``pitch`` as MIDI counts (60 is middle C), ``force`` from 0 to 1."""

    start: float
    length: float
    pitch: int
    force: float

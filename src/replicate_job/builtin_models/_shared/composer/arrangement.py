"""Request to arrangement: everything decided but the notes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from composer.harmony import NAMES, is_minor
from composer.noise import rng
from composer.style import (
    MOOD_BRIGHTNESS,
    MOOD_GENRES,
    MOOD_MODES,
    MOOD_PACES,
    PROGRESSIONS,
    STYLES,
    Style,
)

if TYPE_CHECKING:
    from composer.prompt import Request

TUNEFUL = ("flute", "bells")
"""Instruments that lead rather than accompany."""
CHORDAL = ("piano", "guitar")
LASTING = ("strings", "pad")
COMPS = {"pad": "block", "strings": "block"}
"""How an instrument accompanies that cannot play what the genre asks of its usual one."""

_TAIL = 0.8  # seconds: the least that the last chord rings
_RING = 2.2
_STRETCH = np.linspace(0.93, 1.07, 57)


@dataclass(frozen=True)
class Arrangement:
    """A piece of ``seconds``: ``beats`` of music at ``tempo``, then a last chord that rings to the end."""

    style: Style
    genre: str
    tempo: float
    meter: int
    tonic: int
    mode: str
    seconds: float
    beats: int
    progression: tuple[str, ...]
    players: dict[str, str]
    brightness: float
    seed: int

    @property
    def beat(self) -> float:
        """A beat's length in seconds."""
        return 60 / self.tempo

    def sentence(self) -> str:
        """What will be played, in words."""
        players = ", ".join(f"{name} ({role})" for role, name in self.players.items())
        return f"{self.genre}, {self.tempo:.4g} BPM in {self.meter}/4, {NAMES[self.tonic]} {self.mode}: {players}"


def arrange(request: Request, seconds: float, seed: int) -> Arrangement:
    """Decide what the request leaves open, by its moods first, then by ``seed``."""
    chance = rng(seed, "arrangement", request.key)
    genre = request.genre or _genre(request, chance)
    style = STYLES[genre]
    mode = request.mode or _mode(request, style)
    tonic = int(chance.integers(12)) if request.tonic is None else request.tonic
    meter = request.meter or style.meter
    family = "minor" if is_minor(mode) else "major"
    progression = tuple(str(chance.choice(PROGRESSIONS[style.progressions][family])).split())
    asked = _tempo(request, style, chance)
    tempo = asked if request.tempo else _fitted(asked, meter, seconds)
    brightness = float(np.prod([MOOD_BRIGHTNESS.get(mood, 1.0) for mood in request.moods]))
    players = _players(request, style)
    return Arrangement(
        style=style,
        genre=genre,
        tempo=tempo,
        meter=meter,
        tonic=tonic,
        mode=mode,
        seconds=seconds,
        beats=_beats(tempo, meter, seconds),
        progression=progression,
        players=players,
        brightness=min(1.5, max(0.5, brightness)),
        seed=seed,
    )


def _genre(request: Request, chance: np.random.Generator) -> str:
    named = [MOOD_GENRES[mood] for mood in request.moods if mood in MOOD_GENRES]
    if request.meter == 3:  # noqa: PLR2004 - three-four time
        return "waltz"
    if named:
        return named[0]
    acoustic = {"piano": "classical", "guitar": "folk", "strings": "classical"}
    for instrument, genre in acoustic.items():
        if instrument in request.instruments:
            return genre
    return str(chance.choice(["pop", "folk", "classical", "ambient"]))


def _mode(request: Request, style: Style) -> str:
    for mood in request.moods:
        if mood in MOOD_MODES:
            wanted = MOOD_MODES[mood]
            # A genre's own mode stays where it has the same third: a blues is no major scale when it is happy.
            return style.mode if is_minor(wanted) == is_minor(style.mode) else wanted
    return style.mode


def _tempo(request: Request, style: Style, chance: np.random.Generator) -> float:
    if request.tempo:
        return request.tempo
    if request.pace is not None and request.pace > 1:
        return request.pace
    paces = [MOOD_PACES[mood] for mood in request.moods if mood in MOOD_PACES]
    place = request.pace if request.pace is not None else float(np.mean(paces)) if paces else chance.uniform(0.3, 0.7)
    slow, fast = style.tempo
    return float(round(slow + (fast - slow) * place))


def _fitted(tempo: float, meter: int, seconds: float) -> float:
    """The tempo near ``tempo`` whose last chord rings for about two seconds: a piece is neither cut nor idle."""
    tempos = tempo * _STRETCH
    rings = [seconds - _beats(float(one), meter, seconds) * 60 / one for one in tempos]
    return float(round(tempos[int(np.argmin([abs(ring - _RING) for ring in rings]))], 1))


def _beats(tempo: float, meter: int, seconds: float) -> int:
    """Beats before the last chord: whole bars where there is room for one."""
    beats = max(0, int((seconds - _TAIL) * tempo / 60 + 1e-6))
    return beats - beats % meter if beats >= meter else beats


def _players(request: Request, style: Style) -> dict[str, str]:
    """Who plays which part. Named instruments take the parts they can; the genre's own fill the rest."""
    named = list(request.instruments)
    if not named:
        own = {"melody": style.lead, "chords": style.chords, "pad": style.pad, "bass": style.bass}
        players = {part: name for part, name in own.items() if name and name not in request.without}
        return players or {"melody": "piano"}
    leads = [*(name for name in TUNEFUL if name in named), *(name for name in named if name != "bass")]
    lead = leads[0] if leads else style.lead
    chordal = [name for name in named if name in CHORDAL]
    chords = next((name for name in chordal if name != lead), None) or (lead if lead in CHORDAL else None)
    lasting = [name for name in named if name in LASTING and name not in {lead, chords}]
    if request.solo:
        return {"melody": lead} | ({"chords": chords} if chords else {})
    players = {"melody": lead}
    if chords or not lasting:
        players["chords"] = chords or style.chords
    else:
        players["chords"] = lasting.pop(0)
    pad = lasting[0] if lasting else style.pad if request.genre else None
    if pad and pad not in request.without and pad not in players.values():
        players["pad"] = pad
    bass = "bass" if "bass" in named and lead != "bass" else style.bass
    if bass and "bass" not in request.without and (request.genre or bass in named):
        players["bass"] = bass
    return players

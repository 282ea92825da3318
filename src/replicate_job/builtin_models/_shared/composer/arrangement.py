"""Turns a request into an arrangement, which determines everything except the notes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from composer.noise import rng
from composer.prompt import INSTRUMENTS

if TYPE_CHECKING:
    import numpy as np

    from composer.prompt import Request

NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
PACES = {"slow": 0.0, "medium": 0.5, "fast": 1.0}
PROGRESSIONS = {
    "major": ("1 5 6 4", "1 6 4 5", "1 4 1 5", "1 6 2 5", "1 5 6 3 4 1 4 5", "1 3 4 5"),
    "minor": ("1 6 3 7", "1 4 6 7", "1 4 7 3 6 4 7 1", "1 7 6 7", "1 6 4 7"),
}
"""Maps a mode to progressions: the chords of successive bars, as steps of the scale."""


@dataclass(frozen=True)
class Style:
    """How a genre is played.

    ``tempo`` is the slowest and the fastest tempo in beats per minute. ``players`` maps a part to its instrument.
    ``comp`` is the name in ``COMPS`` of the way to play chords. ``room`` is the reverb's share and its seconds.
    """

    tempo: tuple[int, int]
    players: dict[str, str]
    comp: str
    meter: int = 4
    room: tuple[float, float] = (0.26, 2.0)


STYLES: dict[str, Style] = {
    "waltz": Style((84, 160), {"melody": "piano", "chords": "piano"}, "waltz", meter=3),
    "ambient": Style((56, 76), {"melody": "bells", "chords": "strings", "bass": "bass"}, "block", room=(0.5, 4.0)),
    "folk": Style((84, 132), {"melody": "flute", "chords": "guitar", "bass": "bass"}, "picking"),
    "classical": Style((72, 126), {"melody": "piano", "chords": "piano"}, "broken"),
}


@dataclass(frozen=True)
class Mood:
    """The values of a mood, used if the prompt does not give them. ``pace`` is 0 (slow) to 1 (fast)."""

    mode: str
    pace: float
    brightness: float
    genre: str


MOODS: dict[str, Mood] = {
    "sad": Mood("minor", 0.1, 0.75, "classical"),
    "dark": Mood("minor", 0.3, 0.55, "ambient"),
    "happy": Mood("major", 0.7, 1.25, "folk"),
    "calm": Mood("major", 0.1, 0.8, "classical"),
    "energetic": Mood("major", 1.0, 1.3, "folk"),
}

_TAIL = 0.8  # the fewest seconds that the last chord rings


@dataclass(frozen=True)
class Arrangement:
    """A piece of ``seconds``: ``bars`` of music at ``tempo``, then a last chord that rings to the end."""

    style: Style
    genre: str
    tempo: float
    meter: int
    tonic: int
    mode: str
    seconds: float
    bars: int
    progression: tuple[str, ...]
    players: dict[str, str]
    brightness: float
    seed: int

    @property
    def beat(self) -> float:
        """A beat's length in seconds."""
        return 60 / self.tempo

    @property
    def beats(self) -> int:
        """The number of beats before the last chord."""
        return self.bars * self.meter

    def sentence(self) -> str:
        """Describe the piece for the log."""
        players = ", ".join(f"{name} ({role})" for role, name in self.players.items())
        return f"{self.genre}, {self.tempo:.4g} BPM in {self.meter}/4, {NAMES[self.tonic]} {self.mode}: {players}"


def arrange(request: Request, seconds: float, seed: int) -> Arrangement:
    """Choose everything that the request leaves open: by its mood, or else at random by ``seed``."""
    chance = rng(seed, "arrangement", request.key)
    mood = MOODS.get(request.mood or "")
    genre = request.genre or _genre(request, mood, chance)
    style = STYLES[genre]
    mode = request.mode or (mood.mode if mood else str(chance.choice(["major", "major", "minor"])))
    tonic = int(chance.integers(12)) if request.tonic is None else request.tonic
    meter = request.meter or style.meter
    place = PACES[request.pace] if request.pace else mood.pace if mood else chance.uniform(0.3, 0.7)
    slow, fast = style.tempo
    tempo = request.tempo or float(round(slow + (fast - slow) * place))
    return Arrangement(
        style=style,
        genre=genre,
        tempo=tempo,
        meter=meter,
        tonic=tonic,
        mode=mode,
        seconds=seconds,
        bars=max(0, int((seconds - _TAIL) * tempo / 60 / meter + 1e-6)),
        progression=tuple(str(chance.choice(PROGRESSIONS[mode])).split()),
        players=_players(request, style),
        brightness=mood.brightness if mood else 1.0,
        seed=seed,
    )


def _genre(request: Request, mood: Mood | None, chance: np.random.Generator) -> str:
    if request.meter == 3:  # noqa: PLR2004 - three-four time
        return "waltz"
    return mood.genre if mood else str(chance.choice(["folk", "classical", "ambient"]))


def _players(request: Request, style: Style) -> dict[str, str]:
    """The instrument of each part: only instruments that the request names, or the genre's own if it names none."""
    named = list(request.instruments)
    if not named:
        players = {part: name for part, name in style.players.items() if name not in request.without}
        other = next((name for name in INSTRUMENTS if name not in request.without), "piano")
        return {"melody": players.get("chords", other)} | players
    lead = next((name for name in ("flute", "bells", *named) if name in named and name != "bass"), "bass")
    players = {"melody": lead}
    chordal = [name for name in ("piano", "guitar", "strings") if name in named and name != lead]
    if chordal or lead in {"piano", "guitar"}:
        players["chords"] = chordal[0] if chordal else lead
    if "bass" in named and lead != "bass":
        players["bass"] = "bass"
    return players

"""Converts a prompt to a request: the things in the prompt that this composer can play."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vocabulary import Prompt

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

GENRES: dict[str, str] = {
    "waltz": r"waltz|waltzes",
    "ambient": r"ambient|meditation|meditative|new age|soundscape|atmospheric|dreamy|floating",
    "folk": r"folk|celtic|campfire",
    "classical": r"classical|sonata|nocturne|minuet|etude|prelude|romantic",
}
"""Maps a genre to the pattern of its words. The most specific genre is first."""

MOODS: dict[str, str] = {
    "sad": r"sad|sadness|melancholy|melancholic|sorrow|sorrowful|mournful|lonely|heartbreak|nostalgic|wistful",
    "dark": r"dark|ominous|eerie|haunting|haunted|sinister|gloomy|brooding|moody|mysterious",
    "happy": r"happy|happiness|cheerful|joyful|joyous|uplifting|bright|sunny|fun|positive|playful",
    "calm": r"calm|calming|peaceful|relaxing|relaxed|relax|serene|soothing|gentle|soft|quiet|tranquil|mellow",
    "energetic": r"energetic|energy|driving|exciting|upbeat|lively|vibrant",
}

INSTRUMENTS: dict[str, str] = {
    "piano": r"(?<!electric )piano|grand piano",
    "guitar": r"(?<!electric )(?<!distorted )guitar|acoustic(?! piano)(?! bass)|fingerpicking|fingerpicked",
    "strings": r"strings|string section|string quartet",
    "flute": r"flute",
    "bells": r"bell|chime|glockenspiel",
    "bass": r"bass(?! drum)|upright bass|double bass|bass guitar",
}

PACES: dict[str, str] = {
    "slow": r"very slow|slow|slowly|down-?tempo|unhurried|ballad|largo|lento|adagio",
    "medium": r"mid-?tempo|medium tempo|moderate|andante|moderato",
    "fast": r"fast|fast-?paced|up-?tempo|upbeat|quick|rapid|brisk|lively|allegro|vivace|presto",
}

MODES = {"major": r"major|maj", "minor": r"minor|min"}

SMALL = frozenset(
    re.findall(
        r"\w+",
        """
        a an the of in on at with and or by to from over under for as is are it its very some this that into through
        music song track tune piece melody composition instrumental loop background sound sounds audio style style's
        bpm tempo key time signature beats per minute featuring feat using like vibe vibes feel feeling mood light
        recording high quality professional hq studio no without not only just minute second seconds
        """,
    )
)
"""Words without a musical meaning. The log does not list them as missed."""

_LETTERS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_SLOWEST, _FASTEST = 30.0, 240.0
_TEMPO = re.compile(
    r"\b(\d{2,3}(?:\.\d+)?)\s*-?\s*(?:bpm|beats per minute)\b|\b(?:bpm|tempo)\s*(?:of|:|=|at)?\s*(\d{2,3}(?:\.\d+)?)\b"
)
_KEY = re.compile(
    r"\b((?i:in|key of|key:)\s+[a-gA-G]|[A-G])(#|♯|b\b|♭|[- ](?i:sharp|flat))?[- ]?"
    r"(?i:(major|maj|minor|min))\b(?!\s+key)"
    r"|\b(?i:key of|key:)\s*([a-gA-G])(#|♯|b\b|♭|[- ](?i:sharp|flat))?(?![a-zA-Z])"
)
_UNWANTED = re.compile(r"\b(?:no|without|not) (?:any )?[\w-]+(?: (?:or|and) [\w-]+)?")
_METER = re.compile(r"\b([34])/4\b")


@dataclass(frozen=True)
class Request:
    """The things that a prompt asks for. The composer chooses those that are None or empty.

    ``tempo`` is in beats per minute, ``tonic`` a pitch class (C is 0). ``instruments`` and ``without`` map a name to
    the words in the prompt. ``given`` records which words were used; ``key`` is a number made from the whole prompt.
    """

    given: Prompt
    tempo: float | None = None
    pace: str | None = None
    meter: int | None = None
    tonic: int | None = None
    mode: str | None = None
    genre: str | None = None
    mood: str | None = None
    instruments: Mapping[str, str] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)
    key: int = 0

    def played(self, players: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The words of the prompt that a piece for these players follows, and the other words."""
        for name, said in self.instruments.items():
            if name in players:
                self.given.did(said)
        for name, said in self.without.items():
            if name not in players:
                self.given.did(said)
        if len(set(players)) == 1:
            self.given.did("solo unaccompanied")
        return self.given.done, self.given.missed(SMALL)


def read(prompt: str) -> Request:
    """Read a prompt. Instruments after "no" or "without" are left out."""
    given = Prompt(prompt)
    text = given.text
    tempo, (tonic, mode), meter = _tempo(given), _key(prompt, given), _meter(given)
    without = given.find(INSTRUMENTS, " ".join(_UNWANTED.findall(text)))
    wanted = _TEMPO.sub(" ", _UNWANTED.sub(" ", text))
    instruments = given.find(INSTRUMENTS, wanted)
    return Request(
        given=given,
        tempo=tempo,
        pace=None if tempo else _first(given, PACES, wanted),
        meter=meter,
        tonic=tonic,
        mode=mode or _first(given, MODES, wanted),
        genre=_first(given, GENRES, wanted),
        mood=_first(given, MOODS, wanted),
        instruments={name: said for name, said in instruments.items() if name not in without},
        without=without,
        key=zlib.crc32(text.encode()),
    )


def _first(given: Prompt, table: Mapping[str, str], part: str) -> str | None:
    """Return the first name of ``table`` that is in ``part`` of the prompt, and mark that name's words as used.

    Words of later matches stay unused.
    """
    for name, said in given.find(table, part).items():
        given.did(said)
        return name
    return None


def _tempo(given: Prompt) -> float | None:
    found = _TEMPO.search(given.text)
    if not found:
        return None
    given.did(found.group())
    return min(_FASTEST, max(_SLOWEST, float(found.group(1) or found.group(2))))


def _meter(given: Prompt) -> int | None:
    found = _METER.search(given.text)
    if not found:
        return None
    given.did(found.group())
    return int(found.group(1))


def _key(prompt: str, given: Prompt) -> tuple[int | None, str | None]:
    """The tonic and mode of "in A minor", "F# major", "key of Bb". A letter without "in" or "key" must be a capital."""
    found = _KEY.search(prompt)
    if not found:
        return None, None
    given.did(found.group().lower())
    letter = (found.group(1) or found.group(4))[-1].lower()
    accidental = (found.group(2) or found.group(5) or "").strip(" -").lower()
    shift = 1 if accidental in {"#", "♯", "sharp"} else -1 if accidental else 0
    mode = (found.group(3) or "").lower()[:3]
    return (_LETTERS[letter] + shift) % 12, {"maj": "major", "min": "minor"}.get(mode)

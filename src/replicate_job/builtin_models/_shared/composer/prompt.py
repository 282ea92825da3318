"""Prompt to request: which of the things that this composer knows are asked for."""

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
    "epic": r"epic|cinematic|trailer|soundtrack|film score",
    "ambient": r"ambient|meditation|meditative|new age|soundscape|atmospheric",
    "folk": r"folk|celtic|campfire",
    "classical": r"classical|sonata|nocturne|minuet|etude|prelude",
    "pop": r"pop|commercial|corporate|jingle",
}
"""Kinds of music, the most telling first."""

MOODS: dict[str, str] = {
    "sad": r"sad|sadness|melancholy|melancholic|sorrow|sorrowful|mournful|lonely|heartbreak|nostalgic|wistful|tearful"
    r"|bittersweet|rainy",
    "dark": r"dark|ominous|eerie|scary|horror|haunting|haunted|sinister|gloomy|evil|creepy|gothic|brooding|moody",
    "tense": r"tense|tension|suspense|suspenseful|dramatic|intense|thrilling|urgent|aggressive|angry",
    "mysterious": r"mysterious|mystery|mystical|magical|enchanted|fantasy|exotic",
    "happy": r"happy|happiness|cheerful|joyful|joyous|uplifting|bright|sunny|fun|positive|optimistic|feel-?good|summer",
    "playful": r"playful|quirky|whimsical|cute|bouncy|silly|comic|comedy|childlike",
    "triumphant": r"triumphant|victorious|victory|inspiring|inspirational|motivational|hopeful|majestic|proud",
    "romantic": r"romantic|love|loving|tender|warm|sweet|sentimental|emotional|beautiful",
    "dreamy": r"dreamy|dream|floating|hazy|celestial|surreal",
    "calm": r"calm|calming|peaceful|relaxing|relaxed|relax|serene|soothing|gentle|soft|quiet|tranquil|mellow|chill"
    r"|chilled|slow-?moving|cozy|cosy",
    "energetic": r"energetic|energy|powerful|driving|exciting|upbeat|lively|vibrant|party|hype|pumping",
}

INSTRUMENTS: dict[str, str] = {
    "piano": r"(?<!electric )piano|grand piano",
    "guitar": r"(?<!electric )(?<!distorted )guitar|acoustic(?! piano)(?! bass)|fingerpicking|fingerpicked",
    "strings": r"strings|string section|string quartet",
    "flute": r"flute",
    "bells": r"bell|chime|glockenspiel|vibraphone",
    "pad": r"pad|synth pad",
    "bass": r"bass(?! drum)|upright bass|double bass|bass guitar",
}

PACES: dict[str, tuple[str, float]] = {
    "largo": (r"largo|lento|grave", 50),
    "adagio": (r"adagio", 68),
    "andante": (r"andante", 88),
    "moderato": (r"moderato", 108),
    "allegro": (r"allegro|vivace", 138),
    "presto": (r"presto|prestissimo", 176),
    "slow": (r"very slow|slow|slowly|down-?tempo|sluggish|unhurried|ballad", 0.0),
    "medium": (r"mid-?tempo|medium tempo|moderate", 0.5),
    "fast": (r"fast|fast-?paced|up-?tempo|upbeat|quick|rapid|high-?speed|brisk|lively", 1.0),
}
"""Words for a tempo: beats per minute, or (up to 1) a place between the slowest and fastest that a genre allows."""

MODES = {
    "major": r"major|maj|ionian",
    "minor": r"minor|min|aeolian",
    "dorian": r"dorian",
    "lydian": r"lydian",
    "mixolydian": r"mixolydian",
    "phrygian": r"phrygian",
}

SMALL = frozenset(
    re.findall(
        r"\w+",
        """
        a an the of in on at with and or by to from over under for as is are it its very some this that into through
        music song track tune piece melody composition instrumental loop background sound sounds audio style style's
        bpm tempo key time signature beats per minute featuring feat using like vibe vibes feel feeling mood light
        recording high quality professional hq studio solo no without not only just minute second seconds
        """,
    )
)
"""Words that ask for nothing in particular: not understood, but nothing is missed either."""

_LETTERS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_SLOWEST, _FASTEST = 30.0, 240.0
_TEMPO = re.compile(
    r"\b(\d{2,3}(?:\.\d+)?)\s*-?\s*(?:bpm|beats per minute)\b|\b(?:bpm|tempo)\s*(?:of|:|=|at)?\s*(\d{2,3}(?:\.\d+)?)\b"
)
_MODE_NAMES = "|".join(MODES.values())
_KEY = re.compile(
    rf"\b((?i:in|key of|key:)\s+[a-gA-G]|[A-G])(#|♯|b\b|♭|[- ](?i:sharp|flat))?[- ]?(?i:({_MODE_NAMES}))\b(?!\s+key)"
    r"|\b(?i:key of|key:)\s*([a-gA-G])(#|♯|b\b|♭|[- ](?i:sharp|flat))?(?![a-zA-Z])"
)
_UNWANTED = re.compile(r"\b(?:no|without|not) (?:any )?[\w-]+(?: (?:or|and) [\w-]+)?")
_METER = re.compile(r"\b([346])/([48])\b|\b(?:triple meter|three-four)\b")


@dataclass(frozen=True)
class Request:
    """What is asked for; None and empty leave it to the composer.

    ``tempo`` is in beats per minute, ``pace`` a number as in PACES, ``tonic`` a pitch class (C is 0). ``instruments``
    and ``without`` have the words that named each. ``given`` counts what is done for certain; ``key`` is a number made
    from the whole prompt.
    """

    given: Prompt
    tempo: float | None = None
    pace: float | None = None
    meter: int | None = None
    tonic: int | None = None
    mode: str | None = None
    genre: str | None = None
    moods: tuple[str, ...] = ()
    instruments: Mapping[str, str] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)
    solo: bool = False
    key: int = 0

    def played(self, players: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The words that a piece for these players does, and those that it does not."""
        for name, said in self.instruments.items():
            if name in players:
                self.given.did(said)
        for name, said in self.without.items():
            if name not in players:
                self.given.did(said)
        return self.given.done, self.given.missed(SMALL)


def read(prompt: str) -> Request:
    """Read a prompt. What stands after "no" or "without" is left out."""
    given = Prompt(prompt)
    text = given.text
    tempo, (tonic, mode), meter = _tempo(given), _key(prompt, given), _meter(given)
    without = given.find(INSTRUMENTS, " ".join(_UNWANTED.findall(text)))
    wanted = _TEMPO.sub(" ", _UNWANTED.sub(" ", text))
    pace = None if tempo else _first(given, {name: pattern for name, (pattern, _) in PACES.items()}, wanted)
    moods = given.find(MOODS, wanted)
    for said in moods.values():
        given.did(said)
    instruments = given.find(INSTRUMENTS, wanted)
    return Request(
        given=given,
        tempo=tempo,
        pace=PACES[pace][1] if pace else None,
        meter=meter,
        tonic=tonic,
        mode=mode or _first(given, MODES, text),
        genre=_first(given, GENRES, wanted),
        moods=tuple(moods),
        instruments={name: said for name, said in instruments.items() if name not in without},
        without=without,
        solo=bool(re.search(r"\b(?:solo|only|unaccompanied)\b", text)),
        key=zlib.crc32(text.encode()),
    )


def _first(given: Prompt, table: Mapping[str, str], part: str) -> str | None:
    """The first name of a table that is found, which alone is done."""
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
    return 4 if found.group(1) == "4" else 3


def _key(prompt: str, given: Prompt) -> tuple[int | None, str | None]:
    """The tonic and mode of "in A minor", "F# major", "key of Bb"; the letter alone must be a capital."""
    found = _KEY.search(prompt)
    if not found:
        return None, None
    given.did(found.group().lower())
    letter = (found.group(1) or found.group(4))[-1].lower()
    accidental = (found.group(2) or found.group(5) or "").strip(" -").lower()
    shift = 1 if accidental in {"#", "♯", "sharp"} else -1 if accidental else 0
    named = (found.group(3) or "").lower()
    mode = next((name for name, pattern in MODES.items() if named and re.fullmatch(pattern, named)), None)
    return (_LETTERS[letter] + shift) % 12, mode

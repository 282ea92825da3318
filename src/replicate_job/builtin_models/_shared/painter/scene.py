"""Converts a prompt to a scene, if this painter can paint the prompt."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from vocabulary import Prompt

HOURS: dict[str, str] = {
    "sunset": r"sunset|sundown|evening|setting sun|golden hour",
    "sunrise": r"sunrise|dawn|daybreak|rising sun",
    "dusk": r"dusk|twilight|blue hour|nightfall",
    "night": r"night|midnight|nighttime",
    "day": r"day|daylight|daytime|morning|noon|midday|afternoon|blue sky",
}

WORDS: dict[str, str] = HOURS | {
    "mountains": r"mountain range|mountain|mountainous|peak|alp|alpine|summit",
    "sea": r"sea|ocean|seascape",
    "hills": r"rolling hill|hill|meadow|grassland|prairie|field",
    "forest": r"forest|pine forest|wood|woodland|taiga",
    "autumn": r"(?:autumn|fall) (?:leaf|leaves|foliage|colou?r)|autumn|autumnal",
    "trees": r"tree|pine|spruce|fir|conifer",
    "city": r"city|cities|city skyline|skyline|cityscape|downtown|metropolis|skyscraper|building",
    "rain": r"rain|rainy|raining|drizzle|downpour",
    "snow": r"snow|snowy|winter|wintry|snow-capped|snow-covered",
    "fog": r"fog|foggy|mist|misty|haze|hazy",
    "cloudy": r"cloud|cloudy|overcast",
    "clear": r"clear sky|clear skies|clear|cloudless",
    "lake": r"lake|pond|tarn",
    "water": r"reflection|reflecting|reflected|mirrored|water",
    "waves": r"wave",
    "valley": r"valley",
    "moon": r"full moon|moon|moonlit|moonlight",
    "stars": r"star|starry|starlit",
    "sun": r"sun|sunlight|sunny|sunshine",
    "grass": r"grass|grassy|green",
    "windows": r"window",
    "lights": r"lit window|city light|lights",
    "calm": r"calm|serene|tranquil|peaceful|quiet",
    "grey": r"black and white|monochrome|black-and-white|grayscale|greyscale",
}
"""Maps the things and looks that can be painted to patterns of the words that name them in a prompt."""

_ANYWHERE = frozenset(HOURS) | {"rain", "fog", "cloudy", "clear", "grey"}
_OPEN = _ANYWHERE | {"moon", "stars"}
GROUNDS: dict[str, frozenset[str]] = {
    "hills": _OPEN | {"sun", "hills", "grass", "snow"},
    "mountains": _OPEN | {"sun", "mountains", "trees", "lake", "water", "calm", "valley", "snow"},
    "sea": _OPEN | {"sun", "sea", "water", "waves"},
    "forest": _OPEN | {"forest", "trees", "autumn", "snow"},
    "city": _ANYWHERE | {"city", "water", "windows", "lights"},
}
"""Maps the places that can be painted to the things that can be seen there. If several places fit equally, the first is
used."""

_OPTIONAL = _OPEN - {"cloudy"}
"""Things that are painted only if the prompt asks for them. Other things may be in a place without being named."""
_ELSEWHERE = re.compile(
    r"\b(?:(?:above|over|beyond) (?:the )?clouds?|on (?:the )?moon|under(?:neath)? (?:the )?(?:sea|ocean|waves)"
    r"|(?:sea|ocean|lake|mountain|city|field)s? of|green (?:sky|skies|light|sun|moon))\b"
)
"""Phrases that cannot be painted, although their words can: unusual positions ("above the clouds"), "a sea of fog"."""

_VEILS = {"rain", "fog"}
_LIGHT = {"day", "sunrise", "sunset", "dusk"}
CLASHES: dict[str, set[str]] = {
    "stars": _LIGHT | _VEILS | {"cloudy"},
    "moon": _LIGHT | _VEILS | {"cloudy"},
    "sun": {"night", "dusk", "cloudy"} | _VEILS,
    "cloudy": _VEILS,
    "clear": _VEILS | {"cloudy"},
    "grass": {"snow", "rain", "grey"} | set(HOURS) - {"day"},
    "autumn": {"snow", "grey", "night", "dusk"},
    "lights": {"day", "sunrise"},
    "calm": {"rain"},
}
"""Maps a thing to the others with which it is not painted, because it would not be visible or recognizable."""

SMALL = frozenset(re.findall(r"\w+", """
    a an the of in on at with and or by to from over under near into for as is are it its some this that
    through above below behind across between along around up down during
    picture image painting landscape scenery view scene wallpaper horizon sky light nature
    """))  # fmt: skip
"""Words that name nothing to paint, or a thing that every picture has. The log does not list them as missed."""

MANNERS = frozenset(re.findall(r"\w+", """
    photo photograph photography photorealistic realistic style oil watercolor watercolour acrylic gouache sketch
    drawing illustration digital art artwork concept render rendered impressionist impressionism minimalist
    minimalism vintage retro pixel raw hdr uhd trending artstation
    cinematic wide shot aerial panorama panoramic closeup telephoto bokeh film grain lens long exposure depth
    moody atmospheric dreamy ethereal magical soft warm cold cool dark bright vivid vibrant colorful colourful
    saturated golden lush beautiful serene calm peaceful tranquil quiet gentle dramatic epic stunning majestic
    breathtaking scenic award winning masterpiece high low quality ultra hyper resolution highly detailed intricate
    sharp focus best very extremely slightly heavy thick dense thin deep strong big large huge vast small little
    tall steep rugged distant distance foreground background
    """))  # fmt: skip
"""Words about the manner and not the things: style, camera, mood, quality, degree. A picture may leave out only these
words and numerals (``view 7``, ``35mm``); the log lists them as missed. If any other word cannot be painted, the
picture is a card."""


@dataclass(frozen=True)
class Scene:
    """A place and the things that can be seen there. ``key`` is a number made from the whole prompt."""

    ground: str
    hour: str
    shows: frozenset[str]
    key: int


@dataclass(frozen=True)
class Request:
    """The things that a prompt asks for. ``scene`` is None if one of its words cannot be painted.

    ``painted`` are the words that the scene shows, ``missed`` the words that it does not show. Without a scene,
    ``missed`` are the words that cannot be painted. ``key`` is a number made from the whole prompt.
    """

    text: str
    scene: Scene | None
    painted: tuple[str, ...]
    missed: tuple[str, ...]
    key: int


def read(prompt: str, negative: str = "") -> Request:
    """Read a prompt. Things in ``negative`` are left out. If nothing remains to be painted, there is no scene."""
    given = Prompt(prompt)
    banned, named = Prompt(negative).find(WORDS), given.find(WORDS)
    found = {name: said for name, said in named.items() if name not in banned}
    unwanted = re.findall(r"[\w-]+", " ".join(said for name, said in named.items() if name in banned))
    key = zlib.crc32(given.text.encode())
    how = SMALL.union(MANNERS, unwanted, re.findall(r"\b\d+(?:k|mm)?\b", given.text))
    if not found.keys() - {"grey", "calm"}:
        return Request(prompt, None, (), given.missed(how), key)
    if elsewhere := _ELSEWHERE.search(given.text):
        return Request(prompt, None, (), (elsewhere[0],), key)
    places = found.keys() | ({"forest"} if "trees" in found else set())  # trees alone are a forest
    ground = max(GROUNDS, key=lambda name: (len(GROUNDS[name] & found.keys()), name in places))
    if kept := sorted(banned.keys() & GROUNDS[ground] - _OPTIONAL):
        return Request(prompt, None, (), tuple(f"a place without {banned[name]}" for name in kept), key)
    hour = next((name for name in HOURS if name in found), None) or _hour(found, key)
    seen = {name for name in found if name in GROUNDS[ground] and (name not in HOURS or name == hour)}
    seen -= {name for name in seen if CLASHES.get(name, set()) & (seen | {hour})}
    for name in seen:
        given.did(found[name])
    if unpainted := given.missed(how):
        return Request(prompt, None, (), unpainted, key)
    scene = Scene(ground, hour, frozenset(seen), key)
    return Request(prompt, scene, given.done, given.missed(SMALL.union(unwanted)), key)


def is_known(word: str) -> bool:
    """Whether the word is painted in places where it fits."""
    return " " not in word and bool(Prompt(word).find(WORDS))


def _hour(found: dict[str, str], key: int) -> str:
    """Choose the hour that a prompt leaves open."""
    if {"stars", "moon", "windows", "lights"} & found.keys():
        return "night"
    if "grass" in found:  # green can only be seen by day
        return "day"
    return ("day", "sunrise", "sunset")[key // 5 % 3]

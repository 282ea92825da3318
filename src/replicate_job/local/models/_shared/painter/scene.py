"""Prompt to scene: which of the things that this painter knows are asked for."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from vocabulary import Prompt

GROUNDS: dict[str, str] = {
    "street": r"street|alley|avenue|road|crossing|downtown|shibuya|times square",
    "city": r"city|cities|cityscape|skyline|town|metropolis|skyscraper|building|tower block|urban|tokyo"
    r"|manhattan|new york"
    r"|hong kong|shanghai|london|paris|chicago|singapore",
    "dunes": r"desert|dune|sahara|sand dune|arrakis",
    "mountains": r"mountain|mountainous|peak|alp|alpine|himalaya|summit|range|fjord|volcano|glacier|cliff"
    r"|canyon|everest|patagonia",
    "sea": r"sea|ocean|beach|wave|coast|coastal|seaside|seascape|shore|island|tropical|surf|harbor|harbour"
    r"|lighthouse|sail\w*|maldives",
    "forest": r"forest|wood|woodland|jungle|tree|pine|spruce|fir|redwood|birch|taiga|grove",
    "hills": r"hill|field|meadow|countryside|grassland|prairie|valley|farm|pasture|tuscany|vineyard|plain"
    r"|steppe|savanna|lavender"
    r"|garden|park|flower|wildflower|moor|village|cottage|landscape",
}
"""Grounds a picture can stand on, the most telling first."""

HOURS: dict[str, str] = {
    "sunset": r"sunset|sundown|evening|setting sun|afterglow|alpenglow",
    "sunrise": r"sunrise|dawn|daybreak|early morning|rising sun|first light",
    "golden": r"golden hour|golden light|late afternoon|warm light|golden",
    "dusk": r"dusk|twilight|blue hour|nightfall|gloaming",
    "night": r"night|midnight|nighttime|nocturnal|moonlit|moonlight|starlit|starry|aurora|northern lights"
    r"|milky way|dark",
    "morning": r"morning",
    "day": r"day|daylight|noon|midday|afternoon|sunny|bright|summer|blue sky",
}

SKIES: dict[str, str] = {
    "rain": r"rain|rainy|raining|drizzle|downpour|wet",
    "snow": r"snow|snowy|snowing|snowfall|blizzard|winter|frozen|ice|icy|snow-capped",
    "fog": r"fog|foggy|mist|misty|haze|hazy|smoke|smoky",
    "storm": r"storm|stormy|thunder|thunderstorm|lightning|tempest|dramatic|ominous",
    "cloudy": r"cloud|clouds|cloudy|overcast",
    "clear": r"clear|cloudless",
}

SIGHTS: dict[str, str] = {
    "lake": r"lake|pond|reflection|reflecting|reflected|mirror|lagoon|tarn|loch",
    "river": r"river|stream|creek|canal|waterfront|bay",
    "moon": r"moon|moonlit|moonlight",
    "stars": r"star|starry|starlit|milky way|galaxy|constellation|cosmos|cosmic|space|universe|nebula",
    "aurora": r"aurora|northern lights|borealis",
    "sun": r"sun|sunlight|sunny|sunbeam|sun ray|god ray|sunshine",
    "boat": r"boat|sailboat|ship|sail|canoe|sailing|yacht",
    "birds": r"bird|seagull|gull|flock|geese|goose|swallow|crow|raven|eagle",
    "house": r"house|cabin|cottage|hut|barn|farmhouse|chalet|home|village",
    "castle": r"castle|fortress|palace|ruin|citadel",
    "lighthouse": r"lighthouse",
    "person": r"person|man|woman|girl|boy|traveler|traveller|hiker|figure|silhouette|people|wanderer|couple",
    "flowers": r"flower|wildflower|lavender|poppy|poppies|tulip|blossom|bloom|daisy|daisies|sunflower|rose",
    "pines": r"pine|spruce|fir|conifer|forest|woods|tree|taiga|redwood",
    "palms": r"palm|tropical|beach|maldives|island|coconut|paradise",
    "autumn": r"autumn|autumnal|fall|october|maple",
    "spring": r"spring|cherry|sakura|blossom",
    "neon": r"neon|cyberpunk|synthwave|vaporwave|blade runner|futuristic|sci-fi|science fiction|hologram|outrun",
    "cars": r"car|traffic|taxi|vehicle",
}

TINTS: dict[str, str] = {
    "#d8323c": r"red|crimson|scarlet|ruby",
    "#f07828": r"orange|amber|copper",
    "#e8c030": r"yellow",
    "#3c9c50": r"green|emerald|verdant",
    "#20a8a8": r"teal|turquoise|cyan|aqua",
    "#3460d0": r"blue|azure|cobalt|sapphire|navy",
    "#7840c8": r"purple|violet|lavender|indigo",
    "#e85a98": r"pink|magenta|rose|fuchsia",
    "#b89468": r"sepia|vintage|brown",
}

MOODS: dict[str, str] = {
    "calm": r"serene|calm|peaceful|tranquil|quiet|still|gentle|soft|dreamy|ethereal|idyllic",
    "vivid": r"vivid|vibrant|colou?rful|saturated|epic|dramatic|stunning|magical|fantasy|psychedelic",
    "dark": r"dark|gloomy|moody|ominous|eerie|haunted|noir|melancholic|brooding|gothic",
    "grey": r"black and white|monochrome|black-and-white|grayscale|greyscale",
}

SMALL = frozenset(
    re.findall(
        r"\w+",
        """
        a an the of in on at with and or by to from over under near into for as is are it its very some this that
        through above below beautiful photo picture image painting photograph realistic highly detailed 8k 4k hd
        cinematic style view scene wide shot light lights water sky nature award winning masterpiece render high
        quality ultra behind across between along around up down
        """,
    )
)
"""Words that ask for nothing in particular: not understood, but nothing is missed either."""


@dataclass(frozen=True)
class Scene:
    """What to paint. ``words`` were understood, ``missed`` were not; ``key`` is a number made from the whole prompt."""

    ground: str
    hour: str
    skies: frozenset[str]
    sights: frozenset[str]
    moods: frozenset[str]
    tint: str | None
    words: tuple[str, ...]
    missed: tuple[str, ...]
    key: int


def read(prompt: str, negative: str = "") -> Scene:
    """Read a prompt. What ``negative`` names is left out, where something else remains to be painted."""
    given, unwanted = Prompt(prompt), Prompt(negative)

    def pick(table: dict[str, str]) -> list[str]:
        banned = unwanted.names(table)
        return [name for name in given.names(table) if name not in banned]

    grounds, hours, sights, skies, moods, tints = (pick(t) for t in (GROUNDS, HOURS, SIGHTS, SKIES, MOODS, TINTS))
    key = zlib.crc32(given.text.encode())
    return Scene(
        ground=_ground(grounds, sights, key),
        hour=hours[0] if hours else _hour(sights, key),
        skies=frozenset(skies),
        sights=frozenset(sights),
        moods=frozenset(moods),
        tint=tints[0] if tints else None,
        words=given.understood,
        missed=given.missed(SMALL),
        key=key,
    )


def _ground(  # noqa: PLR0911 - a list of rules, the first that fits
    grounds: list[str], sights: list[str], key: int
) -> str:
    """Choose the one ground: a street needs a city's night or neon; water or nothing at all still needs a place."""
    if "street" in grounds and not {"mountains", "hills", "forest", "dunes", "sea"} & set(grounds):
        return "street"
    if "city" in grounds and "neon" in sights:
        return "street"
    chosen = [ground for ground in grounds if ground != "street"]
    if "mountains" in chosen and "sea" in chosen and "city" not in chosen:
        return "mountains"
    if chosen:
        return chosen[0]
    if "neon" in sights:
        return "street"
    if {"lake", "aurora", "castle"} & set(sights):
        return "mountains"
    if {"boat", "palms"} & set(sights):
        return "sea"
    return ("mountains", "hills", "sea", "dunes", "forest")[key % 5]


def _hour(sights: list[str], key: int) -> str:
    if {"stars", "aurora", "moon", "neon"} & set(sights):
        return "night"
    return ("day", "golden", "morning", "sunset", "day")[key // 5 % 5]

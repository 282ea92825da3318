"""Prompt to request: which of the things that this composer knows are asked for."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from vocabulary import Prompt

GENRES: dict[str, str] = {
    "lullaby": r"lullaby|lullabies|nursery|music box",
    "waltz": r"waltz|waltzes",
    "bossa": r"bossa|bossa nova|bossanova|samba|latin|rumba",
    "lofi": r"lo-?fi|lo fi|chillhop|chill hop|study|chill beats?",
    "synthwave": r"synthwave|synth wave|retrowave|vaporwave|outrun|80s|eighties|cyberpunk|new wave|synth-?pop",
    "drum and bass": r"drum and bass|drum & bass|drum n bass|dnb|jungle|breakbeat",
    "techno": r"techno|industrial|acid",
    "house": r"house|edm|dance|club|electro|electronic|electronica|trance|rave|dubstep|garage|dj|festival",
    "hip hop": r"hip-?hop|hip hop|trap|rap|boom bap|r&b|rnb|phonk|beat",
    "chiptune": r"chiptune|8-?bit|8 bit|16-?bit|video ?game|retro game|arcade|game boy|nintendo",
    "epic": r"epic|cinematic|orchestral|orchestra|trailer|soundtrack|film score|movie|heroic|battle|symphony|symphonic",
    "ambient": r"ambient|drone|meditation|meditative|new age|spa|yoga|sleep|soundscape|atmospheric|space|ethereal",
    "blues": r"blues|bluesy|shuffle|boogie",
    "jazz": r"jazz|jazzy|swing|bebop|big band|lounge|smooth jazz",
    "reggae": r"reggae|dub|ska|dancehall",
    "funk": r"funk|funky|disco|soul|groove|groovy|motown",
    "metal": r"metal|hard rock|heavy|punk|grunge",
    "country": r"country|bluegrass|western|americana|banjo",
    "folk": r"folk|celtic|irish|medieval|campfire|singer-songwriter",
    "rock": r"rock|indie|alternative|britpop",
    "classical": r"classical|baroque|romantic era|sonata|nocturne|minuet|chamber|mozart|bach|chopin|etude|prelude",
    "pop": r"pop|radio|commercial|corporate|jingle|advert|ballad",
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
    "electric piano": r"electric piano|e-?piano|rhodes|wurlitzer|keys",
    "piano": r"(?<!electric )piano|pianist|grand piano|keyboard",
    "electric guitar": r"electric guitar|distorted guitar|guitar riff|power chord|guitar solo",
    "guitar": r"(?<!electric )(?<!distorted )guitar|acoustic(?! piano)(?! bass)|ukulele|banjo|mandolin|nylon"
    r"|fingerpicking|fingerpicked|lute",
    "harp": r"harp|lyre|koto|zither|kalimba|sitar|harpsichord|clavichord",
    "violin": r"violin|fiddle|viola",
    "cello": r"cello|celli|contrabass",
    "strings": r"strings|string section|string quartet",
    "flute": r"flute|piccolo|whistle|recorder|pan ?pipe|ocarina|shakuhachi",
    "reed": r"saxophone|sax|clarinet|oboe|bassoon|accordion|harmonica|bandoneon",
    "brass": r"brass|trumpet|trombone|horn|french horn|tuba",
    "music box": r"music box|celesta",
    "bells": r"bell|chime|glockenspiel|vibraphone|tubular",
    "marimba": r"marimba|xylophone|steel drum|steelpan|balafon",
    "organ": r"organ|hammond",
    "choir": r"choir|choral|chorus|angelic|voices",
    "pad": r"pad|synth pad|atmosphere|texture",
    "square lead": r"square wave|chip lead|pulse wave",
    "synth": r"synth|synthesizer|synthesiser|lead synth|arpeggiator|arp|moog",
    "synth bass": r"synth bass|808|sub bass|bassline|reese",
    "bass": r"(?<!synth )(?<!sub )(?<!and )(?<!& )bass(?! drum)|upright bass|double bass|bass guitar",
    "drums": r"drum|drums|percussion|beat|kick|snare|hi-?hat|cymbal|bongo|conga|taiko|timpani",
}

AMBIENCES: dict[str, str] = {
    "rain": r"rain|rainy|raining|rainfall|drizzle|thunderstorm|storm",
    "waves": r"waves|ocean|sea|beach|shore|seaside",
    "wind": r"wind|windy|breeze|breezy",
    "birds": r"bird|birdsong|forest",
    "fire": r"fire|fireplace|campfire|bonfire",
    "vinyl": r"vinyl|crackle|record player|turntable|dusty",
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

    ``tempo`` is in beats per minute, ``pace`` a number as in PACES, ``tonic`` a pitch class (C is 0). ``words`` were
    understood, ``missed`` were not; ``key`` is a number made from the whole prompt.
    """

    tempo: float | None = None
    pace: float | None = None
    meter: int | None = None
    tonic: int | None = None
    mode: str | None = None
    genre: str | None = None
    moods: tuple[str, ...] = ()
    instruments: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()
    solo: bool = False
    ambiences: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    key: int = 0


def read(prompt: str) -> Request:
    """Read a prompt. What stands after "no" or "without" is left out."""
    given = Prompt(prompt)
    text = given.text
    tempo, (tonic, mode), meter = _tempo(given), _key(prompt, given), _meter(given)
    without = frozenset(_found(given, INSTRUMENTS, " ".join(_UNWANTED.findall(text))))
    wanted = _TEMPO.sub(" ", _UNWANTED.sub(" ", text))
    paces = _found(given, {name: pattern for name, (pattern, _) in PACES.items()}, wanted)
    genres, moods, instruments, ambiences = (
        _found(given, table, wanted) for table in (GENRES, MOODS, INSTRUMENTS, AMBIENCES)
    )
    modes = _found(given, MODES)
    return Request(
        tempo=tempo,
        pace=PACES[paces[0]][1] if paces else None,
        meter=meter,
        tonic=tonic,
        mode=mode or (modes[0] if modes else None),
        genre=genres[0] if genres else None,
        moods=tuple(moods),
        instruments=tuple(name for name in instruments if name not in without),
        without=without,
        solo=bool(re.search(r"\b(?:solo|only|unaccompanied)\b", text)),
        ambiences=tuple(ambiences),
        words=given.done,
        missed=given.missed(SMALL),
        key=zlib.crc32(text.encode()),
    )


def _found(given: Prompt, table: dict[str, str], part: str | None = None) -> list[str]:
    found = given.find(table, part)
    for said in found.values():
        given.did(said)
    return list(found)


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

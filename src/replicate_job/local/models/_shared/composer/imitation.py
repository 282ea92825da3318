"""Music after a recording: going on where it ends, or playing its tune anew."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from log import say

from composer.harmony import NAMES
from composer.listen import Heard, joined, last_beat, listen
from composer.noise import RATE, Array, samples
from composer.studio import perform

if TYPE_CHECKING:
    from composer.prompt import Request


def clipped(sound: Array, start: int, end: int | None) -> Array:
    """The part of a recording from ``start`` to ``end`` seconds. Raises ValueError where nothing is left."""
    seconds = sound.shape[1] / RATE
    if start >= seconds:
        raise ValueError(f"continuation_start is {start} s, and input_audio ends after {seconds:.1f} s")
    last = seconds if end is None or end == -1 else end
    if start > last:
        raise ValueError("`continuation_start` must be less than or equal to `continuation_end`")
    if start == last:
        raise ValueError(f"no sound is left of input_audio between {start} and {last} s")
    return sound[:, samples(start) : samples(last)]


def go_on(request: Request, sound: Array, seconds: int, seed: int) -> Array:
    """Keep a recording and play on from its last beat, in its tempo and key, ``seconds`` in all."""
    given = sound.shape[1] / RATE
    if given >= seconds:
        raise ValueError(f"duration counts input_audio too, which has {given:.1f} s: ask for more than {seconds} s")
    heard = listen(sound)
    say(f"Heard: {_words(heard)}. It goes on from there")
    turn = last_beat(heard, given)
    rest = perform(_like(request, heard), seconds - samples(turn) / RATE, seed)
    return joined(sound, rest, turn)


def play_anew(request: Request, sound: Array, seconds: int, seed: int) -> Array:
    """Play the tune of a recording, as far as it is heard, with other instruments."""
    heard = listen(sound)
    say(f"Heard: {_words(heard)}, and a tune of {len(heard.tune)} notes, roughly")
    return perform(_like(request, heard, ours=False), seconds, seed, heard.tune)


def _like(request: Request, heard: Heard, *, ours: bool = True) -> Request:
    """The request in the tempo and key of a recording; what the prompt says itself stays where it is ``ours``."""
    return replace(
        request,
        tempo=request.tempo or heard.tempo,
        tonic=request.tonic if ours and request.tonic is not None else heard.tonic,
        mode=(request.mode if ours else None) or heard.mode,
    )


def _words(heard: Heard) -> str:
    return f"about {heard.tempo:.0f} BPM, {NAMES[heard.tonic]} {heard.mode}"

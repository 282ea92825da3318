"""Whisper transcribes recordings in every format, and its output has the real model's form."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.local.catalog.catalog import BUILT_IN
from replicate_job.local.catalog.model import read_model
from replicate_job.local.environment.venv import ensure_venv

if TYPE_CHECKING:
    from collections.abc import Callable

from speech.subtitles import srt, vtt

NAME = "openai/whisper"
FOLDER = BUILT_IN / NAME
SPOKEN = "good morning the small models on this computer can speak listen and write without any network"
MISHEARD = 0.2
"""A word error rate above this means that the file was read wrongly. Recognition alone makes fewer errors."""
SEGMENTS = [
    {"start": 0.0, "end": 2.5, "text": " Good --> morning."},
    {"start": 3599.9996, "end": 3661.02, "text": " Bye."},
]
CONVERT = """
import sys
import av

source, *targets = sys.argv[1:]
for target, codec in zip(targets[::2], targets[1::2]):
    with av.open(source) as given, av.open(target, "w") as made:
        track = made.add_stream(codec, rate=16000, layout="mono")
        resampler = av.AudioResampler(format=track.codec_context.format, layout="mono", rate=16000)
        for frame in [*given.decode(audio=0), None]:
            for part in resampler.resample(frame):
                part.pts = None
                made.mux(track.encode(part))
        made.mux(track.encode(None))
"""
"""Runs in the model's own environment, because its PyAV has FFmpeg's encoders."""


def test_subtitles_have_the_format_of_the_real_model() -> None:
    assert srt(SEGMENTS) == (
        "1\n00:00:00,000 --> 00:00:02,500\nGood -> morning.\n\n2\n01:00:00,000 --> 01:01:01,020\nBye.\n\n"
    )
    assert vtt(SEGMENTS) == ("00:00.000 --> 00:02.500\nGood -> morning.\n\n01:00:00.000 --> 01:01:01.020\nBye.\n\n")


def test_the_inputs_are_those_of_the_real_model_in_their_order(inputs: Callable[[str], list[str]]) -> None:
    assert inputs(NAME) == [
        "audio", "transcription", "translate", "language", "temperature", "patience", "suppress_tokens",
        "initial_prompt", "condition_on_previous_text", "temperature_increment_on_fallback",
        "compression_ratio_threshold", "logprob_threshold", "no_speech_threshold",
    ]  # fmt: skip


def example() -> str:
    """The recording in the model's example, as a data URL."""
    return str(msgspec.json.decode((FOLDER / "example.json").read_bytes())["input"]["audio"])


def data_url(content: bytes, kind: str = "audio/x") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def misheard(text: str) -> float:
    """The word error rate, without case and punctuation: wrong, missing and extra words, divided by spoken words.

    It may be above 0, because codecs and processors differ: "the small models" was also heard as "this small models".
    """
    said = SPOKEN.split()
    heard = "".join(letter for letter in text.lower() if letter.isalpha() or letter == " ").split()
    costs = list(range(len(heard) + 1))
    for row, word in enumerate(said, 1):
        before, costs[0] = costs[0], row
        for column, other in enumerate(heard, 1):
            change = before + (word != other)
            before, costs[column] = costs[column], min(change, costs[column] + 1, costs[column - 1] + 1)
    return costs[-1] / len(said)


def test_the_word_error_rate_counts_wrong_missing_and_extra_words() -> None:
    assert misheard(f" {SPOKEN.capitalize()}.") == 0
    assert misheard(SPOKEN.replace("the small", "this small")) == 1 / 16
    assert misheard(SPOKEN.replace("good ", "")) == 1 / 16
    assert misheard(SPOKEN + " at all") == 2 / 16
    assert misheard("") == 1


async def recordings(cache: Path, folder: Path) -> dict[str, bytes]:
    """The example, which is in Opus, converted to other common formats."""
    venv = await ensure_venv(read_model(FOLDER), cache / "venvs", lambda _: None)
    source = folder / "said.ogg"
    source.write_bytes(base64.b64decode(example().partition(",")[2]))
    codecs = {"wav": "pcm_s16le", "mp3": "libmp3lame", "flac": "flac", "m4a": "aac"}
    targets = [part for suffix, codec in codecs.items() for part in (str(folder / f"said.{suffix}"), codec)]
    made = await asyncio.create_subprocess_exec(venv / "bin" / "python", "-c", CONVERT, source, *targets)
    assert await made.wait() == 0
    return {suffix: (folder / f"said.{suffix}").read_bytes() for suffix in codecs}


async def test_every_audio_format_gives_the_same_words(
    running: Callable[[str], Any], cache: Path, tmp_path: Path
) -> None:
    files = await recordings(cache, tmp_path)
    async with running(NAME) as model:
        for suffix, content in files.items():
            output = await model.output(audio=data_url(content))
            assert misheard(output["transcription"]) < MISHEARD, suffix


async def test_the_output_has_the_real_models_form_and_ignored_inputs_are_logged(
    running: Callable[[str], Any],
) -> None:
    async with running(NAME) as model:
        ended = await model(audio=example(), language="German", translate=True)
        output = ended["output"]
        assert set(output) == {
            "detected_language", "transcription", "segments", "translation", "txt_file", "srt_file"
        }  # fmt: skip
        assert output["detected_language"] == "english"
        assert output["translation"] == output["transcription"]
        segment, *others = output["segments"]
        assert set(segment) == {
            "id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob", "compression_ratio",
            "no_speech_prob",
        }  # fmt: skip
        assert segment["id"] == 0
        assert 4 < [segment, *others][-1]["end"] < 6
        assert "".join(each["text"] for each in [segment, *others]) == output["transcription"]
        assert ended["metrics"]["audio_duration"] == pytest.approx(5.42, abs=0.05)
        for line in (
            "openai/whisper is a stand-in, not Whisper large-v3: ",
            "Stand-in: without effect here: language German.",
            "Stand-in: nothing is translated",
        ):
            assert line in ended["logs"]
        assert "%|" in ended["logs"]
        given = {"audio": example(), "initial_prompt": "The following was said", "temperature": 0.2, "patience": 2}
        subtitled = await model.output(**given, transcription="srt")
        assert subtitled["transcription"].startswith("1\n00:00:00,000 --> 00:00:0")
        assert subtitled["translation"] is None


async def test_an_unreadable_recording_fails_with_one_line_and_the_next_one_works(
    running: Callable[[str], Any],
) -> None:
    async with running(NAME) as model:
        for given, said in [
            ({"audio": data_url(b"no sound", "text/plain")}, "audio is not a recording that can be read"),
            ({"audio": data_url(b"")}, "audio is not a recording that can be read"),
            ({"suppress_tokens": "1,x"}, "suppress_tokens is not a list of whole numbers with commas: '1,x'"),
            ({"suppress_tokens": "99999"}, "suppress_tokens: 99999 is not a token; they go from 0 to 51863"),
        ]:
            assert await model.failure(**{"audio": example()} | given) == said
        assert misheard((await model.output(audio=example()))["transcription"]) < MISHEARD

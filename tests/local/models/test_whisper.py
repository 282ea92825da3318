"""Whisper hears what is said, in whatever file it comes, and answers in the real model's shape."""

from __future__ import annotations

import sys

from replicate_job.local.catalog.catalog import BUILT_IN

sys.path.insert(0, str(BUILT_IN / "_shared"))

from speech.subtitles import srt, vtt  # type: ignore[import-not-found,unused-ignore] # found by the path above

NAME = "openai/whisper"
FOLDER = BUILT_IN / NAME
SPOKEN = "good morning the small models on this computer can speak listen and write without any network"
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
"""Runs in the model's own environment, whose PyAV brings FFmpeg's encoders."""


def test_subtitles_are_written_as_the_real_model_writes_them() -> None:
    assert srt(SEGMENTS) == (
        "1\n00:00:00,000 --> 00:00:02,500\nGood -> morning.\n\n2\n01:00:00,000 --> 01:01:01,020\nBye.\n\n"
    )
    assert vtt(SEGMENTS) == ("00:00.000 --> 00:02.500\nGood -> morning.\n\n01:00:00.000 --> 01:01:01.020\nBye.\n\n")

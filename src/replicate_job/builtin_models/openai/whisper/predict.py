"""Whisper tiny.en behind Whisper large-v3's inputs (names, order, bounds and texts as published on Replicate)."""

# ruff: noqa: INP001, B008, PLR0917 - a Cog model is a folder, not a package, and its inputs are positional defaults

from typing import Any, Optional

from cog import BaseModel, BasePredictor, Input, Path, current_scope
from log import Progress, left_out, say
from speech.languages import LANGUAGES
from speech.listener import Listener
from speech.subtitles import srt, vtt

UNCHANGING = 1e-6  # a smaller increment of the temperature counts as 0


class Output(BaseModel):
    detected_language: str
    transcription: str
    segments: list[dict[str, Any]]
    translation: Optional[str]  # noqa: UP045 - as the real model's
    txt_file: Optional[Path]  # noqa: UP045 - the same
    srt_file: Optional[Path]  # noqa: UP045 - the same


class Predictor(BasePredictor):
    def setup(self) -> None:
        """Load the model."""
        self.listener = Listener()

    def predict(  # noqa: PLR0913 - the inputs of the real model
        self,
        audio: Path = Input(description="Audio file"),
        transcription: str = Input(
            description="Choose the format for the transcription",
            choices=["plain text", "srt", "vtt"],
            default="plain text",
        ),
        translate: bool = Input(  # noqa: FBT001 - an input of the real model
            description="Translate the text to English when set to True", default=False
        ),
        language: str = Input(
            description="Language spoken in the audio, specify 'auto' for automatic language detection",
            choices=LANGUAGES,
            default="auto",
        ),
        temperature: float = Input(description="temperature to use for sampling", default=0),
        patience: float = Input(
            description="optional patience value to use in beam decoding, as in https://arxiv.org/abs/2204.05424, the "
            "default (1.0) is equivalent to conventional beam search",
            default=None,
        ),
        suppress_tokens: str = Input(
            description="comma-separated list of token ids to suppress during sampling; '-1' will suppress most "
            "special characters except common punctuations",
            default="-1",
        ),
        initial_prompt: str = Input(
            description="optional text to provide as a prompt for the first window.", default=None
        ),
        condition_on_previous_text: bool = Input(  # noqa: FBT001 - an input of the real model
            description="if True, provide the previous output of the model as a prompt for the next window; disabling "
            "may make the text inconsistent across windows, but the model becomes less prone to getting stuck in a "
            "failure loop",
            default=True,
        ),
        temperature_increment_on_fallback: float = Input(
            description="temperature to increase when falling back when the decoding fails to meet either of the "
            "thresholds below",
            default=0.2,
        ),
        compression_ratio_threshold: float = Input(
            description="if the gzip compression ratio is higher than this value, treat the decoding as failed",
            default=2.4,
        ),
        logprob_threshold: float = Input(
            description="if the average log probability is lower than this value, treat the decoding as failed",
            default=-1.0,
        ),
        no_speech_threshold: float = Input(
            description="if the probability of the <|nospeech|> token is higher than this value AND the decoding has "
            "failed due to `logprob_threshold`, consider the segment as silence",
            default=0.6,
        ),
    ) -> Output:
        """Transcribe a recording."""
        if language not in {"auto", "en", "English"}:
            left_out(f"without effect here: language {language}. What is heard is written down as if it were English")
        if translate:
            left_out("nothing is translated here: the translation is the transcription")
        options = {
            "temperature": rising(temperature, temperature_increment_on_fallback),
            "patience": patience or 1,
            "suppress_tokens": self.listener.tokens(suppress_tokens),
            "initial_prompt": initial_prompt,
            "condition_on_previous_text": condition_on_previous_text,
            "compression_ratio_threshold": compression_ratio_threshold,
            "log_prob_threshold": logprob_threshold,
            "no_speech_threshold": no_speech_threshold,
        }
        sound, duration = self.listener.hear(audio)
        say(f"Audio duration: {round(duration)} sec")
        progress, total = Progress(), max(1, round(duration))
        progress.show(0, total)
        segments = []
        for segment in self.listener.segments(sound, options):
            segments.append(segment)
            progress.show(segment["end"], total)
        progress.show(total, total)
        current_scope().record_metric("audio_duration", duration)
        text = "".join(segment["text"] for segment in segments)
        return Output(
            detected_language="english",
            transcription={"srt": srt, "vtt": vtt}.get(transcription, lambda _: text)(segments),
            segments=segments,
            translation=text if translate else None,
            txt_file=None,
            srt_file=None,
        )


def rising(first: float, step: float | None) -> list[float]:
    """Return the temperatures to try in order, from ``first`` up to 1."""
    if not step or step < UNCHANGING:
        return [first]
    return [first + step * number for number in range(max(1, int((1 - first) / step + 1 + UNCHANGING)))]

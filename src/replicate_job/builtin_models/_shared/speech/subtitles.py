"""Segments of speech as subtitles, written as Replicate's Whisper writes them: its VTT has no heading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def srt(segments: Iterable[dict[str, Any]]) -> str:
    """Return numbered blocks with ``HH:MM:SS,mmm``."""
    return "".join(
        f"{number}\n{_clock(cue['start'], ',', hours=True)} --> {_clock(cue['end'], ',', hours=True)}\n{_line(cue)}\n\n"
        for number, cue in enumerate(segments, 1)
    )


def vtt(segments: Iterable[dict[str, Any]]) -> str:
    """Return blocks with ``MM:SS.mmm``, or with ``HH:MM:SS.mmm`` from one hour on."""
    return "".join(f"{_clock(cue['start'], '.')} --> {_clock(cue['end'], '.')}\n{_line(cue)}\n\n" for cue in segments)


def _line(segment: dict[str, Any]) -> str:
    return str(segment["text"]).strip().replace("-->", "->")


def _clock(seconds: float, point: str, *, hours: bool = False) -> str:
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    lead = f"{hour:02d}:" if hours or hour else ""
    return f"{lead}{minute:02d}:{second:02d}{point}{thousandths:03d}"

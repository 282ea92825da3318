"""Types of files, by name and by content."""

from __future__ import annotations

import pytest

from replicate_job.wire.media import extension, media_type, sniff

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 32


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.webp", b"", "image/webp"),
        ("a.PNG", b"", "image/png"),
        ("a.wav", b"", "audio/wav"),
        ("a", PNG, "image/png"),
        ("a.what", PNG, "image/png"),
        ("photo", b"\xff\xd8\xff\xe0", "image/jpeg"),
        ("song", b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        ("clip", b"\0\0\0\x18ftypisom", "video/mp4"),
        ("a", b"", "application/octet-stream"),
        ("archive.tar.gz", b"", "application/gzip"),
    ],
)
def test_the_media_type_comes_from_the_suffix_and_then_from_the_content(name: str, head: bytes, expected: str) -> None:
    assert media_type(name, head) == expected


def test_extensions_are_the_usual_ones() -> None:
    assert extension("image/jpeg") == ".jpg"
    assert extension("IMAGE/PNG; charset=binary") == ".png"
    assert extension("audio/x-wav") == ".wav"
    assert extension("application/octet-stream") is None
    assert extension("what/ever") is None
    assert sniff(b"plain words") is None

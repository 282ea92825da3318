"""Types of files, by name and by content."""

from __future__ import annotations

import pytest

from replicate_job.wire.media import extension, is_given_back, media_type, right_name
from replicate_job.wire.signature import sniff

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 32


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.webp", b"", "image/webp"),
        ("a.PNG", b"", "image/png"),
        ("a.wav", b"", "audio/wav"),
        ("a", PNG, "image/png"),
        ("a.what", PNG, "image/png"),
        ("shot.png", b"\xff\xd8\xff\xe0", "image/jpeg"),
        ("shot.PNG", PNG, "image/png"),
        ("a.svg", b"<svg/>", "image/svg+xml"),
        ("a.txt", b"<html>", "text/plain"),
        ("a.npz", b"PK\x03\x04", "application/octet-stream"),
        ("a.m4a", b"\0\0\0\x18ftypisom", "audio/mp4"),
        ("a.mp4", b"\0\0\0\x18ftypM4A ", "video/mp4"),
        ("a.png", b"PK\x03\x04", "application/zip"),
        ("photo", b"\xff\xd8\xff\xe0", "image/jpeg"),
        ("song", b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        ("clip", b"\0\0\0\x18ftypisom", "video/mp4"),
        ("a", b"", "application/octet-stream"),
        ("archive.tar.gz", b"", "application/gzip"),
    ],
)
def test_the_first_bytes_decide_the_media_type_before_the_suffix(name: str, head: bytes, expected: str) -> None:
    assert media_type(name, head) == expected


def test_each_media_type_has_its_usual_suffix() -> None:
    assert extension("image/jpeg") == ".jpg"
    assert extension("IMAGE/PNG; charset=binary") == ".png"
    assert extension("audio/x-wav") == ".wav"
    assert extension("application/octet-stream") is None
    assert extension("what/ever") is None
    assert sniff(b"plain words") is None


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xef\xbb\xbf \n<!DOCTYPE html><p>", "text/html"),
        (b"<!-- x --><HTML>", "text/html"),
        (b'<?xml version="1.0"?><html xmlns="x">', "text/html"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "application/xml"),
        (b'<?xml version="1.0"?><!DOCTYPE svg PUBLIC "x"><svg>', "image/svg+xml"),
        (b'{"detail": "blocked"', "application/json"),
        (b'[{"a": "\xc3', "application/json"),
        (b"[INST] a prompt", None),
        (b"{hello}", None),
        (b'{"a"\0\1', None),
        (b'{"a": "\xff\xfe\xfd"}', None),
        (b"<3 is a heart", None),
        (b"----WEBP", None),
    ],
)
def test_html_xml_and_json_are_recognized_by_their_first_characters(head: bytes, expected: str | None) -> None:
    assert sniff(head) == expected


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("shot.png", b"\xff\xd8\xff", "shot.jpg"),
        ("shot.jpeg", b"\xff\xd8\xff", "shot.jpeg"),
        ("shot", PNG, "shot.png"),
        ("a.b.PNG", b"\xff\xd8\xff", "a.b.jpg"),
        ("weights.pt", b"PK\x03\x04", "weights.pt"),
        ("weights", b"PK\x03\x04", "weights"),
        ("notes.md", b"<html>", "notes.md"),
        (".png", b"\xff\xd8\xff", ".png.jpg"),
    ],
)
def test_a_file_name_gets_the_suffix_for_the_type_of_its_content(name: str, head: bytes, expected: str) -> None:
    assert right_name(name, head) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jpeg", True), ("a.wav", True), ("a.txt", True), ("a", True), ("a.pdf", True)]
    + [(name, False) for name in ("a.npz", "a.safetensors", "a.pt", "a.tar.gz", "a.bin", "a.srt", "a.docx", "a.GGUF")],
)
def test_only_a_few_suffixes_of_file_names_are_kept_through_a_data_url(name: str, expected: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert is_given_back(name) is expected

"""File names come from us."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.outputs.names import extension, stems

PNG = b"\x89PNG\r\n\x1a\n"
DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{digit}" for port in ("COM", "LPT") for digit in range(10))}
STEP = (
    st.integers(min_value=0, max_value=10**6) | st.text(max_size=80) | st.sampled_from(["..", "con", "Result", "a/b"])
)


def test_names_say_where_in_the_output_a_file_was() -> None:
    assert stems([()]) == ["output"]
    assert stems([(0,), (1,)]) == ["output-0", "output-1"]
    assert stems([("images", 0), ("audio",), ("a b", "c")]) == ["images-0", "audio", "a-b-c"]


def test_names_that_would_meet_are_told_apart() -> None:
    assert stems([("Image",), ("image",), ("image-2",), ("a.b",), ("a b",)]) == [
        "Image",
        "image-2",
        "image-2-2",
        "a-b",
        "a-b-2",
    ]


def test_the_name_of_our_own_record_is_not_taken() -> None:
    assert stems([("result",)]) == ["result-2"]


@pytest.mark.parametrize(
    ("url", "media_type", "head", "expected"),
    [
        ("https://a/out.webp", "image/png", b"", ".webp"),
        ("https://a/out.WEBP?x=1.exe#b.c", None, b"", ".webp"),
        ("https://a/archive.tar.gz", None, b"", ".tar.gz"),
        ("https://a/out", "image/png; charset=binary", b"", ".png"),
        ("https://a/out.bin", "image/png", b"", ".png"),
        ("https://a/v1.0", "audio/mpeg", b"", ".mp3"),
        ("https://a.png/", None, b"", ".bin"),
        ("https://a/.hidden", None, PNG, ".png"),
        ("https://a/out", "application/octet-stream", PNG, ".png"),
        ("https://a/out", None, b"??", ".bin"),
        ("https://a/out.%2e%2e%2fx", None, b"", ".bin"),
        ("https://a/out.verylongextension", None, b"", ".bin"),
        ("https://a/../../x.png", None, b"", ".png"),
        ("http://[", None, b"", ".bin"),
        ("data:image/jpeg;base64", "image/jpeg", b"", ".jpg"),
        ("data:text/x.png", "what/ever", b"", ".bin"),
    ],
)
def test_the_extension_is_the_urls_then_the_types_then_the_contents(
    url: str, media_type: str | None, head: bytes, expected: str
) -> None:
    assert extension(url, media_type, head) == expected


@given(st.lists(st.lists(STEP, max_size=4).map(tuple), max_size=12), st.text(), st.text() | st.none(), st.binary())
def test_every_file_lands_in_its_folder_under_a_name_of_its_own(
    positions: list[tuple[str | int, ...]], url: str, media_type: str | None, head: bytes
) -> None:
    folder = Path("/outputs/abc")
    names = [
        stem + extension(f"https://a/{url}" if index % 2 else url, media_type, head)
        for index, stem in enumerate(stems(positions))
    ]

    for name in names:
        assert (folder / name).parent == folder
        assert PureWindowsPath(name).name == name
        assert len(name) <= 80
        assert name.isascii()
        assert name.isprintable()
        assert not name.startswith((".", "-"))
        assert not name.endswith((".", " "))
        assert name.partition(".")[0].upper() not in DEVICES
    lowered = {name.partition(".")[0].lower() for name in names}
    assert len(lowered) == len(names)
    assert "result" not in lowered

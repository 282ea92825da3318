"""File names are made from the position in the output."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.outputs.names import extension, stems

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff\xe0"
WEBP = b"RIFF\0\0\0\0WEBP"
WAV = b"RIFF\0\0\0\0WAVE"
MP4 = b"\0\0\0\x18ftypisom"
AVIF = b"\0\0\0\x18ftypavif"
SVG = b'<?xml version="1.0"?>\n<!-- made by hand --><svg xmlns="http://www.w3.org/2000/svg"/>'
DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{digit}" for port in ("COM", "LPT") for digit in range(10))}
STEP = (
    st.integers(min_value=0, max_value=10**6) | st.text(max_size=80) | st.sampled_from(["..", "con", "Result", "a/b"])
)


def test_a_file_name_tells_the_position_of_the_file_in_the_output() -> None:
    assert stems([()]) == ["output"]
    assert stems([(0,), (1,)]) == ["output-0", "output-1"]
    assert stems([("images", 0), ("audio",), ("a b", "c")]) == ["images-0", "audio", "a-b-c"]


def test_equal_file_names_get_numbers() -> None:
    assert stems([("Image",), ("image",), ("image-2",), ("a.b",), ("a b",)]) == [
        "Image",
        "image-2",
        "image-2-2",
        "a-b",
        "a-b-2",
    ]


def test_no_output_file_gets_the_name_of_the_record() -> None:
    assert stems([("result",)]) == ["result-2"]


@pytest.mark.parametrize(
    ("url", "media_type", "head", "expected"),
    [
        ("https://a/out.png", "image/png", JPEG, ".jpg"),
        ("https://a/out.png", None, WEBP, ".webp"),
        ("https://a/out.jpeg", "image/png", JPEG, ".jpeg"),
        ("https://a/out.webp", "image/png", b"", ".png"),
        ("https://a/out", "image/png", JPEG, ".jpg"),
        ("https://a/model.dat", None, PNG, ".png"),
        ("https://a/out.mp3", None, WAV, ".wav"),
        ("https://a/out.png", None, MP4, ".mp4"),
        ("https://a/out.mp4", None, AVIF, ".avif"),
        ("https://a/out.png", None, SVG, ".svg"),
        ("https://a/out.png", None, b"PK\x03\x04", ".zip"),
        ("https://a/out.wav", "audio/x-wav", b"\x1f\x8b", ".gz"),
        ("https://a/out.txt", "text/html", b"plain", ".txt"),
        ("https://a/out.md", "text/plain", b"# plain", ".md"),
        ("https://a/out.png", "text/plain", b"plain", ".txt"),
        ("data:image/png;base64", "image/png", JPEG, ".jpg"),
        ("https://a/out.WEBP?x=1.exe#b.c", None, b"", ".webp"),
        ("https://a/archive.tar.gz", None, b"", ".tar.gz"),
        ("https://a/out", "image/png; charset=binary", b"", ".png"),
        ("https://a/out.bin", "image/png", b"", ".png"),
        ("https://a/v1.2.gz", None, b"", ".gz"),
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
def test_the_extension_comes_from_the_content_or_else_the_media_type_or_else_the_url(
    url: str, media_type: str | None, head: bytes, expected: str
) -> None:
    assert extension(url, media_type, head) == expected


@pytest.mark.parametrize(
    ("suffixes", "head"),
    [
        (".zip .npz .docx .pt .pth .ckpt .epub .usdz .3mf .whl .keras", b"PK\x03\x04"),
        (".gz .tar.gz .tgz .svgz .nii.gz .vtp", b"\x1f\x8b\x08"),
        (".xml .svg .musicxml .gpx .kml .dae .txt", b'<?xml version="1.0"?><x/>'),
        (".json .jsonl .gltf .geojson .ipynb .txt", b'{"a": 1}'),
        (".wav .bwf", WAV),
        (".mp4 .m4a .mov .m4v .3gp", MP4),
        (".avif .heif", AVIF),
        (".mkv .webm .mka", b"\x1a\x45\xdf\xa3"),
        (".ogg .opus .oga", b"OggS"),
        (".mp3 .flac .aac", b"ID3"),
        (".tif .dng .cr2", b"II*\0"),
        (".safetensors .obj .csv .srt", b""),
    ],
)
def test_a_suffix_of_the_same_container_format_is_kept(suffixes: str, head: bytes) -> None:
    """Neither the first bytes nor a media type that is no more precise contradicts these suffixes."""
    for suffix in suffixes.split():
        for media_type in (None, "application/octet-stream", "binary/octet-stream", "application/zip", "text/plain"):
            assert extension(f"https://a/out{suffix}", media_type, head) == suffix


@given(st.lists(st.lists(STEP, max_size=4).map(tuple), max_size=12), st.text(), st.text() | st.none(), st.binary())
def test_every_name_is_unique_and_stays_in_its_folder(
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
        assert len(name) <= 96
        assert name.isascii()
        assert name.isprintable()
        assert not name.startswith((".", "-"))
        assert not name.endswith((".", " "))
        assert name.partition(".")[0].upper() not in DEVICES
    lowered = {name.partition(".")[0].lower() for name in names}
    assert len(lowered) == len(names)
    assert "result" not in lowered

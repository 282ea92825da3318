"""Local files of an input become URLs."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64decode
from copy import deepcopy
from pathlib import Path

import pytest

from replicate_job.errors import InputError
from replicate_job.inputs.content import LARGEST, Content, file_name
from replicate_job.inputs.upload import INLINE, MARGIN, FileInfo, send_files


class Storage:
    """Uploads in memory, which are counted."""

    def __init__(self, expires_at: float | None = 10_000.0) -> None:
        self.expires_at = expires_at
        self.uploads: list[tuple[Path | bytes, str, str, str]] = []
        self.known: dict[str, FileInfo] = {}
        self.stored: dict[str, bytes] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def one_at_a_time(self, sha256: str) -> asyncio.Lock:
        return self._locks.setdefault(sha256, asyncio.Lock())

    async def upload(self, source: Path | bytes, name: str, media_type: str, sha256: str) -> FileInfo:
        self.uploads.append((source, name, media_type, sha256))
        self.known[sha256] = FileInfo(f"https://files.example/{len(self.uploads)}", self.expires_at)
        return self.known[sha256]

    async def find(self, sha256: str) -> FileInfo | None:
        return self.known.get(sha256)

    async def read(self, content: Content) -> bytes | None:
        return self.stored.get(content.sha256)


def file(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


async def test_a_small_file_becomes_a_data_url_in_a_copy_of_the_input(tmp_path: Path) -> None:
    picture, storage = file(tmp_path, "cat.webp", b"RIFF1234WEBP"), Storage()
    values = {"prompt": "x", "image": picture, "nested": {"list": [picture, 4]}, "pair": (picture,)}
    before = deepcopy(values)

    sent = await send_files(values, storage)

    url = "data:image/webp;base64,UklGRjEyMzRXRUJQ"
    assert sent == {"prompt": "x", "image": url, "nested": {"list": [url, 4]}, "pair": [url]}
    assert values == before
    assert storage.uploads == []


@pytest.mark.parametrize(("size", "uploads"), [(0, 0), (INLINE, 0), (INLINE + 1, 1)])
async def test_a_data_url_has_at_most_256000_bytes_of_content(tmp_path: Path, size: int, uploads: int) -> None:
    content, storage = b"a" * size, Storage()

    sent = await send_files({"x": file(tmp_path, "a.txt", content)}, storage)

    assert len(storage.uploads) == uploads
    if not uploads:
        assert b64decode(sent["x"].removeprefix("data:text/plain;base64,"), validate=True) == content


async def test_a_large_file_is_uploaded_with_its_name_type_and_hash(tmp_path: Path) -> None:
    content, storage = b"b" * (3 * 1024**2), Storage()
    movie = file(tmp_path, "übung.mp4", content)

    assert await send_files({"video": movie}, storage) == {"video": "https://files.example/1"}
    assert storage.uploads == [(movie, "übung.mp4", "video/mp4", hashlib.sha256(content).hexdigest())]


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.pt", "a.tar.gz", "a.srt", "a.what"])
async def test_a_file_whose_type_only_its_suffix_shows_is_uploaded_even_if_small(tmp_path: Path, name: str) -> None:
    storage = Storage()

    assert await send_files({"x": file(tmp_path, name, b"PK\x03\x04")}, storage) == {"x": "https://files.example/1"}
    assert [upload[1] for upload in storage.uploads] == [name]


async def test_one_content_with_two_suffixes_of_different_types_is_uploaded_twice(tmp_path: Path) -> None:
    storage, names = Storage(), ["a.npz", "a.pt", "b.pt"]

    sent = await send_files({"x": [file(tmp_path, name, b"PK\x03\x04") for name in names]}, storage)

    assert sent == {"x": [f"https://files.example/{number}" for number in (1, 2, 2)]}
    assert [upload[1] for upload in storage.uploads] == ["a.npz", "a.pt"]


async def test_a_file_gets_the_suffix_of_its_content(tmp_path: Path) -> None:
    small, large, storage = b"\xff\xd8\xff", b"\xff\xd8\xff" + bytes(INLINE), Storage()

    sent = await send_files({"x": file(tmp_path, "a.png", small), "y": file(tmp_path, "b.png", large)}, storage)

    assert sent["x"].startswith("data:image/jpeg;base64,")
    assert [upload[1:3] for upload in storage.uploads] == [("b.jpg", "image/jpeg")]


async def test_one_content_with_several_names_is_uploaded_once(tmp_path: Path) -> None:
    content, storage = b"c" * (INLINE + 1), Storage()
    first, second = file(tmp_path, "a.png", content), file(tmp_path, "b.png", content)

    sent = await send_files({"images": [first, second, first]}, storage)

    assert sent == {"images": ["https://files.example/1"] * 3}
    assert len(storage.uploads) == 1


async def test_an_earlier_upload_is_used_again_while_it_lives_long_enough(tmp_path: Path) -> None:
    picture, storage = file(tmp_path, "a.png", b"d" * (INLINE + 1)), Storage(expires_at=10_000.0)

    async def send(now: float) -> str:
        return str((await send_files({"x": picture}, storage, now=lambda: now))["x"])

    assert await send(0.0) == "https://files.example/1"
    assert await send(10_000.0 - MARGIN - 1) == "https://files.example/1"
    assert await send(10_000.0 - MARGIN) == "https://files.example/2"


async def test_an_upload_that_never_expires_is_used_for_ever(tmp_path: Path) -> None:
    picture, storage = file(tmp_path, "a.png", b"d" * (INLINE + 1)), Storage(expires_at=None)

    for _ in range(2):
        assert await send_files({"x": picture}, storage) == {"x": "https://files.example/1"}


async def test_all_files_that_cannot_be_sent_are_named_before_any_request(tmp_path: Path) -> None:
    storage = Storage()
    huge = tmp_path / "huge.bin"
    with huge.open("wb") as sparse:
        sparse.truncate(LARGEST + 1)
    good = file(tmp_path, "good.png", b"e" * (INLINE + 1))
    values = {"a": good, "b": tmp_path / "missing.png", "c": [tmp_path], "d": {"e": huge}, "f": Path("a\0b")}

    with pytest.raises(InputError) as caught:
        await send_files(values, storage, model="owner/name")

    assert caught.value.problems == (
        f"b: {tmp_path / 'missing.png'} cannot be read: No such file or directory",
        f"c[0]: {tmp_path} is not a file",
        f"d.e: {huge} has 100.0 MB, and the API takes 100 MB; give a URL to it instead",
        "f: 'a\\x00b' is not the name of a file",
    )
    assert storage.uploads == []


@pytest.mark.long
async def test_a_file_of_the_largest_size_is_sent(tmp_path: Path) -> None:
    largest, storage = tmp_path / "largest.bin", Storage()
    with largest.open("wb") as sparse:
        sparse.truncate(LARGEST)

    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    assert await send_files({"x": largest}, storage) == {"x": "https://files.example/1"}
    ticking.cancel()
    assert ticks > 100, "the loop went on while the file was hashed"


async def test_an_error_of_the_uploader_reaches_the_caller(tmp_path: Path) -> None:
    class Broken(Storage):
        async def upload(self, source: Path | bytes, name: str, media_type: str, sha256: str) -> FileInfo:  # noqa: ARG002 - the protocol's names
            raise ConnectionError("no route")

    with pytest.raises(ConnectionError, match="no route"):
        await send_files({"x": file(tmp_path, "a.png", b"f" * (INLINE + 1))}, Broken())


def test_a_long_name_is_cut_to_255_bytes_and_keeps_its_suffix() -> None:
    name = file_name("ü" * 200 + ".png")

    assert len(name.encode()) <= 255
    assert name.endswith("ü.png")
    assert file_name("bad\udcff.png") == "bad?.png"


async def test_equal_bytes_with_names_of_different_types_are_sent_with_both_types() -> None:
    storage = Storage()
    values = {"x": [Content.of(b"a,b", "t.csv"), Content.of(b"a,b", "t.txt"), Content.of(b"a,b", "t.npz")]}

    sent = await send_files(values, storage)

    assert sent == {"x": ["data:text/csv;base64,YSxi", "data:text/plain;base64,YSxi", "https://files.example/1"]}


async def test_a_content_without_bytes_needs_an_upload_that_has_not_expired() -> None:
    storage, large = Storage(), Content.of(b"f" * (INLINE + 1), "a.bin")
    await send_files({"x": large}, storage, now=lambda: 0.0)
    gone = Content(large.name, large.media_type, large.size, large.sha256)

    assert await send_files({"x": gone}, storage, now=lambda: 0.0) == {"x": "https://files.example/1"}
    with pytest.raises(InputError, match=r"x: a\.bin was in the memory of a program that ended"):
        await send_files({"x": gone}, storage, now=lambda: 10_000.0)
    assert len(storage.uploads) == 1

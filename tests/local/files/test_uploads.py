"""Uploaded files: stored on disk, listed, downloaded by signed addresses, and removed when they expire."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

from replicate_job.local.files.file_store import Drafts, FileTooLargeError, StoredFile
from replicate_job.local.files.uploads import UploadStore
from replicate_job.serving.answer import RefusedError
from replicate_job.serving.upload import LARGEST

SECRET = b"a secret of this server"


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def open_uploads(folder: Path, clock: Clock, lifetime: float = 3600.0) -> UploadStore:
    return UploadStore(folder / "files", SECRET, Drafts(folder / "unfinished"), lifetime=lifetime, clock=clock)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def uploads(tmp_path: Path, clock: Clock) -> UploadStore:
    return open_uploads(tmp_path, clock)


async def add(uploads: UploadStore, content: bytes = b"x", name: str = "x.txt", **more: Any) -> StoredFile:
    return await uploads.add(content, name, more.get("content_type", "text/plain"), more.get("metadata", {}))


async def test_an_upload_is_the_same_after_a_restart(tmp_path: Path, uploads: UploadStore, clock: Clock) -> None:
    made = await add(uploads, b"content", "my voice.wav", content_type="audio/wav", metadata={"a": [1, {"b": None}]})
    assert made.path == tmp_path / "files" / made.id / "content"
    assert (made.name, made.size, made.sha256) == ("my-voice.wav", 7, hashlib.sha256(b"content").hexdigest())
    again = open_uploads(tmp_path, clock).get(made.id)
    assert again == made
    assert again.path.read_bytes() == b"content"


async def test_uploads_in_a_moved_folder_are_read(tmp_path: Path, clock: Clock) -> None:
    made = await add(open_uploads(tmp_path / "old", clock), b"content")
    (tmp_path / "old").rename(tmp_path / "new")
    again = open_uploads(tmp_path / "new", clock).get(made.id)
    assert again
    assert again.path.read_bytes() == b"content"


@pytest.mark.long
async def test_an_upload_over_the_size_limit_is_refused_and_leaves_no_file(
    tmp_path: Path, uploads: UploadStore
) -> None:
    made = await uploads.add(bytes(LARGEST), "x", "application/zip", {})
    assert made.path.stat().st_size == LARGEST
    with pytest.raises(FileTooLargeError):
        await uploads.add(bytes(LARGEST + 1), "x", "application/zip", {})
    assert [path.name for path in (tmp_path / "files").iterdir()] == [made.id]
    assert list((tmp_path / "unfinished").iterdir()) == []
    await uploads.remove(made.id)  # it is large: free the disk before the tests' folders are cleared


async def test_the_list_has_linked_pages_of_a_hundred_newest_first(
    uploads: UploadStore,
) -> None:
    made = [(await add(uploads, str(number).encode())).id for number in range(250)]
    newest = made[::-1]
    first = await uploads.page()
    second = await uploads.page(first.next)
    third = await uploads.page(second.next)
    pages = [[file.id for file in page.items] for page in (first, second, third)]
    assert pages == [newest[:100], newest[100:200], newest[200:]]
    assert (first.previous, third.next) == (None, None)
    back = await uploads.page(third.previous)
    assert [file.id for file in back.items] == pages[1]
    assert [file.id for file in (await uploads.page(back.previous)).items] == pages[0]


async def test_concurrent_uploads_have_different_positions_in_the_list(uploads: UploadStore) -> None:
    made = await asyncio.gather(*(add(uploads, bytes(2**20 // (number + 1))) for number in range(120)))
    first = await uploads.page()
    second = await uploads.page(first.next)
    listed = [file.created_at for file in first.items + second.items]
    assert listed == sorted({file.created_at for file in made}, reverse=True)
    assert len(listed) == 120


async def test_the_next_page_continues_in_order_although_files_are_added_and_removed(uploads: UploadStore) -> None:
    made = [(await add(uploads)).id for _ in range(150)]
    first = await uploads.page()
    await uploads.remove(first.items[-1].id)
    await add(uploads)
    assert [file.id for file in (await uploads.page(first.next)).items] == made[:50][::-1]


async def test_a_clock_that_stops_or_goes_back_does_not_change_the_order_of_the_list(
    tmp_path: Path, uploads: UploadStore, clock: Clock
) -> None:
    made = [(await add(uploads)).id for _ in range(3)]
    clock.now -= 100
    made.append((await add(uploads)).id)
    page = await open_uploads(tmp_path, clock).page()
    assert [file.id for file in page.items] == made[::-1]


@pytest.mark.parametrize("cursor", ["", "x", "bzE", "b25hbg", "é", "a" * 1000, "bzEuMA==="])
async def test_a_cursor_of_another_list_is_refused_or_gives_no_items(uploads: UploadStore, cursor: str) -> None:
    await add(uploads)
    try:
        page = await uploads.page(cursor)
    except RefusedError:
        return
    assert page.items == []


async def test_removing_an_upload_deletes_it_from_memory_and_disk(tmp_path: Path, uploads: UploadStore) -> None:
    made = await add(uploads)
    assert await uploads.remove(made.id)
    assert not await uploads.remove(made.id)
    assert uploads.get(made.id) is None
    assert not list((tmp_path / "files").iterdir())
    assert not list((tmp_path / "unfinished").iterdir())


async def test_an_expired_upload_is_not_found_and_is_later_deleted_from_disk(
    tmp_path: Path, uploads: UploadStore, clock: Clock
) -> None:
    made = await add(uploads)
    clock.now += 3599
    later = await add(uploads)
    assert uploads.get(made.id)
    clock.now += 1
    assert uploads.get(made.id) is None
    assert not await uploads.remove(made.id)
    assert [file.id for file in (await uploads.page()).items] == [later.id]
    assert [path.name for path in (tmp_path / "files").iterdir()] == [later.id]


async def test_uploads_that_expired_while_the_server_was_down_are_removed_at_its_start(
    tmp_path: Path, uploads: UploadStore, clock: Clock
) -> None:
    made = await add(uploads)
    clock.now += 3600
    assert open_uploads(tmp_path, clock).get(made.id) is None
    assert not list((tmp_path / "files").iterdir())


@pytest.mark.parametrize("id", ["", ".", "..", "../x", "%2e%2e", "a/b", "files", "\0", "é"])
async def test_an_invalid_id_finds_and_removes_no_upload(
    tmp_path: Path,
    uploads: UploadStore,
    id: str,  # noqa: A002 - the API's own name
) -> None:
    made = await add(uploads)
    assert uploads.get(id) is None
    assert not await uploads.remove(id)
    assert (tmp_path / "files" / made.id).is_dir()


def sign(file: StoredFile, expiry: str) -> dict[str, str]:
    """The signed query of a download. By the API's documentation, the text ``'{owner} {id} {expiry}'`` is signed."""
    signature = hmac.new(SECRET, f"local {file.id} {expiry}".encode(), hashlib.sha256).digest()
    return {"owner": "local", "expiry": expiry, "signature": base64.b64encode(signature).decode()}


async def test_a_signature_as_documented_by_the_api_is_accepted(uploads: UploadStore, clock: Clock) -> None:
    made = await add(uploads)
    query = sign(made, str(int(clock.now + 3600)))
    for signature in (query["signature"], query["signature"].replace("+", " ")):
        file = uploads.download(made.id, **query | {"signature": signature})
        assert file
        assert (file.id, file.path, file.content_type) == (made.id, made.path, "application/octet-stream")


async def test_a_download_with_a_changed_query_or_an_expired_signature_is_refused(
    uploads: UploadStore, clock: Clock
) -> None:
    made, other = await add(uploads), await add(uploads)
    query = sign(made, str(int(clock.now + 3600)))
    assert uploads.download(other.id, **query) is None
    wrong = {"owner": "other", "expiry": str(int(query["expiry"]) + 1), "signature": "AAAA"}
    for name, value in wrong.items():
        assert uploads.download(made.id, **query | {name: value}) is None
    for value in ("", "é", "²", "9" * 5000):
        assert uploads.download(made.id, **query | {"expiry": value}) is None
        assert uploads.download(made.id, **query | {"signature": value}) is None
    clock.now = float(query["expiry"])
    assert uploads.download(made.id, **query) is None


async def test_a_signed_download_still_works_after_a_restart(
    tmp_path: Path, uploads: UploadStore, clock: Clock
) -> None:
    made = await add(uploads)
    assert open_uploads(tmp_path, clock).download(made.id, **sign(made, str(int(clock.now + 3600))))

"""Uploaded files: kept on disk, listed, signed for, and gone when their time is over."""

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


async def test_a_folder_that_was_moved_is_read_where_it_is(tmp_path: Path, clock: Clock) -> None:
    made = await add(open_uploads(tmp_path / "old", clock), b"content")
    (tmp_path / "old").rename(tmp_path / "new")
    again = open_uploads(tmp_path / "new", clock).get(made.id)
    assert again
    assert again.path.read_bytes() == b"content"


@pytest.mark.long
async def test_a_large_upload_goes_to_disk_and_a_larger_one_nowhere(tmp_path: Path, uploads: UploadStore) -> None:
    made = await uploads.add(bytes(LARGEST), "x", "application/zip", {})
    assert made.path.stat().st_size == LARGEST
    with pytest.raises(FileTooLargeError):
        await uploads.add(bytes(LARGEST + 1), "x", "application/zip", {})
    assert [path.name for path in (tmp_path / "files").iterdir()] == [made.id]
    assert list((tmp_path / "unfinished").iterdir()) == []
    await uploads.remove(made.id)  # it need not lie about until the tests' folders are cleared


async def test_the_list_has_the_newest_first_in_pages_of_a_hundred_that_lead_to_each_other(
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


async def test_uploads_that_arrive_together_have_their_own_places_in_the_list(uploads: UploadStore) -> None:
    made = await asyncio.gather(*(add(uploads, bytes(2**20 // (number + 1))) for number in range(120)))
    first = await uploads.page()
    second = await uploads.page(first.next)
    listed = [file.created_at for file in first.items + second.items]
    assert listed == sorted({file.created_at for file in made}, reverse=True)
    assert len(listed) == 120


async def test_a_page_goes_on_where_it_was_though_files_come_and_go(uploads: UploadStore) -> None:
    made = [(await add(uploads)).id for _ in range(150)]
    first = await uploads.page()
    await uploads.remove(first.items[-1].id)
    await add(uploads)
    assert [file.id for file in (await uploads.page(first.next)).items] == made[:50][::-1]


async def test_the_list_has_the_same_order_after_a_restart_though_the_clock_stood_still_or_went_back(
    tmp_path: Path, uploads: UploadStore, clock: Clock
) -> None:
    made = [(await add(uploads)).id for _ in range(3)]
    clock.now -= 100
    made.append((await add(uploads)).id)
    page = await open_uploads(tmp_path, clock).page()
    assert [file.id for file in page.items] == made[::-1]


@pytest.mark.parametrize("cursor", ["", "x", "bzE", "b25hbg", "é", "a" * 1000, "bzEuMA==="])
async def test_a_cursor_from_elsewhere_is_refused_or_leads_nowhere(uploads: UploadStore, cursor: str) -> None:
    await add(uploads)
    try:
        page = await uploads.page(cursor)
    except RefusedError:
        return
    assert page.items == []


async def test_a_removed_upload_is_gone_from_memory_and_disk(tmp_path: Path, uploads: UploadStore) -> None:
    made = await add(uploads)
    assert await uploads.remove(made.id)
    assert not await uploads.remove(made.id)
    assert uploads.get(made.id) is None
    assert not list((tmp_path / "files").iterdir())
    assert not list((tmp_path / "unfinished").iterdir())


async def test_an_expired_upload_is_gone_at_once_and_from_the_disk_at_the_next_occasion(
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


async def test_what_expired_while_the_server_was_down_is_removed_at_its_start(
    tmp_path: Path, uploads: UploadStore, clock: Clock
) -> None:
    made = await add(uploads)
    clock.now += 3600
    assert open_uploads(tmp_path, clock).get(made.id) is None
    assert not list((tmp_path / "files").iterdir())


@pytest.mark.parametrize("id", ["", ".", "..", "../x", "%2e%2e", "a/b", "files", "\0", "é"])
async def test_an_id_that_is_none_finds_nothing_and_removes_nothing(
    tmp_path: Path,
    uploads: UploadStore,
    id: str,  # noqa: A002 - what is tried
) -> None:
    made = await add(uploads)
    assert uploads.get(id) is None
    assert not await uploads.remove(id)
    assert (tmp_path / "files" / made.id).is_dir()


def sign(file: StoredFile, expiry: str) -> dict[str, str]:
    """The query of a download, in the words of the API's documentation: ``'{owner} {id} {expiry}'``."""
    signature = hmac.new(SECRET, f"local {file.id} {expiry}".encode(), hashlib.sha256).digest()
    return {"owner": "local", "expiry": expiry, "signature": base64.b64encode(signature).decode()}


async def test_a_download_is_signed_as_the_api_describes(uploads: UploadStore, clock: Clock) -> None:
    made = await add(uploads)
    query = sign(made, str(int(clock.now + 3600)))
    for signature in (query["signature"], query["signature"].replace("+", " ")):
        file = uploads.download(made.id, **query | {"signature": signature})
        assert file
        assert (file.id, file.path, file.content_type) == (made.id, made.path, "application/octet-stream")


async def test_a_download_needs_every_word_as_it_was_signed_and_time_left(uploads: UploadStore, clock: Clock) -> None:
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


async def test_a_download_stays_good_over_a_restart(tmp_path: Path, uploads: UploadStore, clock: Clock) -> None:
    made = await add(uploads)
    assert open_uploads(tmp_path, clock).download(made.id, **sign(made, str(int(clock.now + 3600))))

"""Uploads to a store: an object is complete or absent, and the memory is limited."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import obstore
import pytest
from obstore.store import MemoryStore
from tests.outputs.test_download import Fault, Files, Sleeps

from replicate_job.errors import JobError, OutputError
from replicate_job.outputs.discover import OutputFile
from replicate_job.outputs.download import SavedFile, save
from replicate_job.outputs.http import HttpFetch
from replicate_job.outputs.reach import Reach
from replicate_job.outputs.stores.location import Bucket
from replicate_job.outputs.stores.stores import AT_ONCE, Stores
from replicate_job.outputs.stores.upload import PART, Multipart

BUCKET = Bucket("s3", "pictures")
LARGE = b"RIFF0000WEBP" + hashlib.shake_256(b"film").digest(3 * PART)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def files() -> AsyncIterator[Files]:
    async with Files(LARGE).serve() as server:
        yield server


@pytest.fixture
async def fetch() -> AsyncIterator[HttpFetch]:
    async with HttpFetch(Reach("http://127.0.0.1")) as client:
        yield client


async def keep(store: Any, fetch: HttpFetch, *urls: str, attempts: int = 8) -> list[SavedFile]:
    place = await Stores(lambda _: store).place(BUCKET, lambda name: f"k/{name}")
    outputs = [OutputFile((number,), url) for number, url in enumerate(urls)]
    return await save(outputs, place, fetch, sleep=Sleeps(), attempts=attempts)


def objects(store: MemoryStore) -> dict[str, bytes]:
    found = [meta for chunk in obstore.list(store) for meta in chunk]
    return {meta["path"]: bytes(obstore.get(store, meta["path"]).bytes()) for meta in found}


async def test_a_small_and_a_large_file_are_uploaded_completely(
    store: MemoryStore, files: Files, fetch: HttpFetch
) -> None:
    small, large = await keep(store, fetch, "data:text/plain,hello", f"{files.url}/a")
    assert objects(store) == {"k/output-0.txt": b"hello", "k/output-1.webp": LARGE}
    assert large == SavedFile(
        "s3://pictures/k/output-1.webp", len(LARGE), hashlib.sha256(LARGE).hexdigest(), f"{files.url}/a"
    )
    assert small.path == "s3://pictures/k/output-0.txt"
    assert obstore.get(store, "k/output-1.webp").attributes["Content-Type"] == "image/webp"


async def test_an_empty_file_becomes_an_empty_object(store: MemoryStore, fetch: HttpFetch) -> None:
    (saved,) = await keep(store, fetch, "data:,")
    assert (saved.size, objects(store)) == (0, {"k/output-0.txt": b""})


@pytest.mark.parametrize("cut", [PART // 2, PART + 1, 2 * PART + 7])
async def test_a_broken_download_continues_in_the_same_object(
    store: MemoryStore, files: Files, fetch: HttpFetch, cut: int
) -> None:
    files.faults.append(Fault(cut=cut))
    await keep(store, fetch, f"{files.url}/a")
    assert objects(store) == {"k/output-0.webp": LARGE}
    assert "range" in files.requests[1][1]


@pytest.mark.parametrize("cut", [PART // 2, 2 * PART + 7])
async def test_a_file_that_changes_during_the_download_is_started_again(
    store: MemoryStore, files: Files, fetch: HttpFetch, cut: int
) -> None:
    old = bytes(len(LARGE))
    files.faults.append(Fault(cut=cut, body=old, headers={"etag": '"old"'}))
    await keep(store, fetch, f"{files.url}/a")
    assert objects(store) == {"k/output-0.webp": LARGE}


async def test_an_incomplete_file_becomes_no_object(store: MemoryStore, files: Files, fetch: HttpFetch) -> None:
    files.choose = lambda: Fault(cut=2 * PART, whole=True, headers={"etag": None})
    with pytest.raises(OutputError, match="could not be fetched"):
        await keep(store, fetch, f"{files.url}/a", attempts=2)
    assert objects(store) == {}


async def test_an_older_object_stays_until_the_new_object_is_complete(
    store: MemoryStore, files: Files, fetch: HttpFetch
) -> None:
    obstore.put(store, "k/output-0.webp", b"old")
    hold = asyncio.Event()
    files.faults.append(Fault(cut=2 * PART, hold=hold))
    keeping = asyncio.create_task(keep(store, fetch, f"{files.url}/a"))
    await files.wait_for(1)
    assert objects(store) == {"k/output-0.webp": b"old"}
    hold.set()
    await keeping
    assert objects(store) == {"k/output-0.webp": LARGE}


async def test_a_cancelled_upload_leaves_no_object(store: MemoryStore, files: Files, fetch: HttpFetch) -> None:
    hold = asyncio.Event()
    files.choose = lambda: Fault(cut=2 * PART, hold=hold)
    keeping = asyncio.create_task(keep(store, fetch, *[f"{files.url}/{number}" for number in range(4)]))
    await files.wait_for(4)
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    hold.set()
    assert objects(store) == {}


async def test_a_writer_waits_until_the_store_has_taken_its_parts(store: MemoryStore) -> None:
    """The library takes a block when it has room. Until then the writer waits, and does not fill the memory."""
    upload = Multipart(store, BUCKET, "k")
    for _ in range(8):
        await upload.write(bytes(PART))
    assert objects(store) == {}
    await upload.finish()
    assert len(objects(store)["k"]) == 8 * PART


async def test_an_aborted_upload_becomes_no_object(store: MemoryStore) -> None:
    upload = Multipart(store, BUCKET, "k")
    for _ in range(3):
        await upload.write(bytes(PART))
    await upload.abort()
    await upload.abort()
    assert objects(store) == {}


async def test_uploads_beyond_the_limit_of_concurrent_uploads_wait(store: MemoryStore, fetch: HttpFetch) -> None:
    stores = Stores(lambda _: store)
    places = [await stores.place(BUCKET, f"{number}/{{}}".format) for number in range(AT_ONCE + 4)]
    await asyncio.gather(*(save([OutputFile((), "data:,x")], place, fetch) for place in places))
    assert len(objects(store)) == AT_ONCE + 4


async def test_a_bucket_is_checked_once_and_the_check_leaves_no_object(store: MemoryStore) -> None:
    opened: list[Bucket] = []

    def open_bucket(bucket: Bucket) -> Any:
        opened.append(bucket)
        return store

    stores = Stores(open_bucket)
    for _ in range(2):
        await stores.check(BUCKET, "a/b")
    assert (opened, objects(store)) == ([BUCKET], {})


async def test_the_error_names_a_store_that_cannot_be_reached(unused_tcp_port: int) -> None:
    from obstore.store import S3Store  # noqa: PLC0415 - only this test needs it

    store = S3Store(
        "b",
        endpoint=f"http://127.0.0.1:{unused_tcp_port}",
        access_key_id="AKIASECRET",
        secret_access_key="s3cret",  # noqa: S106 - not a real key
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    with pytest.raises(JobError) as caught:
        await Stores(lambda _: store).check(BUCKET, "x")
    assert str(caught.value) == "outputs cannot be kept in s3://pictures/x: s3://pictures cannot be reached"

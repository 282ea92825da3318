"""Input files on their way to a model, and the files of a server after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from replicate_job.errors import LocalError
from replicate_job.local.files.files import Files
from replicate_job.local.origin import ORIGIN
from replicate_job.serving.listener import bind, listen, origin_of

OWN = "http://127.0.0.1:5999"
FILE = {"type": "string", "format": "uri"}
FIELDS = {
    "image": FILE,
    "masks": {"type": "array", "items": FILE},
    "maybe": FILE | {"nullable": True},
    "prompt": {"type": "string"},
    "either": {"anyOf": [FILE, {"type": "string"}]},
}
DOCUMENT = {"components": {"schemas": {"Input": {"type": "object", "properties": FIELDS}, "Output": FILE}}}
ID = "p" * 26


def open_files(folder: Path, own_origin: str = OWN, **options: Any) -> Files:
    return Files(folder, own_origin, secret=b"secret", **options)


async def resolve(files: Files, given: dict[str, Any]) -> Any:
    async with files.resolved(ID, given, DOCUMENT, asyncio.Event()) as resolved:
        return resolved


def left(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


class Site:
    """A web site with a file at each path, whose content is the path. ``/waits`` does not answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.origin = ""
        self.is_reached = asyncio.Event()

    async def answer(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        if request.url.path == "/waits":
            self.is_reached.set()
            await asyncio.Event().wait()
        return PlainTextResponse(request.url.path, 404 if request.url.path == "/gone" else 200)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    with bind() as listening:
        made.origin = origin_of(listening)
        async with listen(Starlette(routes=[Route("/{path:path}", made.answer)]), listening):
            yield made


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return open_files(tmp_path)


@pytest.mark.parametrize("origin", [OWN, ORIGIN, "http://localhost:5999", "HTTP://[::1]:5999", "https://me.example"])
async def test_uploads_and_outputs_are_read_from_disk_whatever_host_their_address_has(
    files: Files, origin: str
) -> None:
    upload = await files.uploads.add(b"x", "cat.png", "image/png", {})
    output = await files.outputs.store("q" * 26, "data:image/webp;base64,eA==", DOCUMENT)
    given = {
        "image": f"{origin}/v1/files/{upload.id}",
        "masks": [
            f"{origin}/files/{upload.id}/cat.png",
            f"{origin}/v1/files/{upload.id}/download?owner=me&signature=x",
        ],
        "maybe": output.replace(ORIGIN, origin),
    }
    content = f"{OWN}/files/{upload.id}/cat.png"
    assert await resolve(files, given) == {
        "image": content,
        "masks": [content, content],
        "maybe": f"{OWN}/outputs/{'q' * 26}/output.webp",
    }


async def test_an_address_from_before_a_restart_still_works(tmp_path: Path, files: Files) -> None:
    upload = await files.uploads.add(b"x", "cat.png", "image/png", {})
    again = open_files(tmp_path, "http://127.0.0.1:6001")
    resolved = await resolve(again, {"image": f"{OWN}/v1/files/{upload.id}"})
    assert resolved == {"image": f"http://127.0.0.1:6001/files/{upload.id}/cat.png"}


@pytest.mark.parametrize(
    "path", ["/v1/files/none", "/files/none/x", "/outputs/none/x", "/v1/predictions", "/", "/inputs/p/0-x"]
)
@pytest.mark.parametrize("allow_private", [False, True])
async def test_a_missing_file_of_this_server_is_reported_and_not_downloaded_from_the_server_itself(
    tmp_path: Path,
    path: str,
    allow_private: bool,  # noqa: FBT001 - a table's column
) -> None:
    files = open_files(tmp_path, allow_private=allow_private)
    with pytest.raises(LocalError, match=rf"^input\.image: there is no file at {path} on this server"):
        await resolve(files, {"image": OWN + path})


async def test_data_urls_and_texts_that_are_not_files_stay_unchanged(files: Files) -> None:
    given: dict[str, Any] = {
        "image": "data:,x",
        "maybe": None,
        "prompt": "http://127.0.0.1:1/",
        "either": "a text",
        "unknown": "http://127.0.0.1:1/",
        "masks": [],
    }
    assert await resolve(files, given) == given


@pytest.mark.parametrize("text", ["DATA:,x", "Data:/../../../etc/hostname"])
async def test_a_data_url_in_capitals_reaches_the_model_in_lower_case(files: Files, text: str) -> None:
    resolved = await resolve(files, {"image": text, "masks": [text], "either": text})
    assert resolved == {"image": f"data:{text[5:]}", "masks": [f"data:{text[5:]}"], "either": f"data:{text[5:]}"}


@pytest.mark.parametrize("text", ["/etc/hostname", "file:///etc/hostname", "picture.png", "", "ftp://x/y", " http:x"])
async def test_a_file_input_other_than_http_https_or_data_is_refused(files: Files, text: str) -> None:
    with pytest.raises(LocalError, match=r"^input\.masks\.1: it is not an http, https or data URL"):
        await resolve(files, {"masks": ["data:,x", text]})


@pytest.mark.parametrize("name", ["image", "either"])
async def test_a_private_address_as_input_fails_the_prediction_with_the_name_of_the_input(
    files: Files, site: Site, name: str
) -> None:
    with pytest.raises(LocalError, match=rf"^input\.{name}: 127\.0\.0\.1 is in a private network"):
        await resolve(files, {name: f"{site.origin}/cat.png"})
    assert site.asked == []


async def test_allowed_files_are_downloaded_once_and_removed_at_the_end(tmp_path: Path, site: Site) -> None:
    files = open_files(tmp_path, allow_private=True)
    cat, dog = f"{site.origin}/cat.txt", f"{site.origin}/a/dog.txt"
    async with files.resolved(ID, {"image": cat, "masks": [dog, cat]}, DOCUMENT, asyncio.Event()) as resolved:
        assert resolved == {
            "image": f"{OWN}/inputs/{ID}/0-cat.txt",
            "masks": [f"{OWN}/inputs/{ID}/1-dog.txt", f"{OWN}/inputs/{ID}/0-cat.txt"],
        }
        found = files.get_input(ID, "1-dog.txt")
        assert found
        assert (found.name, found.path.read_text()) == ("dog.txt", "/a/dog.txt")
        for prediction, name in ((ID, "2-cat.txt"), (ID, ".."), ("..", "files"), ("", "")):
            assert files.get_input(prediction, name) is None
    assert sorted(site.asked) == ["/a/dog.txt", "/cat.txt"]
    assert files.get_input(ID, "0-cat.txt") is None
    assert not list((tmp_path / "inputs").iterdir())


async def test_the_error_names_the_input_that_cannot_be_downloaded_and_no_file_stays(
    tmp_path: Path, site: Site
) -> None:
    files = open_files(tmp_path, allow_private=True)
    given = {"image": f"{site.origin}/cat.txt", "masks": [f"{site.origin}/waits", f"{site.origin}/gone"]}
    with pytest.raises(LocalError, match=r"^input\.masks\.1: 127\.0\.0\.1 answered 404$"):
        await resolve(files, given)
    assert left(tmp_path) == []


async def test_canceling_the_prediction_ends_its_downloads(tmp_path: Path, site: Site) -> None:
    files, canceled = open_files(tmp_path, allow_private=True), asyncio.Event()

    async def cancel() -> None:
        await site.is_reached.wait()
        canceled.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(cancel())
        with pytest.raises(LocalError, match="canceled"):
            async with files.resolved(ID, {"image": f"{site.origin}/waits"}, DOCUMENT, canceled):
                pass
    assert left(tmp_path) == []


async def test_downloaded_inputs_of_a_killed_server_are_removed_at_the_next_start(tmp_path: Path, site: Site) -> None:
    files = open_files(tmp_path, allow_private=True)
    async with files.resolved(ID, {"image": f"{site.origin}/cat.txt"}, DOCUMENT, asyncio.Event()):
        open_files(tmp_path)
        assert files.get_input(ID, "0-cat.txt") is None


async def test_an_output_is_removed_with_its_prediction(tmp_path: Path, files: Files) -> None:
    await files.outputs.store(ID, "data:,x", DOCUMENT)
    files.outputs.remove(ID)
    assert files.outputs.get(ID, "output.txt") is None
    assert not list((tmp_path / "outputs").iterdir())

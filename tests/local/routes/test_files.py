from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from replicate_job.serving.page import PAGE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NOT_FOUND = {"detail": "File not found", "status": 404}


@pytest.fixture
async def api(local: Any) -> AsyncIterator[Any]:
    async with local() as api:
        yield api


async def post(api: Any, content: bytes, name: str = "a.txt", kind: str = "text/plain", **fields: str) -> Any:
    form = f'--x\r\ncontent-disposition: form-data; name="content"; filename="{name}"\r\ncontent-type: {kind}\r\n\r\n'
    body = form.encode() + content
    for field, value in fields.items():
        body += f'\r\n--x\r\ncontent-disposition: form-data; name="{field}"\r\n\r\n{value}'.encode()
    request = api.client.post(f"{api.base_url}/v1/files").body_bytes(body + b"\r\n--x--\r\n")
    return await request.header("content-type", "multipart/form-data; boundary=x").build().send()


async def upload(api: Any, content: bytes, name: str = "a.txt", **fields: str) -> Any:
    answer = await post(api, content, name, **fields)
    assert answer.status == 201
    return await answer.json()


async def test_an_upload_returns_the_metadata_of_its_file_and_the_content_can_be_downloaded(api: Any) -> None:
    file = await upload(api, b"hello", "größe 模.txt", metadata='{"of": "me"}')
    assert (file["size"], file["content_type"], file["metadata"]) == (5, "text/plain", {"of": "me"})
    assert file["checksums"]["sha256"] == hashlib.sha256(b"hello").hexdigest()
    assert file["created_at"] < file["expires_at"]
    assert await api.get(f"/v1/files/{file['id']}") == file
    content = await api.request("GET", f"/files/{file['id']}/anything.txt")
    assert (content.status, await content.text()) == (200, "hello")
    assert content.headers["x-content-type-options"] == "nosniff"


async def test_files_are_listed_in_pages_newest_first(api: Any) -> None:
    made = [(await upload(api, b"%d" % number))["id"] for number in range(PAGE + 3)][::-1]
    first = await api.get("/v1/files")
    second = await api.get(first["next"])
    assert [file["id"] for file in first["results"] + second["results"]] == made
    assert [len(first["results"]), first["previous"], second["next"]] == [PAGE, None, None]
    assert (await api.get(second["previous"]))["results"] == first["results"]


@pytest.mark.parametrize("cursor", ["x", "%00", "b3h4", "%C3%A9", "A" * 5000, "="])
async def test_a_malformed_cursor_is_refused(api: Any, cursor: str) -> None:
    answer = await api.request("GET", f"/v1/files?cursor={cursor}")
    assert (answer.status, await answer.json()) == (
        400,
        {"title": "Bad request", "detail": "Invalid cursor", "status": 400},
    )


async def test_a_deleted_file_is_a_404_at_each_of_its_addresses(api: Any) -> None:
    file = await upload(api, b"hello")
    path = f"/v1/files/{file['id']}"
    gone = await api.request("DELETE", path)
    assert (gone.status, await gone.text()) == (204, "")
    for method, each in (("GET", path), ("DELETE", path), ("GET", f"/files/{file['id']}/a.txt")):
        answer = await api.request(method, each)
        assert (answer.status, await answer.json()) == (404, NOT_FOUND)
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await api.get("/v1/files"))["results"] == []


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"owner": "local", "expiry": "9999999999", "signature": "c2lnbmF0dXJl"},
        {"owner": "local", "expiry": "soon", "signature": ""},
        {"owner": "\x00", "expiry": "9" * 5000, "signature": "é"},
    ],
)
async def test_a_download_without_the_right_signature_is_not_found(api: Any, query: dict[str, str]) -> None:
    file = await upload(api, b"hello")
    answer = await api.request("GET", f"/v1/files/{file['id']}/download?{urlencode(query)}")
    assert (answer.status, await answer.json()) == (404, NOT_FOUND)


async def test_uploaded_files_survive_a_restart(local: Any, tmp_path: Path) -> None:
    async with local(state=tmp_path / "state") as api:
        file = await upload(api, b"hello")
    async with local(state=tmp_path / "state") as api:
        again = await api.get(f"/v1/files/{file['id']}")
        assert (again["id"], again["checksums"], again["expires_at"]) == (
            file["id"],
            file["checksums"],
            file["expires_at"],
        )
        assert await (await api.request("GET", f"/files/{file['id']}/a.txt")).text() == "hello"


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 400),
        ("multipart/form-data", b"", 400),
        ("multipart/form-data; boundary=x", b"--x\r\n", 400),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 422),
    ],
)
async def test_a_body_that_is_not_a_form_with_a_file_is_refused(
    api: Any, content_type: str, body: bytes, status: int
) -> None:
    request = api.client.post(f"{api.base_url}/v1/files").body_bytes(body).header("content-type", content_type)
    answer = await request.build().send()
    assert (answer.status, (await answer.json())["status"]) == (status, status)


@pytest.mark.parametrize("metadata", ["[]", "{", "null", '"a"'])
async def test_metadata_other_than_an_object_are_refused(api: Any, metadata: str) -> None:
    answer = await post(api, b"hello", metadata=metadata)
    assert (answer.status, (await answer.json())["invalid_fields"][0]["field"]) == (422, "metadata")


async def test_a_file_over_the_limit_is_a_413(api: Any) -> None:
    request = api.client.post(f"{api.base_url}/v1/files").body_bytes(bytes(102 * 2**20))
    answer = await request.header("content-type", "multipart/form-data; boundary=x").build().send()
    assert (answer.status, (await answer.json())["detail"]) == (
        413,
        "Files must be less than 100MB in size",
    )

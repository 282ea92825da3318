from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import chain, repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from replicate_job.serving.answer import RefusedError
from replicate_job.serving.upload import FileForm, read_upload


class Sent:
    """A request that counts how much of its body was asked for."""

    def __init__(self, chunks: Iterable[bytes], **headers: str) -> None:
        self.read = 0
        self._chunks = iter(chunks)
        sent = {"content_type": "multipart/form-data; boundary=b"} | headers
        encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()]
        self.request = Request({"type": "http", "method": "POST", "path": "/", "headers": encoded}, self._receive)

    async def _receive(self) -> Any:
        chunk = next(self._chunks, None)
        self.read += len(chunk or b"")
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}


def part(name: str, content: bytes, *, filename: str | None = None, kind: str = "") -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    typed = f"Content-Type: {kind}\r\n" if kind else ""
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{named}\r\n{typed}\r\n'
    return head.encode() + content + b"\r\n"


async def posted(*parts: bytes, **headers: str) -> FileForm:
    return await read_upload(Sent([*parts, b"--b--\r\n"], **headers).request, 100)


async def status(*parts: bytes, **headers: str) -> int:
    with pytest.raises(RefusedError) as caught:
        await posted(*parts, **headers)
    return caught.value.answer.status


FILE = part("content", b"\x00\xff", filename="a cat.png", kind="image/png")


async def test_a_file_is_read_with_its_name_type_and_metadata() -> None:
    assert await posted(FILE, part("metadata", b'{"n":1}')) == FileForm(b"\x00\xff", "a cat.png", "image/png", {"n": 1})


async def test_metadata_may_be_sent_as_a_file_as_browsers_do() -> None:
    metadata = part("metadata", b'{"n":1}', filename="blob", kind="application/json")
    assert (await posted(FILE, metadata)).metadata == {"n": 1}


async def test_the_fields_filename_and_type_override_those_of_the_part() -> None:
    form = await posted(FILE, part("filename", "höhle.bin".encode()), part("type", b"application/zip"))
    assert (form.name, form.content_type) == ("höhle.bin", "application/zip")


@pytest.mark.parametrize("kind", ["", "nonsense", "text/html\r\nset-cookie: a=b", "tëxt/html", "a/b; \x00"])
async def test_a_malformed_media_type_becomes_octet_stream(kind: str) -> None:
    form = await posted(part("content", b"x", filename="x"), part("type", kind.encode()))
    assert form.content_type == "application/octet-stream"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([part("file", b"x", filename="x")], 422),
        ([part("content", b"no file")], 422),
        ([FILE, part("metadata", b"[")], 422),
        ([FILE, part("metadata", b"[1]")], 422),
        ([FILE, part("metadata", b"[" * 100_000)], 422),
        ([FILE, part("filename", b"x" * 256)], 422),
        ([b"nonsense"], 400),
        ([FILE[:-10]], 400),
    ],
)
async def test_a_malformed_form_is_refused(parts: list[bytes], expected: int) -> None:
    assert await status(*parts) == expected


@pytest.mark.parametrize("kind", ["multipart/form-data", "application/json", "multipart/form-data; boundary="])
async def test_a_body_that_is_not_a_form_or_a_form_without_a_boundary_is_refused(kind: str) -> None:
    assert await status(FILE, content_type=kind) == 400


async def test_a_file_one_byte_over_the_size_limit_gets_a_413() -> None:
    assert len((await posted(part("content", b"x" * 100, filename="x"))).content) == 100
    assert await status(part("content", b"x" * 101, filename="x")) == 413


async def test_a_form_whose_content_length_is_too_large_is_refused_unread() -> None:
    sent = Sent([FILE], content_length="3000000")
    with pytest.raises(RefusedError, match="100MB"):
        await read_upload(sent.request, 100)
    assert sent.read == 0


async def test_a_form_without_content_length_is_read_only_up_to_the_limit() -> None:
    sent = Sent(chain([part("content", b"", filename="x")[:-2]], repeat(b"x" * 65536)))
    with pytest.raises(RefusedError, match="100MB"):
        await read_upload(sent.request, 1_000_000)
    assert sent.read < 3_000_000


@given(st.lists(st.binary() | st.sampled_from([FILE, b"--b", b"\r\n", b"--b--\r\n", part("metadata", b"{}")])))
async def test_any_bytes_are_read_as_a_file_or_refused(chunks: list[bytes]) -> None:
    with suppress(RefusedError):
        assert isinstance(await read_upload(Sent(chunks).request), FileForm)

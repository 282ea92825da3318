from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from replicate_job.testing import OutputFile, Script, ScriptedAPI

Create = Callable[..., Any]
Ask = Callable[..., Any]
CONTENT = bytes(range(256)) * 40


def deliver(api: ScriptedAPI, create: Create, **facts: Any) -> str:
    """The URL of a file in a new prediction's output."""
    api.next(Script(duration=0, output=OutputFile(**({"content": CONTENT} | facts))))
    return str(create(api)["output"])


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("out-0.webp", "/out-0.webp"),
        ("../../x", "/..%2F..%2Fx"),
        ("x" * 300 + ".png", "/" + "x" * 300 + ".png"),
        ("naïve name?.txt", "/na%C3%AFve%20name%3F.txt"),
    ],
)
def test_a_hostile_file_name_is_one_encoded_part_of_the_url(
    api: ScriptedAPI, create: Create, ask: Ask, name: str, end: str
) -> None:
    url = deliver(api, create, name=name)
    assert url.endswith(end)
    assert ask(api, "GET", url).body == CONTENT


def test_a_file_can_have_no_name_and_a_type_or_no_type_at_all(api: ScriptedAPI, create: Create, ask: Ask) -> None:
    assert ask(api, "GET", deliver(api, create, name="a.webp")).headers["content-type"] == "image/webp"
    reply = ask(api, "GET", deliver(api, create, name="", content_type="image/png"))
    assert (reply.body, reply.headers["content-type"]) == (CONTENT, "image/png")
    assert "content-type" not in ask(api, "GET", deliver(api, create, content_type="")).headers


def test_the_content_disposition_header_is_that_of_the_script(api: ScriptedAPI, create: Create, ask: Ask) -> None:
    evil = 'attachment; filename="../../etc/passwd"'
    assert ask(api, "GET", deliver(api, create, disposition=evil)).headers["content-disposition"] == evil


def test_files_anywhere_in_an_output_become_urls_or_data_urls(api: ScriptedAPI, create: Create) -> None:
    inline = OutputFile(content=b"\x00", name="a.png", inline=True)
    output = {"list": [OutputFile(content=b"1"), OutputFile(content=b"2")], "deep": {"inline": inline}, "n": 1}
    api.next(Script(duration=0, output=output))
    body = create(api)["output"]
    assert all(url.startswith(api.files_url) for url in body["list"])
    assert len(set(body["list"])) == 2
    assert body["deep"]["inline"] == "data:image/png;base64,AA=="
    assert body["n"] == 1


@pytest.mark.parametrize(
    ("asked", "status", "part", "told"),
    [
        ("bytes=0-9", 206, CONTENT[:10], "bytes 0-9/10240"),
        ("bytes=5000-", 206, CONTENT[5000:], "bytes 5000-10239/10240"),
        ("bytes=5000-999999", 206, CONTENT[5000:], "bytes 5000-10239/10240"),
        ("bytes=10240-", 416, b"", "bytes */10240"),
        ("lines=1-2", 200, CONTENT, None),
    ],
)
def test_range_requests_are_served(  # noqa: PLR0913, PLR0917 - the columns of the table
    api: ScriptedAPI, create: Create, ask: Ask, asked: str, status: int, part: bytes, told: str | None
) -> None:
    reply = ask(api, "GET", deliver(api, create), Range=asked)
    assert (reply.status, reply.body, reply.headers.get("content-range")) == (status, part, told)


def test_a_range_request_for_a_changed_file_is_answered_with_the_whole_file(
    api: ScriptedAPI, create: Create, ask: Ask
) -> None:
    url = deliver(api, create)
    tag = ask(api, "GET", url).headers["etag"]
    assert ask(api, "GET", url, Range="bytes=9-", If_Range=tag).status == 206
    assert ask(api, "GET", url, Range="bytes=9-", If_Range='"other"').status == 200


def test_a_scripted_host_can_lack_ranges_and_an_etag_and_a_content_length(
    api: ScriptedAPI, create: Create, ask: Ask
) -> None:
    reply = ask(api, "GET", deliver(api, create, ranges=False, etag=False, sized=False), Range="bytes=9-")
    assert (reply.status, reply.body) == (200, CONTENT)
    assert not {"etag", "content-length", "accept-ranges"} & reply.headers.keys()


def test_the_url_of_a_file_can_redirect(api: ScriptedAPI, create: Create, ask: Ask) -> None:
    moved = ask(api, "GET", deliver(api, create, redirect=True, name="a b.txt"))
    assert moved.status == 302
    assert ask(api, "GET", moved.headers["location"]).body == CONTENT
    away = ask(api, "GET", deliver(api, create, redirect="http://127.0.0.2:1/x"))
    assert away.headers["location"] == "http://127.0.0.2:1/x"


@pytest.mark.parametrize("status", [404, 410])
def test_a_file_that_has_expired_or_whose_prediction_has_lost_its_data_gets_the_scripted_status(
    create: Create, ask: Ask, status: int
) -> None:
    with ScriptedAPI(expire=0.0) as api:
        assert ask(api, "GET", deliver_late(api, create, gone=status)).status == status
    with ScriptedAPI() as api:
        assert ask(api, "GET", deliver(api, create, expires=0.0, gone=status)).status == status
        assert ask(api, "GET", f"{api.files_url}/files/nothing/x").status == 404


def deliver_late(api: ScriptedAPI, create: Create, **facts: Any) -> str:
    """The URL of a file whose prediction's data are removed. It comes from the server's own state."""
    api.next(Script(duration=0, output=OutputFile(content=CONTENT, **facts)))
    create(api)
    return str(api.predictions[0].output)


def test_resumed_downloads_can_be_truncated_too(create: Create, ask: Ask) -> None:
    import http.client  # noqa: PLC0415

    with ScriptedAPI(faults="download:truncate=1") as api:
        url = deliver(api, create)
        for asked, half in (("bytes=0-", 5120), ("bytes=5120-", 2560)):
            with pytest.raises(http.client.IncompleteRead) as caught:
                ask(api, "GET", url, Range=asked)
            assert (len(caught.value.partial), caught.value.expected) == (half, half)
        assert [request.fault for request in api.requests if request.operation == "download"] == ["truncate"] * 2

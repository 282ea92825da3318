from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

from replicate_job.testing import ScriptedAPI

Ask = Callable[..., Any]


def upload(ask: Ask, api: ScriptedAPI, content: bytes, *, metadata: str = "{}", field: str = "content") -> Any:
    body = (
        f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="a cat.png"\r\n'
        "Content-Type: image/png\r\n\r\n"
    ).encode()
    body += content + b'\r\n--b\r\nContent-Disposition: form-data; name="metadata"\r\n'
    body += f"Content-Type: application/json\r\n\r\n{metadata}\r\n--b--\r\n".encode()
    return ask(api, "POST", "/v1/files", body, Content_Type="multipart/form-data; boundary=b")


def test_an_uploaded_file_has_its_content_name_type_and_checksum(api: ScriptedAPI, ask: Ask) -> None:
    content = bytes(range(256)) * 8192
    before = time.time()
    reply = upload(ask, api, content, metadata='{"n":1}')
    (kept,) = api.uploads
    assert (kept.content, kept.name, kept.content_type, kept.metadata) == (content, "a cat.png", "image/png", {"n": 1})
    assert reply.status == 201
    assert reply.json["checksums"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert (reply.json["size"], reply.json["id"]) == (len(content), kept.id)
    assert before <= kept.expires - 24 * 3600 <= time.time()
    assert ask(api, "GET", reply.json["urls"]["get"]).json == reply.json


def test_a_file_expires_and_can_be_deleted(ask: Ask) -> None:
    with ScriptedAPI(file_expire=0) as api:
        assert ask(api, "GET", upload(ask, api, b"x").json["urls"]["get"]).status == 404
    with ScriptedAPI() as api:
        url = upload(ask, api, b"x").json["urls"]["get"]
        assert [ask(api, "DELETE", url).status for _ in range(2)] == [204, 404]
        assert api.uploads == []

"""Files that a job sends: small ones inside the request, large ones uploaded once, too large ones never."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.testing import ScriptedModel, openapi_schema

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

    from replicate_job.testing import ScriptedAPI

SDXL = "stability-ai/sdxl"
PNG = b"\x89PNG\r\n\x1a\n"


def image(api: ScriptedAPI, index: int = -1) -> str:
    """What a prediction got as its ``image``."""
    body: Any = msgspec.json.decode(api.predictions[index].request.body)
    found: str = body["input"]["image"]
    return found


def test_a_small_file_travels_inside_the_request(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "a b ü.png").write_bytes(PNG)
    assert command("run", SDXL, "image=@a b ü.png").code == 0
    assert image(api) == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert not api.uploads


def test_a_large_file_is_uploaded_once_with_its_name_and_type(api: ScriptedAPI, command: Command) -> None:
    content = PNG + bytes(300_000)
    (command.folder / "Foto ü (1).PNG").write_bytes(content)
    assert command("run", SDXL, "image=@Foto ü (1).PNG").code == 0
    (upload,) = api.uploads
    assert (upload.name, upload.content_type, upload.content) == ("Foto ü (1).PNG", "image/png", content)
    assert image(api) == f"{api.base_url}/v1/files/{upload.id}"
    (command.folder / "copy.png").write_bytes(content)
    assert command("run", SDXL, "image=@copy.png").code == 0
    assert image(api, 1) == image(api, 0)
    assert api.count("file") == 1


@pytest.mark.parametrize("fault", ["429(body=1)", "503", "drop", "drop-after"])
def test_an_upload_that_fails_for_a_moment_is_sent_again(api: ScriptedAPI, command: Command, fault: str) -> None:
    """An upload costs nothing, so it may be sent twice."""
    (command.folder / "a.bin").write_bytes(bytes(300_000))
    api.faults.next("file", fault)
    outcome = command("run", SDXL, "image=@a.bin", "--no-save")
    assert (outcome.code, api.count("file"), api.created) == (0, 2, 1)


def test_a_file_whose_content_has_changed_is_uploaded_again(api: ScriptedAPI, command: Command) -> None:
    for first in (b"1", b"2"):
        (command.folder / "a.bin").write_bytes(first + bytes(300_000))
        assert command("run", SDXL, "image=@a.bin").code == 0
    assert len(api.uploads) == 2


def test_a_file_of_more_than_100_mb_is_refused_before_any_request(api: ScriptedAPI, command: Command) -> None:
    with (command.folder / "huge.bin").open("wb") as file:
        file.truncate(150 * 1024**2)
    outcome = command("run", SDXL, "image=@huge.bin", "--no-save")
    assert outcome.code == 2
    assert "huge.bin has 150.0 MB, and the API takes 100 MB" in outcome.err
    assert not api.requests
    assert outcome.out == b""


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("image=@none.png", "there is no file 'none.png'"),
        ("image=@.", ". is not a file"),
        ("image=@", "there is no file ''"),
        ("image=@" + "x" * 5000, "names no file"),
        ("prompt=@a.bin", "a.bin is not UTF-8 text (byte 1), and this input takes text"),
    ],
)
def test_the_error_names_a_file_that_cannot_be_sent(api: ScriptedAPI, command: Command, word: str, said: str) -> None:
    (command.folder / "a.txt").write_text("hello")
    (command.folder / "a.bin").write_bytes(b"\xff")
    outcome = command("run", SDXL, word)
    assert outcome.code == 2
    assert said in outcome.err
    assert not api.predictions


def test_text_that_starts_with_an_at_sign_is_escaped_with_a_second_one(api: ScriptedAPI, command: Command) -> None:
    assert command("run", SDXL, "prompt=@@home").code == 0
    assert api.predictions[0].input == {"prompt": "@home"}


def test_an_upload_that_the_api_refuses_is_reported_and_creates_nothing(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "a.bin").write_bytes(bytes(300_000))
    api.faults.next("file", "413")
    outcome = command("run", SDXL, "image=@a.bin")
    assert outcome.code == 2
    assert "413" in outcome.error
    assert not api.predictions


def test_the_same_key_sends_the_same_file_once(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "a.bin").write_bytes(bytes(300_000))
    for _ in range(2):
        assert command("run", SDXL, "image=@a.bin", "--key", "k").code == 0
    assert (len(api.predictions), api.count("file")) == (1, 1)


def test_data_in_the_journals_format_of_a_file_stays_data_after_a_restart(api: ScriptedAPI, command: Command) -> None:
    """Only an ``@`` in the user's own words makes a path a file."""
    secret = command.folder / "secret"
    secret.write_bytes(b"not to be sent")
    api.models["acme/any"] = ScriptedModel(name="acme/any", official=True, schema=openapi_schema({"data": {}}))
    looks = {"data": [{"replicate-job:file": str(secret)}, {"replicate-job:file!": str(secret)}]}
    (command.folder / "input.json").write_bytes(msgspec.json.encode(looks))
    api.faults.next("model", "hang")
    process = command.start("run", "acme/any", "--input", "input.json", "--no-save")
    api.wait_until(lambda: api.count("model"))
    process.kill()
    assert command("resume").code == 0
    assert msgspec.json.decode(api.predictions[0].request.body)["input"] == looks

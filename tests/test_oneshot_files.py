"""Files in an input: bytes, open files, pictures. Each is sent completely, one time, with the right name and type."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from starlette.datastructures import UploadFile

from replicate_job import AsyncClient, Client, Job, arun, batch, run, stream
from replicate_job.errors import InputError, InvalidRequestError, JobError, KeyInUseError
from replicate_job.oneshot import astream
from replicate_job.testing import Script, ScriptedAPI, ScriptedModel, openapi_schema

PNG = b"\x89PNG\r\n\x1a\n" + b"a small picture"
LARGE = PNG + bytes(range(256)) * 1200
URI = {"type": "string", "format": "uri"}
EDIT = ScriptedModel(
    name="acme/edit",
    official=True,
    script=Script(duration=0, boot=0, output="done"),
    schema=openapi_schema(
        {"image": URI, "images": {"type": "array", "items": URI}, "prompt": {"type": "string"}},
        {"type": "string"},
    ),
)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ScriptedAPI]:
    with ScriptedAPI(EDIT) as api:
        for name, value in api.environment.items():
            monkeypatch.setenv(name, value)
        for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
            monkeypatch.setenv(name, str(tmp_path / "state"))
        monkeypatch.setenv("REPLICATE_JOB_JOURNAL", str(tmp_path / "state" / "journal.db"))
        yield api


def sent(api: ScriptedAPI, index: int = -1) -> Any:
    """The ``image`` of a prediction's input: the media type and bytes of a data URL, or the URL of an upload."""
    url = api.predictions[index].input["image"]
    if not url.startswith("data:"):
        return url
    head, _, content = url.partition(";base64,")
    return head.removeprefix("data:"), b64decode(content)


def picture(image: Any) -> Image.Image:
    """The picture that the API got, read with Pillow."""
    return Image.open(io.BytesIO(image[1]))


def opened(folder: Path) -> IO[bytes]:
    (folder / "cat.png").write_bytes(PNG)
    return (folder / "cat.png").open("rb")


def named_temporary(_: Path) -> IO[bytes]:
    file = tempfile.NamedTemporaryFile(suffix=".png")  # noqa: SIM115 - the test closes it
    file.write(PNG)
    return file


def spooled(_: Path) -> Any:
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115 - the test closes it
    file.write(PNG)
    return file


def in_archive(folder: Path) -> IO[bytes]:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("in/cat.png", PNG)
    return zipfile.ZipFile(folder / "a.zip").open("in/cat.png")


def piped(_: Path) -> IO[bytes]:
    end, other = os.pipe()
    os.write(other, PNG)
    os.close(other)
    return os.fdopen(end, "rb")


class Download:
    """An output of the official client, whose ``read`` takes no size."""

    def read(self) -> bytes:
        return PNG


def closed_at_the_end(value: Any) -> AbstractContextManager[Any]:
    return closing(value) if hasattr(value, "close") and not inspect.iscoroutinefunction(value.close) else nullcontext()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda _: PNG, "file.png"),
        (lambda _: bytearray(PNG), "file.png"),
        (lambda _: memoryview(PNG), "file.png"),
        (lambda _: io.BytesIO(PNG), "file.png"),
        (opened, "cat.png"),
        (named_temporary, None),
        (spooled, "file.png"),
        (in_archive, "cat.png"),
        (piped, "file.png"),
        (lambda _: UploadFile(io.BytesIO(PNG), filename="C:\\pictures\\cat.png"), "cat.png"),
        (lambda _: Download(), "file.png"),
    ],
)
def test_a_file_is_sent_completely_with_its_name_and_type(
    api: ScriptedAPI, tmp_path: Path, make: Callable[[Path], Any], name: str | None
) -> None:
    with closed_at_the_end(held := make(tmp_path)):
        result = run("acme/edit", input={"image": held})
    assert sent(api) == ("image/png", PNG)
    assert result.sent == {"image": name or Path(held.name).name}
    assert not api.uploads


def test_a_large_file_is_uploaded_once_with_its_name_and_type_and_is_recognized_by_its_content(
    api: ScriptedAPI,
) -> None:
    file = io.BytesIO(LARGE)
    file.name = "Foto ü (1).png"
    run("acme/edit", {"image": file})
    (upload,) = api.uploads
    assert (upload.name, upload.content_type, upload.content) == ("Foto ü (1).png", "image/png", LARGE)
    run("acme/edit", {"image": LARGE})
    assert sent(api, 0) == sent(api, 1) == f"{api.base_url}/v1/files/{upload.id}"
    assert api.count("file") == 1


def test_a_path_and_bytes_with_the_same_content_are_uploaded_once(api: ScriptedAPI, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(LARGE)
    run("acme/edit", {"image": tmp_path / "a.png", "images": [LARGE, io.BytesIO(LARGE)]})
    assert len({api.predictions[0].input["image"], *api.predictions[0].input["images"]}) == 1
    assert len(api.uploads) == 1


async def test_calls_at_the_same_time_upload_the_same_content_once(api: ScriptedAPI) -> None:
    async with AsyncClient() as client:
        calls = [client.run("acme/edit", input={"image": LARGE, "prompt": str(number)}) for number in range(8)]
        submitted = await client.submit("acme/edit", input={"image": io.BytesIO(LARGE)})
        assert {result.status for result in await asyncio.gather(*calls)} == {"succeeded"}
        assert (await submitted.result()).output == "done"
    assert len(api.uploads) == 1


def test_a_blocking_client_takes_files_too(api: ScriptedAPI, tmp_path: Path) -> None:
    with Client() as client, opened(tmp_path) as file:
        assert client.run("acme/edit", input={"image": file}).sent == {"image": "cat.png"}
        assert list(client.stream("acme/edit", input={"image": PNG})) == ["done"]
    assert sent(api, 0) == sent(api, 1) == ("image/png", PNG)


async def test_rows_at_the_same_time_upload_the_same_content_once(api: ScriptedAPI) -> None:
    rows = [{"image": io.BytesIO(LARGE), "prompt": str(number)} for number in range(8)]
    assert [result.status async for result in batch("acme/edit", rows, rate="none")] == ["succeeded"] * 8
    assert len(api.uploads) == 1


def test_a_file_whose_name_says_another_type_is_sent_with_the_type_of_its_content(api: ScriptedAPI) -> None:
    file = io.BytesIO(b"\xff\xd8\xff" + bytes(300_000))
    file.name = "shot.png"
    run("acme/edit", {"image": file})
    assert (api.uploads[0].name, api.uploads[0].content_type) == ("shot.jpg", "image/jpeg")


def test_an_open_file_is_read_from_its_beginning_and_keeps_its_position(api: ScriptedAPI) -> None:
    file = io.BytesIO(PNG)
    file.seek(5)
    run("acme/edit", {"image": file})
    assert sent(api) == ("image/png", PNG)
    assert file.tell() == 5


def test_an_object_that_occurs_twice_is_read_once(api: ScriptedAPI, tmp_path: Path) -> None:
    with piped(tmp_path) as pipe:
        run("acme/edit", {"image": pipe, "images": [pipe]})
    assert sent(api) == ("image/png", PNG)
    assert api.predictions[0].input["images"] == [api.predictions[0].input["image"]]


def test_a_file_may_be_closed_after_the_call(api: ScriptedAPI, tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        texts = stream("acme/edit", {"image": file})
    assert list(texts) == ["done"]
    assert sent(api) == ("image/png", PNG)


async def test_coroutines_take_files_too(api: ScriptedAPI) -> None:
    assert (await arun("acme/edit", input={"image": io.BytesIO(PNG)})).output == "done"
    assert [text async for text in astream("acme/edit", input={"image": PNG})] == ["done"]
    assert sent(api, 0) == sent(api, 1) == ("image/png", PNG)


def test_a_file_in_the_input_of_the_job_is_read_as_well(api: ScriptedAPI) -> None:
    run(Job("acme/edit", {"image": io.BytesIO(PNG)}), {"prompt": "x"})
    assert api.predictions[0].input["prompt"] == "x"
    assert sent(api) == ("image/png", PNG)


def test_a_picture_is_sent_as_png_without_loss(api: ScriptedAPI) -> None:
    image = Image.effect_noise((40, 30), 90).convert("RGB")
    result = run("acme/edit", {"image": image})
    assert sent(api)[0] == "image/png"
    assert picture(sent(api)).tobytes() == image.tobytes()
    assert result.sent == {"image": "file.png"}


def test_a_picture_from_a_jpeg_file_stays_jpeg_and_a_picture_derived_from_it_becomes_png(
    api: ScriptedAPI, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x010F] = "the maker of the camera"
    Image.effect_noise((64, 64), 90).save(tmp_path / "cat.jpg", quality=40, exif=exif)
    with Image.open(tmp_path / "cat.jpg") as photo:
        assert run("acme/edit", {"image": photo}).sent == {"image": "cat.jpg"}
        run("acme/edit", {"image": photo.convert("RGB").rotate(90)})
        assert picture(sent(api, 0)).quantization == photo.quantization  # type: ignore[attr-defined]
    assert [sent(api, index)[0] for index in (0, 1)] == ["image/jpeg", "image/png"]
    assert b"the maker" not in sent(api, 0)[1]


def test_a_picture_that_png_cannot_hold_raises_an_error_with_advice(api: ScriptedAPI) -> None:
    with pytest.raises(InputError, match=r'image: a picture of mode HSV cannot be written .*\.convert\("RGB"\)'):
        run("acme/edit", {"image": Image.new("HSV", (4, 4))})
    assert not api.requests


class Coroutine:
    """A file of aiofiles."""

    async def read(self, _: int = -1) -> bytes:
        return PNG


def closed() -> io.BytesIO:
    file = io.BytesIO(PNG)
    file.close()
    return file


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: io.StringIO("x"), r'image: a StringIO is open as text: open it in binary mode, open\(…, "rb"\)$'),
        (lambda: tempfile.SpooledTemporaryFile(mode="w+"), "is open as text: open it in binary mode"),  # noqa: SIM115 - the test closes it
        (closed, r"image: a BytesIO cannot be read: I/O operation on closed file"),
        (lambda: tempfile.TemporaryFile("wb"), r"image: a \w+ is not open for reading"),  # noqa: SIM115 - likewise
        (Coroutine, "image: a Coroutine gives a coroutine when it is read: give the bytes themselves"),
        (lambda: bytes(100 * 1024**2 + 1), "image: it has more than 100 MB"),
        (object, "image: a object is not a JSON value; a file is a pathlib.Path, an open file or bytes"),
    ],
)
def test_the_error_names_an_unreadable_file_before_any_request(
    api: ScriptedAPI, make: Callable[[], Any], problem: str
) -> None:
    with closed_at_the_end(value := make()), pytest.raises(JobError, match=problem):
        run("acme/edit", {"image": value})
    assert not api.requests


def test_a_text_input_refuses_bytes(api: ScriptedAPI) -> None:
    with pytest.raises(InputError, match=r"prompt: takes no file, and file \(5 bytes\) is one"):
        run("acme/edit", {"prompt": b"a fox"})
    assert not api.predictions


def test_values_of_numpy_are_sent_as_numbers(api: ScriptedAPI) -> None:
    run("acme/private", input={"n": np.int64(4), "x": np.float32(0.5), "list": np.arange(3)})
    assert api.predictions[0].input == {"n": 4, "x": 0.5, "list": [0, 1, 2]}


@pytest.mark.parametrize("content", [PNG, LARGE])
def test_a_key_with_the_same_content_is_the_same_job_and_another_content_is_refused(
    api: ScriptedAPI, content: bytes
) -> None:
    first = run("acme/edit", {"image": content}, key="order-17")
    renamed = io.BytesIO(content)
    renamed.name = "tmp5x8.png"
    assert run("acme/edit", {"image": renamed}, key="order-17").prediction_id == first.prediction_id
    with pytest.raises(KeyInUseError):
        run("acme/edit", {"image": content + b"!"}, key="order-17")
    assert (len(api.predictions), len(api.uploads)) == (1, 1 if content is LARGE else 0)


def test_a_key_whose_job_was_refused_can_be_used_with_another_content(api: ScriptedAPI) -> None:
    api.faults.next("create", "422")
    with pytest.raises(InvalidRequestError):
        run("acme/edit", {"image": PNG}, key="order-17")
    assert run("acme/edit", {"image": LARGE}, key="order-17").output == "done"
    assert len(api.predictions) == 1


def test_no_file_content_stays_in_the_state_folder_after_the_end_of_its_job(api: ScriptedAPI, tmp_path: Path) -> None:
    secret = PNG + bytes(range(200, 0, -1)) * 8
    run("acme/edit", {"image": secret, "images": [LARGE]}, key="k")
    url = api.predictions[0].input["image"]
    kept = b"".join(file.read_bytes() for file in (tmp_path / "state").rglob("*") if file.is_file())
    assert b"file.png" in kept
    assert secret[-100:] not in kept
    assert url[100:300].encode() not in kept
    assert LARGE[-1000:] not in kept


class Rows:
    """Rows from Python in several forms. Each row has a picture and some text."""

    PICTURE = Image.new("RGB", (8, 8), "red")
    ROWS: tuple[dict[str, Any], ...] = (
        {"image": PNG, "prompt": "a"},
        {"image": io.BytesIO(PNG), "prompt": "b"},
        {"image": PICTURE, "prompt": "c"},
        {"image": Path(__file__), "prompt": "d"},
    )

    @classmethod
    async def asynchronous(cls) -> AsyncIterator[dict[str, Any]]:
        for row in cls.ROWS:
            yield row


@pytest.mark.parametrize(
    "rows",
    [lambda: Rows.ROWS, lambda: pd.DataFrame(Rows.ROWS), lambda: iter(Rows.ROWS), Rows.asynchronous],
    ids=["list", "DataFrame", "iterator", "async"],
)
def test_rows_of_a_batch_hold_files_of_every_kind(api: ScriptedAPI, rows: Callable[[], Any]) -> None:
    results = sorted(batch("acme/edit", rows(), rate="none"), key=lambda result: result.line)
    assert [(result.status, result.problem) for result in results] == [("succeeded", "")] * 4
    assert [result.sent["image"] for result in results] == ["file.png"] * 3 + ["test_oneshot_files.py"]
    by_prompt = {prediction.input["prompt"]: index for index, prediction in enumerate(api.predictions)}
    assert sent(api, by_prompt["a"]) == sent(api, by_prompt["b"]) == ("image/png", PNG)
    assert picture(sent(api, by_prompt["c"])).tobytes() == Rows.PICTURE.tobytes()


def test_a_file_for_all_rows_is_read_once(api: ScriptedAPI, tmp_path: Path) -> None:
    with piped(tmp_path) as pipe:
        results = list(batch(Job("acme/edit", {"image": pipe}), [{"prompt": "a"}, {"prompt": "b"}]))
    assert {result.status for result in results} == {"succeeded"}
    assert sent(api, 0) == sent(api, 1) == ("image/png", PNG)


def test_the_same_rows_under_the_same_key_create_nothing_again(api: ScriptedAPI) -> None:
    def rows(name: str) -> list[dict[str, Any]]:
        file = io.BytesIO(LARGE)
        file.name = name
        return [{"image": file}, {"image": PNG}]

    first = list(batch("acme/edit", rows("a.png"), key="pictures", rate="none"))
    again = list(batch("acme/edit", rows("tmp7.png"), key="pictures", rate="none"))
    assert {result.prediction_id for result in first} == {result.prediction_id for result in again}
    assert len(api.predictions) == 2


def test_a_row_whose_file_cannot_be_read_has_a_problem_and_the_other_rows_run(api: ScriptedAPI) -> None:
    rows: list[dict[str, Any]] = [{"image": io.StringIO("x")}, {"image": PNG}, {"prompt": b"x", "image": PNG}]
    results = sorted(batch("acme/edit", rows, rate="none"), key=lambda result: result.line)
    assert [result.status for result in results] == ["error", "succeeded", "error"]
    assert results[0].problem == 'image: a StringIO is open as text: open it in binary mode, open(…, "rb")'
    assert "prompt: takes no file" in results[2].problem
    assert len(api.predictions) == 1


PROGRAM = """
import io, sys
from replicate_job import run
run("acme/edit", {"image": io.BytesIO(PNG + bytes(int(sys.argv[1])))}, key="order-17", save_to="out")
"""


@pytest.mark.long
@pytest.mark.parametrize("size", [10, 300_000])
@pytest.mark.parametrize(
    ("fault", "made"), [("hang-before", 0), ("hang-after", 1), ("429(body=10)", 0)], ids=["unmade", "made", "throttled"]
)
def test_a_job_with_file_content_is_resumed_after_its_program_was_killed(
    api: ScriptedAPI, tmp_path: Path, size: int, fault: str, made: int
) -> None:
    api.faults.next("create", fault)
    code = PROGRAM.replace("PNG", repr(PNG))
    program = subprocess.Popen([sys.executable, "-c", code, str(size)], cwd=tmp_path)
    api.wait_until(lambda: api.count("create") == 1, seconds=30)
    api.wait_until(lambda: len(api.predictions) == made)
    if fault.startswith("429"):
        api.wait_until(lambda: _state(tmp_path) == "claimed", seconds=30)
    program.send_signal(signal.SIGKILL)
    program.wait()

    command = [sys.executable, "-m", "replicate_job", "resume"]
    resumed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert resumed.returncode == 0, resumed.stderr
    assert len(api.predictions) == 1
    assert len(api.uploads) == (size > 256_000)
    if size == 10:
        assert sent(api) == ("image/png", PNG + bytes(10))
    again = run("acme/edit", {"image": PNG + bytes(size)}, key="order-17")
    assert again.prediction_id == api.predictions[0].id


def _state(folder: Path) -> str:
    """The state of the only job."""
    with closing(sqlite3.connect(folder / "state" / "journal.db")) as db:
        return str(db.execute("SELECT state FROM jobs").fetchone()[0])

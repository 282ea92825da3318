"""Outputs in an object store are complete or absent. Every command finds them. No message shows credentials."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.e2e.s3 import KEY, S3, SECRET

from replicate_job import Client
from replicate_job.testing import OutputFile, Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

FLUX = "black-forest-labs/flux-schnell"
PICTURE = b"RIFF0000WEBP" + b"p" * 1000
LARGE = b"RIFF0000WEBP" + hashlib.shake_256(b"film").digest(12_000_000)
PATTERN = "s3://pictures/{model}/{date}/{key}-{name}"


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with S3() as server:
        yield server


@pytest.fixture
def s3(server: S3, command: Command) -> Iterator[S3]:
    """The server, to which the command's environment leads. Afterwards no file holds anything of the credentials."""
    server.requests.clear()
    command.environment |= server.environment
    yield server
    server.release()
    server.refuse(lambda _: False)
    for path in command.folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert SECRET.encode() not in content, path
        assert KEY.encode() not in content, path


def test_output_files_of_a_run_become_objects_whose_names_come_from_the_template(
    api: ScriptedAPI, command: Command, s3: S3
) -> None:
    s3.make("pictures")
    api.next(Script(output=[OutputFile(content=PICTURE, name="a.webp"), OutputFile(content=LARGE, name="b.webp")]))
    outcome = command("run", FLUX, "prompt=x", "--key", "order 7", "--save", PATTERN)
    assert (outcome.code, outcome.err) == (0, "")
    first, second = outcome.response["files"]
    assert re.fullmatch(rf"s3://pictures/{FLUX}/\d{{4}}-\d\d-\d\d/order-7-[0-9a-f]{{12}}-output-0\.webp", first)
    assert [s3.read(first), s3.read(second)] == [PICTURE, LARGE]
    assert s3.type_of(first) == s3.type_of(second) == "image/webp"
    record = msgspec.json.decode(s3.read(first.replace("output-0.webp", "result.json")))
    assert record["files"] == [first.rpartition("/")[2], second.rpartition("/")[2]]
    assert record["sha256"][record["files"][1]] == hashlib.sha256(LARGE).hexdigest()
    assert s3.uploads("pictures") == []
    assert len(s3.keys("pictures")) == 3, "two files and the record"
    (job,) = command("list", "--json").json
    assert job["files"] == [first, second]
    s3.requests.clear()
    assert command("run", FLUX, "prompt=x", "--key", "order 7", "--save", PATTERN).response["files"] == [first, second]
    assert s3.requests == [], "a job that is finished costs no request"


def test_output_files_of_a_batch_become_objects_whose_names_contain_their_lines(
    api: ScriptedAPI, command: Command, s3: S3
) -> None:
    s3.make("rows")
    api.models[FLUX] = msgspec.structs.replace(
        api.models[FLUX],
        script=lambda given: Script(
            output=[OutputFile(content=PICTURE + given["prompt"].encode(), name="a.webp")], duration=0.01
        ),
    )
    (command.folder / "rows.csv").write_text("prompt\none\ntwo\nthree\n")
    words = ["batch", FLUX, "rows.csv", "--results", "results.jsonl", "--save", "s3://rows/all/{line}-{name}"]
    assert command(*words).code == 0
    lines = [msgspec.json.decode(line) for line in (command.folder / "results.jsonl").read_bytes().splitlines()]
    files = {line["input"]["prompt"]: line["files"] for line in lines}
    assert {prompt: s3.read(url) for prompt, (url,) in files.items()} == {
        prompt: PICTURE + prompt.encode() for prompt in ("one", "two", "three")
    }
    assert sorted(s3.keys("rows")) == [
        f"all/{line}-{name}" for line in (2, 3, 4) for name in ("output-0.webp", "result.json")
    ]
    assert files["one"][0] in (command.folder / "report.html").read_text()
    s3.requests.clear()
    assert command(*words).code == 0
    assert (api.created, s3.requests) == (
        3,
        ["PUT /rows/all/.replicate-job-check", "DELETE /rows/all/.replicate-job-check"],
    )


def test_a_process_that_is_killed_while_it_uploads_leaves_no_incomplete_object(
    api: ScriptedAPI, command: Command, s3: S3
) -> None:
    s3.make("killed")
    api.next(Script(output=[OutputFile(content=LARGE, name="film.webp")]))
    s3.hold(lambda line: "partNumber=2" in line)
    process = command.start("run", FLUX, "prompt=x", "--key", "k", "--save", "s3://killed/{date}/{key}/{name}")
    s3.wait_for("partNumber=2")
    process.kill()
    s3.release()
    assert s3.keys("killed") == []
    assert {row["state"] for row in command.rows("state")} == {"ended"}

    outcome = command("resume")
    assert outcome.code == 0
    (url,) = outcome.response["files"]
    assert url.endswith("/k/output-0.webp")
    assert s3.read(url) == LARGE
    assert sorted(s3.keys("killed")) == sorted([url.removeprefix("s3://killed/"), f"{url[12:-13]}result.json"])
    assert api.created == 1


def test_an_upload_that_is_interrupted_is_aborted_at_the_store(api: ScriptedAPI, command: Command, s3: S3) -> None:
    s3.make("aborted")
    api.next(Script(output=[OutputFile(content=LARGE, name="film.webp")]))
    s3.hold(lambda line: "partNumber=2" in line)
    process = command.start("run", FLUX, "prompt=x", "--key", "k", "--save", "s3://aborted/{key}/{name}")
    s3.wait_for("partNumber=2")
    process.interrupt()
    assert "interrupted" in process.line()  # then the rest of the file is not sent any more
    s3.release()
    assert process.end().code == 130
    assert (s3.keys("aborted"), s3.uploads("aborted")) == ([], [])
    assert any(line.startswith("DELETE /aborted/k/output-0.webp?uploadId=") for line in s3.requests)


def test_a_python_program_saves_outputs_in_a_store_and_resumes_interrupted_jobs(
    api: ScriptedAPI, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.make("python")
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    pictures = Script(output=[OutputFile(content=PICTURE, name="a.webp")])
    api.next(pictures, pictures, Script(output=pictures.output, duration=math.inf))
    with Client(save_to="s3://python/{key}/{name}") as client:
        assert client.run(FLUX, {"prompt": "x"}, key="one").files == ("s3://python/one/output-0.webp",)
        (row,) = client.batch(FLUX, [{"prompt": "y"}], key="rows", save_to="s3://python/{batch}/{line}")
        assert row.files == ("s3://python/rows/1/output-0.webp",)
        assert row.to_dict()["files"] == ["s3://python/rows/1/output-0.webp"]
        client.submit(FLUX, {"prompt": "z"}, key="two")
    api.predictions[-1].finish()
    with Client() as client:
        (result,) = client.resume()
        assert result.files == ("s3://python/two/output-0.webp",)
        assert client.wait("one").files == ("s3://python/one/output-0.webp",)
    assert all(s3.read(url) == PICTURE for url in (*row.files, *result.files))


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize("verb", ["run", "batch"])
def test_a_missing_bucket_causes_an_error_before_anything_is_paid_for(
    api: ScriptedAPI, command: Command, verb: str
) -> None:
    (command.folder / "rows.csv").write_text("prompt\none\n")
    (command.folder / "file").write_text("in the way")
    words = {"run": ["run", FLUX, "prompt=x"], "batch": ["batch", FLUX, "rows.csv", "--results", "r.jsonl"]}[verb]
    folder = command(*words, "--save", "file")
    outcome = command(*words, "--save", "s3://nowhere/{id}-{name}")
    assert "outputs cannot be kept in s3://nowhere/: there is no bucket s3://nowhere (NoSuchBucket)" in outcome.err
    assert outcome.code == folder.code
    assert api.created == 0


def test_a_job_whose_output_the_store_refuses_can_be_resumed(api: ScriptedAPI, command: Command, s3: S3) -> None:
    s3.make("refusing")
    api.next(Script(output=[OutputFile(content=PICTURE, name="a.webp")]))
    s3.refuse(lambda line: line.startswith("PUT /refusing/k"))
    outcome = command("run", FLUX, "prompt=x", "--key", "k", "--save", "s3://refusing/{key}-{name}")
    assert outcome.code == 3
    assert outcome.error == (
        "error: output-0 cannot be written in s3://refusing: the credentials may not write to s3://refusing "
        "(AccessDenied); `replicate-job resume --save DIR` keeps it elsewhere"
    )
    resumed = command("resume", "--save", "here/{key}/{name}")
    assert resumed.code == 0
    assert resumed.response["files"] == ["here/k/output-0.webp"]
    assert (command.folder / "here/k/output-0.webp").read_bytes() == PICTURE


@pytest.mark.parametrize(
    ("save", "message"),
    [
        ("s3://pictures/{modle}/{id}", "column 15: there is no {modle}; did you mean {model}?"),
        ("s3://pictures/{line}-{name}", "column 15: there is no {line};"),
        ("out/{date}/{name}", "would put the outputs of several jobs in one place: it needs {key} or {id}"),
        ("out/{id", "this { is not closed"),
        ("ftp://pictures/{id}", "outputs cannot be kept in ftp://…: name a folder, or a URL of s3://, gs://, az://"),
        ("s3://AKIA:s3cret@pictures/{id}", "credentials do not belong into the URL of a store"),
        ("az://pictures/{id}?sig=s3cret", "the URL of a store has no query"),
    ],
)
def test_an_invalid_template_causes_an_error_before_any_request(
    api: ScriptedAPI, command: Command, save: str, message: str
) -> None:
    outcome = command("run", FLUX, "prompt=x", "--save", save)
    assert message in outcome.error
    assert "s3cret" not in outcome.err
    assert (outcome.code, api.requests) == (2, [])


def test_a_template_that_gives_the_same_name_to_all_rows_is_refused(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "rows.csv").write_text("prompt\none\n")
    outcome = command("batch", FLUX, "rows.csv", "--results", "r.jsonl", "--save", "out/{batch}/{name}")
    assert "would put the outputs of several jobs in one place: it needs {line}, {key} or {id}" in outcome.error
    assert (outcome.code, api.requests) == (2, [])


def test_without_the_extra_one_line_says_what_to_install(api: ScriptedAPI, command: Command, tmp_path: Path) -> None:
    (tmp_path / "lacking" / "obstore").mkdir(parents=True)
    (tmp_path / "lacking" / "obstore" / "__init__.py").write_text("raise ImportError('there is no obstore')")
    command.environment |= {"PYTHONPATH": str(tmp_path / "lacking")}
    outcome = command("run", FLUX, "prompt=x", "--save", "s3://pictures/{id}")
    assert outcome.error.startswith("error: outputs in s3://… need another package: pip install")
    assert "obstore" in outcome.error
    assert (outcome.code, api.created) == (2, 0)

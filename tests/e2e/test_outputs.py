"""Saving outputs: broken downloads, bad file names, expired files, and disks that cannot be written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from replicate_job.testing import OutputFile, Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

FLUX = "black-forest-labs/flux-schnell"
PICTURE = OutputFile(content=b"RIFF0000WEBP", name="a.webp")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_every_file_is_complete_even_if_its_download_was_interrupted(command: Command) -> None:
    files = [OutputFile(content=bytes([number]) * 200_000, name=f"{number}.bin") for number in range(40)]
    with ScriptedAPI(script=Script(output=files), faults="download:truncate=0.2,download:drop=0.1", seed=7) as api:
        command.environment |= api.environment
        outcome = command("run", FLUX, "prompt=x")
        assert (outcome.code, outcome.err) == (0, "")
        assert sum(request.fault == "truncate" for request in api.requests) > 3
        kept = [digest((command.folder / name).read_bytes()) for name in outcome.response["files"]]
        assert kept == [digest(file.content) for file in files]
        assert not api.strayed_token()


@pytest.mark.parametrize("redirect", [False, True])
def test_file_names_from_a_server_never_lead_out_of_the_output_folder(
    api: ScriptedAPI,
    command: Command,
    redirect: bool,  # noqa: FBT001 - a parameter of pytest
) -> None:
    names = ["../../x", "/etc/passwd", "x" * 300 + ".png", "same.png", "same.png", "", "CON", "a\0b", "-rf", "ü.webp"]
    files = [
        OutputFile(
            content=name.encode(), name=name, redirect=redirect, disposition='attachment; filename="../../../evil"'
        )
        for name in names
    ]
    api.next(Script(output=files))
    outcome = command("run", FLUX, "prompt=x", "--save", "kept")
    assert (outcome.code, outcome.err) == (0, "")
    response = outcome.response
    place = command.folder / "kept" / response["prediction_id"]
    kept = [(command.folder / name).resolve() for name in response["files"]]
    assert [path.read_bytes().decode() for path in kept] == names
    assert {path.parent for path in kept} == {place.resolve()}
    assert len(set(kept)) == len(names)
    assert {path.name for path in place.iterdir()} == {path.name for path in kept} | {"result.json"}
    assert {path.name for path in command.folder.iterdir()} <= {"kept", "state", "home"}
    assert not api.strayed_token()


def test_a_file_without_an_extension_gets_it_from_its_media_type(api: ScriptedAPI, command: Command) -> None:
    kinds = {"image/png": ".png", "audio/x-wav": ".wav", "text/plain; charset=utf-8": ".txt", "": ".bin"}
    api.next(Script(output=[OutputFile(content=b"says nothing", name="out", content_type=kind) for kind in kinds]))
    response = command("run", FLUX, "prompt=x").response
    assert [Path(name).suffix for name in response["files"]] == list(kinds.values())


def test_the_suffix_of_a_file_follows_its_first_bytes(api: ScriptedAPI, command: Command) -> None:
    files = [
        OutputFile(content=b"\xff\xd8\xff\xe0", name="out.png", content_type="image/png"),
        OutputFile(content=b"PK\x03\x04", name="out.npz", content_type="application/zip"),
        OutputFile(content=b"{}", name="out.geojson", content_type="application/json"),
        OutputFile(content=b"RIFF0000WEBP", name="out", content_type="image/png"),
    ]
    api.next(Script(output=files))
    response = command("run", FLUX, "prompt=x").response
    assert [Path(name).suffix for name in response["files"]] == [".jpg", ".npz", ".geojson", ".webp"]


def test_a_web_page_that_arrives_in_place_of_a_picture_is_not_saved(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(output=[PICTURE]))
    api.faults.next("download", "nonsense")
    response = command("run", FLUX, "prompt=x").response
    assert (command.folder / response["files"][0]).read_bytes() == PICTURE.content
    assert api.count("download") == 2


def test_outputs_that_are_data_urls_in_the_response_are_saved_too(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(output=[OutputFile(content=b"picture", name="a.png", inline=True)]))
    response = command("run", FLUX, "prompt=x").response
    assert (command.folder / response["files"][0]).read_bytes() == b"picture"


@pytest.mark.parametrize("gone", [404, 410])
def test_expired_outputs_cause_an_error_and_the_response_is_printed(
    api: ScriptedAPI, command: Command, gone: int
) -> None:
    api.next(Script(output=[OutputFile(content=b"x", name="a.webp", expires=0, gone=gone), PICTURE]))
    outcome = command("run", FLUX, "prompt=x", "--key", "k")
    assert outcome.code == 3
    assert f"is gone (HTTP {gone}): outputs are deleted an hour after the end" in outcome.error
    assert outcome.response["status"] == "succeeded"
    assert [Path(name).name for name in outcome.response["files"]] == ["output-1.webp"]
    (job,) = command("list", "--json").json
    assert job["status"] == "succeeded"
    assert "is gone" in job["problem"]
    assert command("resume").error == "no unfinished jobs"


def test_the_error_for_a_job_whose_data_the_api_removed_before_it_was_resumed_says_so(command: Command) -> None:
    with ScriptedAPI(expire=0, script=Script(duration=0.1, output=[PICTURE])) as api:
        command.environment |= api.environment
        command("run", FLUX, "prompt=x", "--no-wait")
        api.wait_until(lambda: api.predictions[0].snapshot()["data_removed"])
        outcome = command("resume")
        assert outcome.code == 3
        assert "were deleted before they were kept: the API keeps them for an hour" in outcome.err
        assert outcome.response["input"] == {"prompt": "x"}
        assert command("resume").error == "no unfinished jobs"


def _in_the_way(folder: Path) -> None:
    folder.write_text("in the way")


def _a_link_to_nowhere(folder: Path) -> None:
    folder.symlink_to("nowhere")


@pytest.mark.parametrize("spoil", [_in_the_way, _a_link_to_nowhere])
@pytest.mark.parametrize("inside", ["", "deep/er"])
@pytest.mark.parametrize("verb", ["run", "batch"])
def test_an_output_folder_that_cannot_be_written_causes_an_error_before_anything_is_paid_for(
    api: ScriptedAPI, command: Command, spoil: Callable[[Path], None], inside: str, verb: str
) -> None:
    spoil(command.folder / "kept")
    (command.folder / "rows.jsonl").write_text('{"prompt": "x"}\n')
    words = ("run", FLUX, "prompt=x") if verb == "run" else ("batch", FLUX, "rows.jsonl", "--results", "r.jsonl", "-q")
    outcome = command(*words, "--save", f"kept/{inside}")
    assert outcome.code == 2
    assert outcome.error.startswith("error: outputs cannot be kept in ")
    assert outcome.error.endswith("kept is not a folder; name another")
    assert not api.predictions
    assert command("resume").error == "no unfinished jobs", "the key is free again"


@pytest.mark.parametrize("folder", ["/proc/kept", "x" * 300])
def test_an_output_folder_that_cannot_be_made_causes_an_error_before_anything_is_paid_for(
    api: ScriptedAPI, command: Command, folder: str
) -> None:
    for more in ((), ("--dry-run",)):
        outcome = command("run", FLUX, "prompt=x", "--save", folder, *more)
        assert outcome.code == 2
        assert "outputs cannot be kept in" in outcome.error
    assert not api.predictions


def test_the_check_whether_the_output_folder_can_be_written_leaves_no_file(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(end="failed"))
    assert command("run", FLUX, "prompt=x", "--save", "a/b").code == 1
    assert not (command.folder / "a").exists()
    assert not list(command.folder.glob(".replicate-job*"))


def test_resume_saves_outputs_in_another_folder_when_their_own_folder_is_gone(
    api: ScriptedAPI, command: Command
) -> None:
    """When the prediction ends, a file has taken the folder's place. A removed disk has the same effect."""
    api.next(Script(output=[PICTURE]), Script(output=[PICTURE]))
    command("run", FLUX, "prompt=x", "--no-wait", "--save", "kept")
    command("run", FLUX, "prompt=y", "--no-wait", "--no-save")
    (command.folder / "kept").write_text("in the way")
    outcome = command("resume")
    assert outcome.code == 3
    assert "cannot be made: Not a directory; " in outcome.err
    assert "resume --save DIR" in outcome.err
    resumed = command("resume", "--save", "other")
    assert (resumed.code, len(resumed.response["files"])) == (0, 1)
    assert resumed.response["files"][0].startswith("other/")
    assert len(api.predictions) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_without_write_permission_causes_an_error(api: ScriptedAPI, command: Command) -> None:
    (command.folder / "outputs").mkdir(mode=0o500)
    outcome = command("run", FLUX, "prompt=x")
    assert outcome.code == 2
    assert "Permission denied" in outcome.error
    assert not api.predictions


def test_after_an_error_for_a_full_disk_resume_saves_the_outputs(api: ScriptedAPI, command: Command) -> None:
    """A limit on file sizes simulates a full disk: a write beyond it fails in the same way."""
    api.next(Script(output=[OutputFile(content=bytes(3_000_000), name="a.webp")]))
    words = " ".join([*command.program, "run", FLUX, "prompt=x"])
    outcome = command.execute(["bash", "-c", f"trap '' XFSZ; ulimit -f 2000; exec {words}"]).end()
    assert outcome.code == 3
    assert "cannot be written in" in outcome.error
    assert "File too large" in outcome.error
    assert outcome.response["status"] == "succeeded"
    resumed = command("resume")
    assert resumed.code == 0
    assert (command.folder / resumed.response["files"][0]).stat().st_size == 3_000_000
    assert len(api.predictions) == 1


def test_after_a_host_keeps_failing_the_download_is_given_up_and_resume_repeats_it_later(
    api: ScriptedAPI, command: Command
) -> None:
    api.next(Script(output=[PICTURE]))
    api.faults.next("download", "403")
    outcome = command("run", FLUX, "prompt=x")
    assert outcome.code == 3
    assert "cannot be fetched: HTTP 403" in outcome.error
    assert command("resume").response["files"]


@pytest.mark.parametrize("output", [None, []])
def test_a_success_without_the_files_that_the_schema_promises_causes_a_warning(
    api: ScriptedAPI, command: Command, output: object
) -> None:
    api.next(Script(output=output), Script(output=output))
    outcome = command("run", FLUX, "prompt=x", "--key", "k")
    assert outcome.code == 0
    assert "it succeeded without a file that the model's schema promises" in outcome.error
    again = command("run", FLUX, "prompt=x", "--key", "k")
    assert (again.code, again.error) == (0, outcome.error)
    assert "succeeded without a file" in command("run", FLUX, "prompt=x", "--no-save").error


def test_resuming_a_job_that_succeeded_without_the_files_that_the_schema_promises_causes_a_warning(
    api: ScriptedAPI, command: Command
) -> None:
    """The model is an official one, which hides its version: its schema is looked up again."""
    api.next(Script(output=[]))
    command("run", FLUX, "prompt=x", "--no-wait")
    outcome = command("resume")
    assert outcome.code == 0
    assert "it succeeded without a file that the model's schema promises" in outcome.err


@pytest.mark.parametrize("output", [None, []])
def test_a_row_without_the_files_that_the_schema_promises_has_a_problem(
    api: ScriptedAPI, command: Command, output: object
) -> None:
    (command.folder / "rows.jsonl").write_text('{"prompt": "x"}\n{"prompt": "y"}\n')
    words = ("batch", FLUX, "rows.jsonl", "--results", "r.jsonl", "--concurrency", "1")
    api.next(Script(output=output), Script(output=[PICTURE]))
    for more in ((), ("--no-save",), ()):
        assert command(*words, *more).code == 1
        records = [msgspec.json.decode(line) for line in (command.folder / "r.jsonl").read_bytes().splitlines()]
        assert [record["status"] for record in records] == ["succeeded", "succeeded"]
        assert "succeeded without a file" in records[0]["problem"]
        assert "problem" not in records[1]
    assert len(api.predictions) == 2
    api.next(Script(output=[PICTURE]))
    assert command(*words, "--retry-failed").code == 0


def test_the_token_is_sent_to_no_redirect_target_and_no_other_host(api: ScriptedAPI, command: Command) -> None:
    other = f"{api.files_url}/elsewhere"
    api.next(
        Script(
            output=[OutputFile(content=b"x", name="a.webp", redirect=True), OutputFile(content=b"y", redirect=other)]
        )
    )
    assert command("run", FLUX, "prompt=x", "-v").code == 3
    assert api.count("download") >= 4
    assert not api.strayed_token()


@pytest.fixture
def far(api: ScriptedAPI, command: Command) -> ScriptedAPI:
    """The API appears to be on another machine, through a proxy. Its outputs are on this machine."""
    command.environment |= {"http_proxy": api.base_url, "REPLICATE_BASE_URL": "http://replicate.example"}
    return api


def test_outputs_on_this_machine_are_not_downloaded_if_the_api_is_on_another_machine(
    far: ScriptedAPI, command: Command
) -> None:
    far.next(Script(output=[PICTURE]))
    outcome = command("run", FLUX, "prompt=x", "--key", "k")
    assert outcome.code == 3
    assert "127.0.0.1 is on this machine or in a private network" in outcome.error
    assert outcome.response["status"] == "succeeded"
    assert far.count("download") == 0
    resumed = command("resume", "--allow-private-outputs")
    assert (resumed.code, len(resumed.response["files"]), len(far.predictions)) == (0, 1, 1)


@pytest.mark.parametrize("verb", ["run", "batch", "wait"])
def test_downloads_from_private_addresses_can_be_allowed_by_an_option(
    far: ScriptedAPI, command: Command, verb: str
) -> None:
    far.next(Script(output=[PICTURE]), Script(output=[PICTURE]))
    (command.folder / "rows.jsonl").write_text('{"prompt": "x"}\n')
    if verb == "wait":
        prediction = command("run", FLUX, "prompt=x", "--no-wait").response["prediction_id"]
        words = ("wait", prediction)
    else:
        words = (verb, FLUX, *(("prompt=x",) if verb == "run" else ("rows.jsonl", "--results", "r.jsonl")))
    assert command(*words, "--allow-private-outputs").code == 0
    assert far.count("download") == 1


def test_the_problem_of_a_row_whose_outputs_are_on_this_machine_says_so(far: ScriptedAPI, command: Command) -> None:
    far.next(Script(output=[PICTURE]))
    (command.folder / "rows.jsonl").write_text('{"prompt": "x"}\n')
    outcome = command("batch", FLUX, "rows.jsonl", "--results", "-")
    assert outcome.code == 1
    assert "in a private network" in outcome.json["problem"]
    assert far.count("download") == 0

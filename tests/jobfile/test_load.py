"""``load_job`` reads a path, and returns a Job or raises a one-line error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from replicate_job.errors import JobFileError
from replicate_job.job import Job
from replicate_job.jobfile import load_job, to_xanoscript

RUN_XS = Path(__file__).parents[2] / "run.xs"


def refusal(path: str | os.PathLike[str]) -> str:
    with pytest.raises(JobFileError) as caught:
        load_job(path)
    return str(caught.value)


def test_the_run_xs_file_of_this_repository_is_loaded() -> None:
    job = load_job(RUN_XS)
    assert (job.model, job.title) == ("black-forest-labs/flux-schnell", "Replicate Run AI Model")
    assert job.input_data["output_quality"] == 80
    assert (job.wait_for_completion, job.poll_interval, job.max_poll_attempts) == (True, 1, 60)
    assert job.env == ("REPLICATE_API_TOKEN",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("job.xs", to_xanoscript(Job("a/b", {"x": "é"}))),
        ("job.XS", "\ufeff" + to_xanoscript(Job("a/b", {"x": "é"}))),
        ("job.toml", 'model = "a/b"\ninput_data.x = "é"\n'),
        ("job.json", '{"model": "a/b", "input_data": {"x": "é"}}'),
    ],
)
def test_the_suffix_of_the_file_decides_its_format(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert load_job(path) == load_job(str(path)) == Job("a/b", {"x": "é"})


@pytest.mark.parametrize(
    ("line", "wait"),
    [
        ("", (1, 60)),
        ("poll_interval: 5", (5, 60)),
        ("max_poll_attempts: 9", (1, 9)),
        ("max_poll_attempts: null", (1, None)),
        ("poll_interval: null, max_poll_attempts: null", (None, None)),
    ],
)
def test_a_run_xs_file_has_the_waiting_defaults_of_the_original_run_job(
    tmp_path: Path, line: str, wait: tuple[float | None, int | None]
) -> None:
    path = tmp_path / "job.xs"
    call = f'{{ name: "replicate_run_prediction", input: {{ model: "a/b", {line} }} }}'
    path.write_text(f'run.job "x" {{ main = {call} }}')
    job = load_job(path)
    assert (job.poll_interval, job.max_poll_attempts) == wait


@pytest.mark.parametrize(
    ("name", "text", "wait"),
    [
        ("job.toml", 'model = "a/b"', (None, None)),
        ("job.toml", 'model = "a/b"\nmax_poll_attempts = 9', (None, 9)),
        ("job.json", '{"model": "a/b"}', (None, None)),
        ("job.json", '{"model": "a/b", "poll_interval": 0.5}', (0.5, None)),
    ],
)
def test_toml_and_json_files_have_no_default_limit_for_the_wait(
    tmp_path: Path, name: str, text: str, wait: tuple[float | None, int | None]
) -> None:
    path = tmp_path / name
    path.write_text(text)
    job = load_job(path)
    assert (job.poll_interval, job.max_poll_attempts) == wait


def test_an_error_names_the_file_and_the_position(tmp_path: Path) -> None:
    path = tmp_path / "job.xs"
    path.write_text(RUN_XS.read_text().replace("max_poll_attempts", "max_pol_attempts"))
    assert refusal(path) == f'{path}:14:7: unknown name "max_pol_attempts" (did you mean max_poll_attempts?)'


@pytest.mark.parametrize("name", ["job", "job.yaml", ".xs", "xs"])
def test_the_error_of_another_suffix_lists_the_valid_ones(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("")
    assert refusal(path) == f"{path}: the name of a job file ends in .xs, .toml or .json"


def test_a_missing_file_raises_an_error(tmp_path: Path) -> None:
    path = tmp_path / "none.xs"
    assert refusal(path) == f"{path}: cannot read this file: no such file or directory"


def test_a_directory_raises_an_error(tmp_path: Path) -> None:
    path = tmp_path / "folder.xs"
    path.mkdir()
    assert refusal(path).startswith(f"{path}: cannot read this file: ")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission_raises_an_error(tmp_path: Path) -> None:
    path = tmp_path / "job.xs"
    path.write_text("")
    path.chmod(0)
    assert refusal(path) == f"{path}: cannot read this file: permission denied"


def test_an_impossible_file_name_raises_an_error() -> None:
    assert refusal("a\0b.xs").endswith("cannot read this file: its name has a NUL character")


@pytest.mark.parametrize(
    ("data", "rest"),
    [
        ('run.job "\n  é'.encode("latin-1"), "2:3: not UTF-8 text (save it as UTF-8)"),
        ("run.job".encode("utf-16"), "1:1: not UTF-8 text (save it as UTF-8, not UTF-16)"),
    ],
)
def test_a_file_that_is_not_utf_8_raises_an_error(tmp_path: Path, data: bytes, rest: str) -> None:
    path = tmp_path / "job.xs"
    path.write_bytes(data)
    assert refusal(path) == f"{path}:{rest}"

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from replicate_job.errors import LocalError
from replicate_job.local.catalog.model import read_model
from replicate_job.local.environment.venv import ensure_venv, ignored_settings, recipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMED = 'predict: "predict.py:P"\n'


async def test_an_environment_is_built_once_for_all_that_want_the_same(
    write_model: Callable[..., Path], tmp_path: Path
) -> None:
    one = read_model(write_model("a", NAMED, name="one"))
    two = read_model(write_model("b", NAMED, name="two"))
    notices: list[str] = []
    places = await asyncio.gather(*(ensure_venv(model, tmp_path / "venvs", notices.append) for model in (one, two)))
    assert places[0] == places[1]
    said = len(notices)
    assert sum(notice.startswith("preparing me/") for notice in notices) == 1
    assert not any("Installed " in notice for notice in notices)
    assert list((places[0] / "lib").glob("python*/site-packages/cog/__init__.py"))
    assert await ensure_venv(two, tmp_path / "venvs", notices.append) == places[0]
    assert len(notices) == said


async def test_a_build_that_was_killed_does_not_count(write_model: Callable[..., Path], tmp_path: Path) -> None:
    slow = read_model(write_model("a", NAMED + "build:\n  run:\n    - touch begun && sleep 60\n"))
    place = tmp_path / "venvs" / recipe(slow).key
    building = asyncio.create_task(ensure_venv(slow, tmp_path / "venvs", lambda _: None))
    async with asyncio.timeout(30):
        while not (slow.folder / "begun").exists():  # noqa: ASYNC110 - a shell command tells by a file
            await asyncio.sleep(0.01)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert not place.exists()


async def test_the_remnants_of_a_killed_build_are_removed_by_the_next(
    write_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = read_model(write_model("a", NAMED))
    left = tmp_path / "venvs" / f"{recipe(model).key}.tools"
    left.mkdir(parents=True)
    (left / "old").touch()
    assert (await ensure_venv(model, tmp_path / "venvs", lambda _: None) / "bin" / "python").exists()
    assert not left.exists()


async def test_what_fails_is_said_in_one_line_with_the_end_of_its_output(
    write_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = read_model(write_model("a", NAMED + "build:\n  run:\n    - echo no room left >&2; exit 3\n"))
    with pytest.raises(LocalError, match=r"me/model: its Python environment could not be made: no room left$"):
        await ensure_venv(model, tmp_path / "venvs", lambda _: None)
    assert not [place for place in (tmp_path / "venvs").iterdir() if place.is_dir()]


async def test_a_python_that_is_not_installed_is_not_downloaded(
    write_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = read_model(write_model("a", NAMED + 'build:\n  python_version: "3.99"\n'))
    notices: list[str] = []
    place = await ensure_venv(model, tmp_path / "venvs", notices.append)
    assert (place / "bin" / "python").exists()
    assert any("3.99, which is not installed" in notice for notice in notices)


async def test_the_python_that_runs_this_is_not_looked_for(
    write_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    version = "{}.{}".format(*sys.version_info)
    model = read_model(write_model("a", f'{NAMED}build:\n  python_version: "{version}"\n'))
    notices: list[str] = []
    await ensure_venv(model, tmp_path / "venvs", notices.append)
    assert not any("not installed" in notice for notice in notices)


async def test_without_uv_one_line_says_what_to_install(
    write_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    model = read_model(write_model("a", NAMED))
    with pytest.raises(LocalError, match=r"needs uv, which is not here: pip install .*'uv>="):
        await ensure_venv(model, tmp_path / "venvs", lambda _: None)


async def test_commands_may_call_pip_and_uv_which_install_into_the_environment(
    write_model: Callable[..., Path], tmp_path: Path
) -> None:
    commands = "[pip install --no-deps ./own, uv pip show own, echo done]"
    folder = write_model("a", f"{NAMED}build:\n  run: {commands}\n")
    (folder / "own").mkdir()
    (folder / "own" / "pyproject.toml").write_text('[project]\nname = "own"\nversion = "1"\n')
    details: list[str] = []
    place = await ensure_venv(read_model(folder), tmp_path / "venvs", lambda _: None, details.append)
    assert list((place / "lib").glob("python*/site-packages/own-1.dist-info"))
    assert details[-1] == "me/model: done"


def test_ignored_settings_are_reported_in_one_line(write_model: Callable[..., Path]) -> None:
    build = 'build:\n  gpu: true\n  cuda: "12.4"\n  system_packages: [ffmpeg, libgl1]\n'
    said = ignored_settings(read_model(write_model("a", NAMED + build, name="one")))
    assert "ignored settings of cog.yaml: system_packages (ffmpeg, libgl1), gpu, cuda; it runs" in said
    assert ignored_settings(read_model(write_model("a", NAMED + "build:\n  gpu: false\n", name="two"))) == ""


def test_everything_that_decides_the_content_decides_the_key(write_model: Callable[..., Path]) -> None:
    builds = (
        "{}",
        'python_version: "3.12"',
        "python_packages: [a==1]",
        "python_packages: [a==2]",
        "python_requirements: needs.txt",
        "run: [make]",
        "run: [{command: make all}]",
    )
    keys = set()
    for number, build in enumerate(builds):
        text = build if build == "{}" else f"\n  {build}"
        folder = write_model("a", f"{NAMED}build: {text}\n", name=f"m{number}", needs_dot_txt="b\n")
        keys.add(recipe(read_model(folder)).key)
    (folder.parent / "m4" / "needs.txt").write_text("c\n")
    keys.add(recipe(read_model(folder.parent / "m4")).key)
    assert len(keys) == len(builds) + 1


def test_a_missing_requirements_file_is_named(write_model: Callable[..., Path]) -> None:
    model = read_model(write_model("a", NAMED + "build:\n  python_requirements: none.txt\n"))
    with pytest.raises(LocalError, match=r"none\.txt"):
        recipe(model)

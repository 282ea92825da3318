from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import pytest

from replicate_job.errors import LocalError
from replicate_job.local.catalog.model import read_model
from replicate_job.local.environment import confine
from replicate_job.local.environment.venv import ensure_venv, ignored_settings, recipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMED = 'predict: "predict.py:P"\n'


@pytest.mark.long
async def test_models_with_the_same_recipe_share_one_environment(
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


@pytest.mark.long
async def test_an_environment_whose_build_was_killed_does_not_count_as_complete(
    write_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = read_model(write_model("a", NAMED + "build:\n  run:\n    - touch begun && sleep 60\n"))
    place = tmp_path / "venvs" / recipe(model).key
    building = asyncio.create_task(ensure_venv(model, tmp_path / "venvs", lambda _: None))
    async with asyncio.timeout(30):
        while not (place / "src" / "begun").exists():  # noqa: ASYNC110 - there is no event for a file that a shell command makes
            await asyncio.sleep(0.01)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert not (place / "complete").exists()


@pytest.mark.long
async def test_the_next_build_removes_the_files_of_a_killed_one(
    write_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = read_model(write_model("a", NAMED))
    left = tmp_path / "venvs" / recipe(model).key / "bin"
    left.mkdir(parents=True)
    (left / "python").touch()
    (left / "old").touch()
    await ensure_venv(model, tmp_path / "venvs", lambda _: None)
    assert not (left / "old").exists()


@pytest.mark.long
async def test_a_missing_python_version_is_not_downloaded(write_model: Callable[..., Path], tmp_path: Path) -> None:
    model = read_model(write_model("a", NAMED + 'build:\n  python_version: "3.99"\n'))
    notices: list[str] = []
    place = await ensure_venv(model, tmp_path / "venvs", notices.append)
    assert (place / "bin" / "python").exists()
    assert any("3.99, which is not installed" in notice for notice in notices)


async def test_a_python_version_too_old_for_cog_is_not_used(write_model: Callable[..., Path], tmp_path: Path) -> None:
    model = read_model(write_model("a", NAMED + 'build:\n  python_version: "3.8"\n'))
    notices: list[str] = []
    await ensure_venv(model, tmp_path / "venvs", notices.append)
    assert "it asks for Python 3.8, and Cog needs 3.10 or newer: using " in notices[1]


async def test_the_running_python_is_used_without_a_search_if_its_version_fits(
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


COMMANDS = """
  python_packages: [--pre six -f ./wheels, "cog==0.3.4"]
  pre_install:
    - command: cat /run/secrets/key
      mounts: [{type: secret, id: key, target: /run/secrets/key}]
  run:
    - pip install --no-build-isolation --no-deps ./own
    - pip3 --version && python -m pip --version && uv --version
    - --mount=type=cache,target=/root/.cache echo '#!/bin/sh' >/usr/local/bin/tool && chmod +x /usr/local/bin/tool
    - apt-get update && sudo apt-get install -y ffmpeg
    - echo weights >/src/weights.bin; echo changed >/src/predict.py; echo kept >~/kept
    - touch OUTSIDE/empty; chmod 777 OUTSIDE/file
    - echo no room left >&2; exit 3
    - rm -rf OUTSIDE
    - tool && echo done
"""


@pytest.mark.cog
@pytest.mark.skipif(not confine.version(), reason="needs Landlock")
async def test_build_commands_change_only_the_environment_and_skipped_steps_are_reported(
    write_model: Callable[..., Path], tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    (outside / "file").write_text("mine")
    (outside / "file").chmod(0o600)
    named = f"/{outside}"  # a folder in /tmp would become one of the environment

    def marks() -> list[tuple[int, int, int]]:
        facts = [path.stat() for path in (outside, outside / "file")]
        return [(each.st_mode, each.st_mtime_ns, each.st_size) for each in facts]

    before = marks()
    folder = write_model("a", f"{NAMED}build:{COMMANDS.replace('OUTSIDE', named)}")
    (folder / "wheels").mkdir()
    (folder / "wheels" / "none").touch()
    (folder / "own").mkdir()
    (folder / "own" / "setup.py").write_text("import setuptools\nsetuptools.setup(name='own', version='1')\n")
    model = read_model(folder)
    notices: list[str] = []
    details: list[str] = []
    place = await ensure_venv(model, tmp_path / "venvs", notices.append, details.append)
    assert marks() == before
    assert (outside / "file").read_text() == "mine"
    assert list((place / "lib").glob("python*/site-packages/own-1.dist-info"))
    assert list((place / "lib").glob("python*/site-packages/six.py"))
    assert (place / "src" / "weights.bin").exists()
    assert not (place / "src" / "predict.py").exists()
    assert (place / "home" / "kept").exists()
    assert "me/model: done" in details
    assert "own.egg-info" not in {path.name for path in (folder / "own").iterdir()}
    run = "me/model: build.run:"
    said = notices[1:]
    assert said[0].startswith("me/model: left out of its packages: cog==0.3.4; it runs with cog==")
    skipped = "skipped, as it would change this system: apt-get update; apt-get install -y ffmpeg"
    assert said[1] == f"{run} apt-get update && sudo apt-get install -y ffmpeg: {skipped}"
    assert "Permission denied" in " ".join(details)
    assert f"chmod 777 {named}/file" in said[2]
    assert said[3] == f"{run} echo no room left >&2; exit 3: failed: no room left"
    assert said[4].startswith(f"{run} rm -rf {named}: failed: rm: cannot remove")
    assert said[5] == f"{run} cat /run/secrets/key: without its secrets (key)"
    assert said[6].startswith(f"{run} cat /run/secrets/key: failed: cat: /run/secrets/key: No such file")
    # The notes are reported at each preparation; failed commands do not run again at once.
    again: list[str] = []
    assert await ensure_venv(model, tmp_path / "venvs", again.append) == place
    assert again == said
    os.utime(place / "complete", (0, 0))
    retried: list[str] = []
    await ensure_venv(model, tmp_path / "venvs", retried.append)
    assert [line for line in retried if "failed" in line] == [line for line in said if "failed" in line]


@pytest.mark.cog
async def test_without_landlock_only_pip_installations_run(
    write_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confine, "version", lambda: 0)
    config = f"{NAMED}build:\n  run: [pip install --upgrade pip, pip install six && touch {tmp_path}/x]\n"
    notices: list[str] = []
    await ensure_venv(read_model(write_model("a", config)), tmp_path / "venvs", notices.append)
    assert [line.rpartition(": ")[2] for line in notices[1:]] == [
        "skipped, as this system cannot keep its changes in the model's environment"
    ]
    assert not (tmp_path / "x").exists()


def test_ignored_settings_are_reported_in_one_line(write_model: Callable[..., Path]) -> None:
    build = 'build:\n  gpu: true\n  cuda: "12.4"\n  system_packages: [ffmpeg, libgl1]\n  fast: false\ntrain: a.py:b\n'
    said = ignored_settings(read_model(write_model("a", NAMED + build, name="one")))
    listed = "gpu, cuda (12.4), system_packages (ffmpeg, libgl1), train (a.py:b)"
    assert f"ignored settings of cog.yaml: {listed}; it runs" in said
    assert ignored_settings(read_model(write_model("a", NAMED + "build:\n  gpu: false\n", name="two"))) == ""


def test_every_part_of_a_recipe_changes_its_key(write_model: Callable[..., Path]) -> None:
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


def test_the_error_for_a_missing_requirements_file_names_it(write_model: Callable[..., Path]) -> None:
    model = read_model(write_model("a", NAMED + "build:\n  python_requirements: none.txt\n"))
    with pytest.raises(LocalError, match=r"none\.txt"):
        recipe(model)

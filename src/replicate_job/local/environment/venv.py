"""The models' virtual environments, which ``uv`` makes from ``cog.yaml``. Models with the same recipe share one."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shlex
import shutil
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from replicate_job.errors import LocalError
from replicate_job.folders import has_home
from replicate_job.local.environment.process import run
from replicate_job.local.extra import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from replicate_job.local.catalog.model import LocalModel

COG = "cog==0.23.1"
_ERROR_LINES = 6  # of a tool's output, in an error's message
_NOT_REPORTED = ("+ ", "- ", "~ ", "Using ", "Creating ", "Activate ", "Audited ")  # uv's lines that are no progress


class Recipe(msgspec.Struct, frozen=True):
    """All that decides the content of an environment. ``python`` is empty for the Python that runs this package."""

    python: str
    packages: tuple[str, ...]
    requirements: str
    commands: tuple[str, ...]
    running: str = f"{sys.implementation.name}-{sys.version_info[0]}.{sys.version_info[1]}"

    @property
    def key(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:32]


def recipe(model: LocalModel) -> Recipe:
    """Read the ``build`` section. Raises LocalError where its requirements file is missing."""
    build, requirements = model.config.build, ""
    if name := build.python_requirements:
        try:
            requirements = (model.folder / name).read_text("utf-8")
        except (OSError, UnicodeError) as error:
            raise LocalError(f"{model.slug}: python_requirements {name} cannot be read: {error}") from None
    return Recipe(
        python=str(build.python_version),
        packages=(COG, *build.python_packages),
        requirements=requirements,
        commands=build.commands,
    )


def ignored_settings(model: LocalModel) -> str:
    """A line on the settings of the ``build`` section that have no effect here; empty where there are none."""
    build = model.config.build
    ignored = [f"system_packages ({', '.join(build.system_packages)})"] if build.system_packages else []
    ignored += [name for name in ("gpu", "cuda", "cudnn") if getattr(build, name)]
    if not ignored:
        return ""
    return f"{model.slug}: ignored settings of cog.yaml: {', '.join(ignored)}; it runs with what this system has"


async def ensure_venv(
    model: LocalModel, folder: Path, on_notice: Callable[[str], None], on_detail: Callable[[str], None] = lambda _: None
) -> Path:
    """The model's environment below ``folder``, built first where it does not exist yet.

    It gets its final name when it is complete: a build that was killed is built again. Two processes that need the
    same one build it once. ``on_detail`` is called with the tools' output. Raises LocalError, with the last lines of
    the step that failed.
    """
    ingredients = recipe(model)
    venv = folder / ingredients.key
    if (venv / "bin" / "python").exists():
        return venv
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - a single quick call
    async with _lock(folder / f"{ingredients.key}.lock"):
        # Checked again: another process may have built it while this one waited for the lock.
        if not (venv / "bin" / "python").exists():
            download = f", {model.size}" if model.size else ""
            on_notice(f"preparing {model.slug} (once: its Python environment{download})")
            unfinished, tools = folder / f"{ingredients.key}.unfinished", folder / f"{ingredients.key}.tools"
            for remnant in (unfinished, tools, venv):  # of a build that was killed
                await asyncio.to_thread(shutil.rmtree, remnant, ignore_errors=True)
            try:
                await _build(model, ingredients, unfinished, tools, on_notice, on_detail)
            except LocalError:  # the disk may be full of it
                await asyncio.to_thread(shutil.rmtree, unfinished, ignore_errors=True)
                raise
            finally:
                shutil.rmtree(tools, ignore_errors=True)
            unfinished.rename(venv)
    return venv


def model_environment(venv: Path, own: dict[str, str]) -> dict[str, str]:
    """The environment variables of a model's code: its own, and this process's without those of this package.

    The latter hold the token.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("REPLICATE_")}
    path = f"{venv / 'bin'}:{own.get('PATH', inherited.get('PATH', os.defpath))}"
    return {**inherited, **own, "PATH": path, "VIRTUAL_ENV": str(venv)}


async def _build(  # noqa: PLR0913, PLR0917 - the model, two folders and two callbacks
    model: LocalModel,
    ingredients: Recipe,
    venv: Path,
    tools: Path,
    on_notice: Callable[[str], None],
    on_detail: Callable[[str], None],
) -> None:
    try:
        from uv import find_uv_bin  # noqa: PLC0415 - ships a large binary, and is needed only to build

        uv = find_uv_bin()
    except (ModuleNotFoundError, FileNotFoundError):
        raise missing("uv") from None
    own = {"UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}
    if not has_home() and "UV_CACHE_DIR" not in os.environ:
        own["UV_CACHE_DIR"] = str(venv.with_name("uv"))  # otherwise uv puts its cache into the model's folder
    environment = model_environment(venv, own)
    python, running_python = ingredients.python, "{}.{}.{}".format(*sys.version_info)
    if not python or f"{running_python}.".startswith(f"{python}."):
        python = sys.executable
    elif (await run((uv, "python", "find", "--no-project", python), environment))[0]:
        on_notice(f"{model.slug} asks for Python {python}, which is not installed: using {running_python}")
        python = sys.executable
    packages = ["--", *ingredients.packages]
    if ingredients.requirements:
        requirements = venv.with_suffix(".requirements")
        requirements.write_text(ingredients.requirements, "utf-8")
        packages = ["--requirements", str(requirements), *packages]
    # Relocatable, because it is renamed when it is complete.
    steps: list[tuple[str, ...]] = [
        (uv, "venv", "--no-project", "--relocatable", "--python", python, str(venv)),
        (uv, "pip", "install", "--python", str(venv / "bin" / "python"), *packages),
    ]
    steps += [("/bin/sh", "-c", command) for command in ingredients.commands]
    _write_tools(tools, uv)
    environment["PATH"] = environment["PATH"].replace(":", f":{tools}:", 1)  # before any other pip
    for step in steps:
        code, output = await run(step, environment, model.folder, partial(_report_progress, model, on_detail))
        if code:
            lines = [line.strip() for line in output.splitlines() if line.strip()]
            tail = " | ".join(lines[-_ERROR_LINES:]) or f"exit code {code}"
            raise LocalError(f"{model.slug}: its Python environment could not be made: {tail}")


def _write_tools(folder: Path, uv: str) -> None:
    """Write scripts for the commands in ``build.run``: ``uv``, and ``pip``, which uv's environments do not have."""
    folder.mkdir()
    for name, words in (("uv", ""), ("pip", " pip"), ("pip3", " pip")):
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.quote(uv)}{words} "$@"\n', "utf-8")
        (folder / name).chmod(0o755)


def _report_progress(model: LocalModel, on_detail: Callable[[str], None], line: str) -> None:
    text = line.strip()
    if text and not text.startswith(_NOT_REPORTED):
        on_detail(f"{model.slug}: {text}")


@asynccontextmanager
async def _lock(file: Path) -> AsyncIterator[None]:
    """A lock that one process holds at a time. The system releases it when that process dies."""
    with file.open("wb") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.05)  # a blocking call would occupy a thread
        yield

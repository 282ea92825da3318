"""A virtual environment a model, made by ``uv`` from its ``cog.yaml``, kept by what went into it."""

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
_SHOWN = 6  # lines of a tool's output that an error repeats
_UNTOLD = ("+ ", "- ", "~ ", "Using ", "Creating ", "Activate ", "Audited ")  # what uv says besides its progress


class Recipe(msgspec.Struct, frozen=True):
    """All that decides what is in the environment. ``python`` is empty for the interpreter that runs this."""

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
    """What the ``build`` section asks for and is not done here, as one line; empty where there is nothing."""
    build = model.config.build
    asked = [f"system_packages ({', '.join(build.system_packages)})"] if build.system_packages else []
    asked += [name for name in ("gpu", "cuda", "cudnn") if getattr(build, name)]
    if not asked:
        return ""
    return f"{model.slug}: what cog.yaml says of {', '.join(asked)} is not done here: it runs with what this system has"


async def ensure_venv(
    model: LocalModel, folder: Path, on_notice: Callable[[str], None], on_detail: Callable[[str], None] = lambda _: None
) -> Path:
    """The model's environment below ``folder``, built first where it is not there yet.

    It counts once it has its final name, so a build that was killed is built again; two processes that want the
    same one build it once. ``on_detail`` gets what the tools print. Raises LocalError with the last lines of what
    failed.
    """
    made = recipe(model)
    place = folder / made.key
    if (place / "bin" / "python").exists():
        return place
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - asks the file system once, before anything else can go on
    async with _lock(folder / f"{made.key}.lock"):
        if not (place / "bin" / "python").exists():
            first = f", {model.size}" if model.size else ""
            on_notice(f"preparing {model.slug} (once: its Python environment{first})")
            unfinished, tools = folder / f"{made.key}.unfinished", folder / f"{made.key}.tools"
            for rest in (unfinished, tools, place):  # of a build that was killed
                await asyncio.to_thread(shutil.rmtree, rest, ignore_errors=True)
            try:
                await _build(model, made, unfinished, tools, on_notice, on_detail)
            except LocalError:  # the disk may be full of it
                await asyncio.to_thread(shutil.rmtree, unfinished, ignore_errors=True)
                raise
            finally:
                shutil.rmtree(tools, ignore_errors=True)
            unfinished.rename(place)
    return place


def model_environment(venv: Path, own: dict[str, str]) -> dict[str, str]:
    """The variables that a model's code runs with: its own, and ours but for those of this package, as the token."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("REPLICATE_")}
    path = f"{venv / 'bin'}:{own.get('PATH', ours.get('PATH', os.defpath))}"
    return {**ours, **own, "PATH": path, "VIRTUAL_ENV": str(venv)}


async def _build(  # noqa: PLR0913, PLR0917 - where it is made, and who is told what
    model: LocalModel,
    made: Recipe,
    place: Path,
    tools: Path,
    on_notice: Callable[[str], None],
    on_detail: Callable[[str], None],
) -> None:
    try:
        from uv import find_uv_bin  # noqa: PLC0415 - ships a binary of its own, asked for only to build something

        tool = find_uv_bin()
    except (ModuleNotFoundError, FileNotFoundError):
        raise missing("uv") from None
    own = {"UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}
    if not has_home() and "UV_CACHE_DIR" not in os.environ:
        own["UV_CACHE_DIR"] = str(place.with_name("uv"))  # else it would be in the model's own folder
    environment = model_environment(place, own)
    python, running = made.python, "{}.{}.{}".format(*sys.version_info)
    if not python or f"{running}.".startswith(f"{python}."):
        python = sys.executable
    elif (await run((tool, "python", "find", "--no-project", python), environment))[0]:
        on_notice(f"{model.slug} asks for Python {python}, which is not installed: using {running}")
        python = sys.executable
    wanted = ["--", *made.packages]
    if made.requirements:
        listed = place.with_suffix(".requirements")
        listed.write_text(made.requirements, "utf-8")
        wanted = ["--requirements", str(listed), *wanted]
    # Relocatable, since it moves to its final name when it is complete.
    steps: list[tuple[str, ...]] = [
        (tool, "venv", "--no-project", "--relocatable", "--python", python, str(place)),
        (tool, "pip", "install", "--python", str(place / "bin" / "python"), *wanted),
    ]
    steps += [("/bin/sh", "-c", command) for command in made.commands]
    _write_tools(tools, tool)
    environment["PATH"] = environment["PATH"].replace(":", f":{tools}:", 1)  # before any other pip
    for step in steps:
        code, output = await run(step, environment, model.folder, partial(_tell, model, on_detail))
        if code:
            lines = [line.strip() for line in output.splitlines() if line.strip()]
            tail = " | ".join(lines[-_SHOWN:]) or f"exit code {code}"
            raise LocalError(f"{model.slug}: its Python environment could not be made: {tail}")


def _write_tools(folder: Path, uv: str) -> None:
    """What commands in ``build.run`` may call besides what is installed: ``uv``, and it under the name of ``pip``."""
    folder.mkdir()
    for name, words in (("uv", ""), ("pip", " pip"), ("pip3", " pip")):
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.quote(uv)}{words} "$@"\n', "utf-8")
        (folder / name).chmod(0o755)


def _tell(model: LocalModel, on_detail: Callable[[str], None], line: str) -> None:
    words = line.strip()
    if words and not words.startswith(_UNTOLD):
        on_detail(f"{model.slug}: {words}")


@asynccontextmanager
async def _lock(place: Path) -> AsyncIterator[None]:
    """Held by one process at a time; the system lets go of it when its holder dies."""
    with place.open("wb") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.05)  # no system call waits for a lock without holding a thread
        yield

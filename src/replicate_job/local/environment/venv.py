"""The models' virtual environments, which ``uv`` makes from ``cog.yaml``. Equal recipes share one environment."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from replicate_job.decoding import decode
from replicate_job.errors import LocalError
from replicate_job.folders import has_home
from replicate_job.local.catalog.folder import copy_folder
from replicate_job.local.environment import commands
from replicate_job.local.environment.process import run
from replicate_job.local.environment.requirements import read_requirements
from replicate_job.local.extra import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from replicate_job.local.catalog.config import Command
    from replicate_job.local.catalog.model import LocalModel

COG = "cog==0.23.1"
OLDEST_PYTHON = (3, 10)
"""The oldest Python on which Cog runs."""
# A model may call pip or its own setup.py. From version 80 on, setuptools does not implement "develop" itself.
_INSTALLERS = ("pip", "setuptools<80")
_ERROR_LINES = 6  # the most lines of a tool's output in an error
_NOT_REPORTED = (
    "+ ",
    "- ",
    "~ ",
    "Using ",
    "Creating ",
    "Activate ",
    "Audited ",
)  # beginnings of uv's lines that show no progress
_RETRIED_AFTER = 3600.0  # seconds until failed commands run again
_COMPLETE = "complete"


class Recipe(msgspec.Struct, frozen=True):
    """The facts that decide what an environment contains. ``python`` is empty for the Python that runs this package."""

    python: str
    packages: tuple[str, ...]
    requirements: str
    commands: tuple[Command, ...]
    running: str = f"{sys.implementation.name}-{sys.version_info[0]}.{sys.version_info[1]}"
    layout: int = 2
    """The version of the way in which environments are made. With a higher number, all environments are built again."""

    @property
    def key(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:32]


class _Outcome(msgspec.Struct, frozen=True):
    """The result of a build. ``notes`` are reported at each preparation; ``failed`` are indexes of ``build.run``."""

    notes: tuple[str, ...] = ()
    failed: tuple[int, ...] = ()


def recipe(model: LocalModel) -> Recipe:
    """Read the section ``build``. Raises LocalError if its requirements file cannot be read."""
    build, requirements = model.config.build, ""
    if name := build.python_requirements:
        try:
            requirements = (model.folder / name).read_text("utf-8-sig")
        except (OSError, UnicodeError) as error:
            raise LocalError(f"{model.slug}: python_requirements {name} cannot be read: {error}") from None
    return Recipe(
        python=str(build.python_version),
        packages=(COG, *build.python_packages),
        requirements=requirements,
        commands=build.commands,
    )


def ignored_settings(model: LocalModel) -> str:
    """A line about the settings of ``cog.yaml`` that have no effect here; empty if there are none."""
    if not model.config.without_effect:
        return ""
    names = ", ".join(model.config.without_effect)
    return f"{model.slug}: ignored settings of cog.yaml: {names}; it runs with what this system has"


async def ensure_venv(
    model: LocalModel, folder: Path, on_notice: Callable[[str], None], on_detail: Callable[[str], None] = lambda _: None
) -> Path:
    """The model's environment below ``folder``, built first if it does not exist yet.

    An environment whose build was killed is built again. Two processes that need the same environment build it once.
    ``on_notice`` is called with a line for each setting of ``cog.yaml`` that could not be applied. Failed commands run
    again after an hour. ``on_detail`` is called with the tools' output. Raises LocalError, with the last lines of the
    step that failed.
    """
    build = _Build(model, recipe(model), folder, on_notice, on_detail)
    if (outcome := build.outcome()) is None or build.is_to_be_retried(outcome):
        folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - a single quick call
        async with _lock(folder / f"{build.venv.name}.lock"):
            # Read again, because another process may have built the environment while this one waited for the lock.
            outcome = build.outcome()
            if outcome is None:
                outcome = await build.make()
            elif build.is_to_be_retried(outcome):
                outcome = await build.retry(outcome)
    for note in outcome.notes:
        on_notice(f"{model.slug}: {note}")
    return build.venv


def model_environment(venv: Path, own: dict[str, str]) -> dict[str, str]:
    """The environment variables of a model's code: ``own``, and those of this process.

    This process's variables ``REPLICATE_…`` are left out, because one of them may be the user's token.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("REPLICATE_")}
    path = f"{venv / 'bin'}:{own.get('PATH', inherited.get('PATH', os.defpath))}"
    return {**inherited, **own, "PATH": path, "VIRTUAL_ENV": str(venv)}


class _Build:
    """Makes a recipe's environment. The environment cannot be moved, because tools write its path into their files."""

    def __init__(
        self,
        model: LocalModel,
        ingredients: Recipe,
        folder: Path,
        on_notice: Callable[[str], None],
        on_detail: Callable[[str], None],
    ) -> None:
        self.venv = folder / ingredients.key
        self._model, self._recipe, self._on_notice, self._on_detail = model, ingredients, on_notice, on_detail
        self._places = commands.Places(self.venv)
        self._notes: list[str] = []
        self._further: list[str] = []
        """The requirement lines that name additional package indexes or pages, which may be unreachable."""

    def outcome(self) -> _Outcome | None:
        """The outcome of an earlier build; None if none was completed."""
        try:
            return decode((self.venv / _COMPLETE).read_bytes(), _Outcome)
        except (OSError, msgspec.DecodeError):
            return None

    def is_to_be_retried(self, outcome: _Outcome) -> bool:
        return bool(outcome.failed) and time.time() - (self.venv / _COMPLETE).stat().st_mtime > _RETRIED_AFTER

    async def make(self) -> _Outcome:
        download = f", {self._model.size}" if self._model.size else ""
        self._on_notice(f"preparing {self._model.slug} (once: its Python environment{download})")
        await self._remove()  # a killed build may have left files
        try:
            await self._install()
            failed = await self._run_commands(range(len(self._recipe.commands)))
        except LocalError:  # the files of the failed build may fill the disk
            await self._remove()
            raise
        return self._complete(failed)

    async def retry(self, outcome: _Outcome) -> _Outcome:
        """Run the failed commands again."""
        return self._complete(await self._run_commands(outcome.failed))

    async def _remove(self) -> None:
        await asyncio.to_thread(shutil.rmtree, self.venv, ignore_errors=True)

    def _complete(self, failed: Sequence[int]) -> _Outcome:
        outcome = _Outcome(tuple(self._notes), tuple(failed))
        (self.venv / _COMPLETE).write_bytes(msgspec.json.encode(outcome))
        return outcome

    async def _install(self) -> None:
        uv = _find_uv()
        environment = model_environment(self.venv, {"UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"})
        if not has_home() and "UV_CACHE_DIR" not in os.environ:
            environment["UV_CACHE_DIR"] = str(self.venv.with_name("uv"))  # not inside the model's folder
        python = await self._python(uv, environment)
        await self._step(
            (uv, "venv", "--no-project", "--python", python, str(self.venv)), environment, self._model.folder
        )
        install = (uv, "pip", "install", "--python", str(self.venv / "bin" / "python"))
        async with self._project():
            await self._step((*install, *_INSTALLERS), environment, self._places.source)
            unreachable: list[str] = []
            while True:
                words = self._packages(unreachable)
                code, output = await run((*install, *words), environment, self._places.source, self._report)
                # As with pip, an additional index or page that cannot be reached is left out.
                found = [line for line in self._further if line.split()[1] in output and "error sending" in output]
                if not code or not found:
                    break
                self._notes.append(f"left out of its packages, as it cannot be reached: {', '.join(found)}")
                unreachable += found
            self._check(code, output)

    def _packages(self, unreachable: Sequence[str]) -> list[str]:
        """The arguments that name the packages to install. Paths of local files lead into the copy of the project."""
        source = self._places.source
        listed_in = source / Path(self._model.config.build.python_requirements).parent
        packages = read_requirements(self._recipe.packages[1:], source)
        listed = read_requirements(self._recipe.requirements.splitlines(), listed_in)
        left_out = [*packages.left_out, *listed.left_out]
        if left_out and not unreachable:
            self._notes.append(f"left out of its packages: {', '.join(left_out)}; it runs with {COG}")
        lines = [line for line in (*packages.lines, *listed.lines) if line not in unreachable]
        self._further = [
            line for line in lines if line.startswith(("--extra-index-url ", "--find-links http", "-f http"))
        ]
        files = {"overrides": [COG], "requirements": lines}
        for name, content in files.items():
            (self._places.temporary / name).write_text("\n".join(content), "utf-8")
        return [
            *("--index-strategy", "unsafe-best-match"),  # as pip does: the best version of any index
            # The requirements of other packages cannot change Cog's version.
            *("--overrides", str(self._places.temporary / "overrides")),
            *("--requirements", str(self._places.temporary / "requirements")),
            *packages.options,
            *listed.options,
            *("--", COG),
        ]

    async def _step(self, words: Sequence[str], environment: dict[str, str], folder: Path) -> None:
        self._check(*await run(words, environment, folder, self._report))

    def _check(self, code: int, output: str) -> None:
        if code:
            reason = _tail(code, output)
            raise LocalError(f"{self._model.slug}: its Python environment could not be made: {reason}")

    async def _python(self, uv: str, environment: dict[str, str]) -> str:
        """The Python that ``cog.yaml`` asks for, if it is installed and Cog runs on it; else this process's Python."""
        asked, running = self._recipe.python, "{}.{}.{}".format(*sys.version_info)
        if not asked or f"{running}.".startswith(f"{asked}."):
            return sys.executable
        found = re.match(r"(\d+)\.(\d+)", asked)
        if found and (int(found[1]), int(found[2])) < OLDEST_PYTHON:
            self._notes.append(f"it asks for Python {asked}, and Cog needs 3.10 or newer: using {running}")
            return sys.executable
        if (await run((uv, "python", "find", "--no-project", asked), environment))[0]:
            self._notes.append(f"it asks for Python {asked}, which is not installed: using {running}")
            return sys.executable
        return asked

    async def _run_commands(self, indexes: Sequence[int]) -> list[int]:
        """Run commands of ``build.run``, and return the indexes of those that failed.

        The commands run in a copy of the project. Files that they add stay in the environment's folder ``src``, for all
        models that share the environment.
        """
        if not indexes:
            return []
        path = model_environment(self.venv, {})["PATH"]
        own = {"HOME": str(self._places.home), "TMPDIR": str(self._places.temporary), "PIP_NO_CACHE_DIR": "1"}
        own |= {"UV_CACHE_DIR": str(self._places.temporary / "uv"), "PATH": f"{self._places.tools}:{path}"}
        if "XDG_CONFIG_HOME" not in os.environ and has_home():
            own["XDG_CONFIG_HOME"] = str(Path.home() / ".config")  # pip's and uv's settings, such as an index
        environment = model_environment(self.venv, {}) | own
        async with self._project():
            return [
                index for index in indexes if not await self._run_command(self._recipe.commands[index], environment)
            ]

    @asynccontextmanager
    async def _project(self) -> AsyncIterator[None]:
        """A context with a copy of the project, into which an installation or commands may write."""
        path = model_environment(self.venv, {})["PATH"]
        await asyncio.to_thread(self._places.make, path, _find_uv())
        await asyncio.to_thread(copy_folder, self._model.folder, self._places.source)
        try:
            yield
        finally:
            await asyncio.to_thread(self._clear)

    async def _run_command(self, command: Command, environment: dict[str, str]) -> bool:
        """Run a command. Returns False if it failed. A step that is skipped is added to the notes of the build."""
        shown = f"build.run: {commands.bare(command)}"
        if secrets := commands.secrets(command):
            self._notes.append(f"{shown}: without its secrets ({', '.join(secrets)})")
        words = commands.words(command, self._places)
        if words is None:
            self._notes.append(f"{shown}: skipped, as this system cannot keep its changes in the model's environment")
            return True
        code, output = await run(words, environment, self._places.source, self._report)
        if skipped := self._places.take_notes():
            self._notes.append(f"{shown}: skipped, as it would change this system: {'; '.join(skipped)}")
        if code:
            self._notes.append(f"{shown}: failed: {_tail(code, output)}")
        return not code

    def _clear(self) -> None:
        """Remove the commands' tools and temporary files, and the copies of the project's own files."""
        for folder in (self._places.tools, self._places.temporary):
            shutil.rmtree(folder, ignore_errors=True)
        for path in sorted(self._model.folder.rglob("*"), reverse=True):
            copy = self._places.source / path.relative_to(self._model.folder)
            if copy.is_dir() and not copy.is_symlink():
                if not any(copy.iterdir()):
                    copy.rmdir()
            else:
                copy.unlink(missing_ok=True)
        for folder in (self._places.source, self._places.home):
            with suppress(OSError):  # it is not empty: the commands have left files for the models
                folder.rmdir()

    def _report(self, line: str) -> None:
        text = line.strip()
        if text and not text.startswith(_NOT_REPORTED):
            self._on_detail(f"{self._model.slug}: {text}")


def _find_uv() -> str:
    try:
        from uv import find_uv_bin  # noqa: PLC0415 - it may be missing, and is needed only to build

        return find_uv_bin()
    except (ModuleNotFoundError, FileNotFoundError):
        raise missing("uv") from None


def _tail(code: int, output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return " | ".join(lines[-_ERROR_LINES:]) or f"exit code {code}"


@asynccontextmanager
async def _lock(file: Path) -> AsyncIterator[None]:
    """A lock between processes. The system releases it when the process that has it dies."""
    with file.open("wb") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.05)  # a blocking call would occupy a thread
        yield

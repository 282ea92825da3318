"""The workspace of a version: copies of its files, which it may change, and a Python into which it may install.

Below one folder, ``<version>/src`` has the model's files. Files that the model adds there stay as long as the version
is stored. A stored version has links to large files. The linked files are copied only while a process of the model
runs, and the copies stay only if the model changes them. So an edit of the code copies no large file.

``<version>/python-<environment>`` is a small virtual environment on top of the shared environment. Packages that the
model itself installs are stored there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from replicate_job.local.catalog.folder import copy_folder, copy_linked_files, link_unchanged_files
from replicate_job.local.catalog.model import LocalModel
from replicate_job.local.environment.venv import model_environment
from replicate_job.local.in_model import PROJECT_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PROJECT_FOLDER = PROJECT_FOLDER.read_text("utf-8")
_DIGEST = hashlib.sha256(_PROJECT_FOLDER.encode()).hexdigest()[:8]
_PROJECT = re.compile(r"""(?<![\w./~-])/src(?=$|[/\s"':])""")
_UNFINISHED = "unfinished-"
_UNUSED_FOR = 30 * 24 * 3600.0  # seconds


class Workspace(msgspec.Struct, frozen=True):
    """A workspace below ``folder``. ``venv`` is the shared environment, and ``model`` the stored version."""

    model: LocalModel
    venv: Path
    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / "src"

    @property
    def python(self) -> Path:
        return self._prefix / "bin" / "python"

    @property
    def exists(self) -> bool:
        return self.source.exists() and self.python.exists() and (self.venv / "bin" / "python").exists()

    @property
    def _prefix(self) -> Path:
        # With the digest in the name, a newer release of this package makes a new folder.
        return self.folder / f"python-{self.venv.name}-{_DIGEST}"

    def variables(self, source: Path | None = None) -> dict[str, str]:
        """The environment variables of the model's code. ``source`` is the folder with the model's files."""
        source = source or self.source
        own = {name: _PROJECT.sub(lambda _: str(source), value) for name, value in self.model.environment.items()}
        if path := own.get("PYTHONPATH"):
            own["PYTHONPATH"] = ":".join(str(self._copy_of(Path(part), source)) for part in path.split(":"))
        environment = model_environment(self.venv, own)
        if (self.venv / "home").is_dir():  # commands of build.run have left files there
            environment["HOME"] = str(self.venv / "home")
        path = f"{self._prefix / 'bin'}:{environment['PATH']}"
        return {**environment, "PATH": path, "VIRTUAL_ENV": str(self._prefix), "COG_PROJECT_FOLDER": str(source)}

    def claim(self) -> IO[bytes] | None:
        """Reserve ``source`` for one server until the returned file is closed, and copy the large files into it.

        None if a server of another process has reserved it, or if the cache is read-only. Raises OSError if the disk
        has no room for a file.
        """
        with _turn(self.folder, waits=True):  # pruning is soon over
            handle = _lock(self.folder)
        if handle:
            try:
                self.copy_linked(self.source)
            except BaseException:
                handle.close()
                raise
        return handle

    def copy(self, target: Path) -> None:
        """Copy the version's files, and the files that the commands of its environment have made."""
        for folder in self._shipped:
            copy_folder(folder, target)

    def copy_linked(self, target: Path) -> None:
        """Copy the files to which ``copy`` has made links."""
        for folder in self._shipped:
            copy_linked_files(folder, target)

    def link_unchanged(self) -> None:
        """Replace the unchanged copies that ``copy_linked`` made in ``source`` by links. This frees disk space."""
        for folder in self._shipped:
            link_unchanged_files(folder, self.source)

    def ships(self, path: Path) -> bool:
        """Whether this file is one that ``copy`` makes. ``path`` is relative to ``source``."""
        return any(os.path.lexists(folder / path) for folder in self._shipped)

    def make(self) -> None:
        """Make the parts that do not exist yet. Each part gets its final name when it is complete."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # the cache may be read-only
            os.utime(self.folder)
        for part, fill in ((self.source, self.copy), (self._prefix, self._make_python), *self._shared()):
            if not part.exists():
                with tempfile.TemporaryDirectory(
                    dir=self.folder, prefix=_UNFINISHED, ignore_cleanup_errors=True
                ) as unfinished:
                    made = Path(unfinished) / "made"
                    fill(made)
                    try:
                        made.rename(part)
                    except OSError:
                        if not part.exists():  # if it exists, another process has made it
                            raise

    def explain(self, error: str, source: Path | None = None) -> str:
        """An error message, with an explanation of ``/src`` if it has that path."""
        if not _PROJECT.search(error):
            return error
        return f"{error} (/src is the project's folder in Cog's container; here it is {source or self.source})"

    @property
    def _shipped(self) -> list[Path]:
        return [folder for folder in (self.venv / "src", self.model.folder) if folder.is_dir()]

    def _shared(self) -> list[tuple[Path, Callable[[Path], None]]]:
        """For each shared folder on PYTHONPATH: the path of its copy, and the function that makes the copy there."""
        parts = [Path(part) for part in self.model.environment.get("PYTHONPATH", "").split(":") if part]
        stored = {
            self.model.folder.parent / part.relative_to(self.model.folder.parent).parts[0]
            for part in parts
            if _is_stored(self.model.folder) and part.is_relative_to(self.model.folder.parent)
        }
        return [
            (self.folder / folder.name, partial(_copy_whole, folder))
            for folder in stored
            if folder != self.model.folder
        ]

    def _copy_of(self, path: Path, source: Path) -> Path:
        """The path for a folder on PYTHONPATH: its copy here if it belongs to the version, else the folder itself."""
        if path.is_relative_to(self.model.folder):
            return source / path.relative_to(self.model.folder)
        if _is_stored(self.model.folder) and path.is_relative_to(self.model.folder.parent):
            return self.folder / path.relative_to(self.model.folder.parent)
        return path

    def _make_python(self, prefix: Path) -> None:
        packages = next(self.venv.glob("lib/python*/site-packages"))
        own = prefix / packages.relative_to(self.venv)
        own.mkdir(parents=True)
        (prefix / "bin").mkdir()
        settings = (self.venv / "pyvenv.cfg").read_text("utf-8")
        (prefix / "pyvenv.cfg").write_text(settings, "utf-8")
        (prefix / "bin" / "python").symlink_to((self.venv / "bin" / "python").readlink())
        for name in ("python3", own.parent.name):
            (prefix / "bin" / name).symlink_to("python")
        for name in ("pip", "pip3"):
            (prefix / "bin" / name).write_text('#!/bin/sh\nexec "$(dirname "$0")/python" -m pip "$@"\n', "utf-8")
            (prefix / "bin" / name).chmod(0o755)
        # The model's own packages come first. Files *.pth are read in the order of their names.
        (own / "1_environment.pth").write_text(f"import site; site.addsitedir({str(packages)!r})\n", "utf-8")
        (own / "2_project_folder.pth").write_text("import cog_project_folder\n", "utf-8")
        (own / "cog_project_folder.py").write_text(_PROJECT_FOLDER, "utf-8")


def prune(folder: Path, versions: Path) -> None:
    """Remove the workspaces below ``folder`` that have not been used for 30 days, and whose version is not stored.

    In the other workspaces, unchanged copies of large files that a killed process has left become links again. A
    workspace that a server uses is not changed.
    """
    for workspace in folder.glob("*"):
        with suppress(OSError):
            used = workspace.stat().st_mtime  # before the lock, whose file may be new
            with _turn(workspace, waits=False) as is_mine:
                handle = _lock(workspace) if is_mine else None
                if handle is None:
                    continue
                with handle:
                    if not (versions / workspace.name).exists() and used < time.time() - _UNUSED_FOR:
                        shutil.rmtree(workspace, ignore_errors=True)
                    else:
                        link_unchanged_files(versions / workspace.name / "0", workspace / "src")


@contextmanager
def _turn(folder: Path, *, waits: bool) -> Iterator[bool]:
    """A lock on the folder itself, for as long as a server prunes the workspace or decides whether it may use it.

    So the short lock of a server that prunes never looks like the lock of a server that uses the workspace. The value
    is False if another server has the lock, or if the file system has no such locks. With ``waits`` it is always True.
    """
    with ExitStack() as stack:
        is_mine = waits
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_mine = True
        yield is_mine


def _lock(folder: Path) -> IO[bytes] | None:
    """Lock a workspace until the returned file is closed. None if it is locked, or if the cache is read-only."""
    with suppress(OSError):
        handle = (folder / "lock").open("wb")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return None
        return handle
    return None


def _copy_whole(source: Path, target: Path) -> None:
    copy_folder(source, target)
    copy_linked_files(source, target)


def _is_stored(folder: Path) -> bool:
    """Whether ``folder`` is the main folder of a stored version, and not that of a built-in model."""
    return (folder.parent / "about.json").exists()

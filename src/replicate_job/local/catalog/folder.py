"""What lies in a model's folder: its files, a fingerprint of them, and what is no part of the model."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

import msgspec

_NOT_THE_MODEL = frozenset(
    {
        *("__pycache__", ".cog", ".git", ".hg", ".svn", ".venv", "node_modules", ".tox", ".nox", ".idea", ".vscode"),
        *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".ipynb_checkpoints", ".DS_Store"),
    }
)
_WRITTEN_BESIDE = "outputs"  # where our own command saves results, in the folder that it is run in
_IGNORE = ".dockerignore"
_KNOWN_DIGESTS = 100_000


class FolderEntry(msgspec.Struct, frozen=True):
    """A file, or a link to a folder, at ``name`` below the model's folder (with ``/``).

    ``mark`` is its size, time of change and inode: while it stays, so does the content, as far as anyone can tell.
    """

    name: str
    path: Path
    mark: tuple[int, int, int]
    is_executable: bool
    is_folder: bool = False

    @property
    def size(self) -> int:
        return self.mark[0]

    @property
    def digest(self) -> str:
        """The sha256 of the file, or of where the folder is. Read once as long as the mark stays."""
        if self.is_folder:
            return hashlib.sha256(os.fsencode(self.path.resolve())).hexdigest()
        return _digest(self.path, self.mark)


def entries(folder: Path) -> list[FolderEntry]:
    """The model's files by name, without what ``.dockerignore`` leaves out. Raises OSError."""
    ignored = _patterns(folder)
    return sorted(_walk(folder, folder, ignored), key=lambda entry: entry.name)


def fingerprint(slug: str, folders: Iterable[Path]) -> str:
    """The sha256 of the model's name and of all names and contents: of two equal folders each has its own versions."""
    digest = hashlib.sha256(f"{slug} ".encode())
    for folder in folders:
        for entry in entries(folder):
            digest.update(f"{len(entry.name)} {entry.name} {entry.digest} {entry.is_executable:d} ".encode())
        digest.update(b"end ")
    return digest.hexdigest()


def _walk(root: Path, folder: Path, ignored: list[tuple[str, bool]]) -> Iterator[FolderEntry]:
    with os.scandir(folder) as found:
        for item in found:
            path = Path(item.path)
            name = path.relative_to(root).as_posix()
            if item.name in _NOT_THE_MODEL or name == _WRITTEN_BESIDE or item.name.endswith(".pyc"):
                continue
            if _is_ignored(name, ignored) and not (item.is_dir() and any(taken_back for _, taken_back in ignored)):
                continue
            if item.is_dir():
                if item.is_symlink():
                    yield FolderEntry(name, path, (0, 0, 0), is_executable=False, is_folder=True)
                elif not (path / "pyvenv.cfg").exists():
                    yield from _walk(root, path, ignored)
            elif item.is_file():
                facts = item.stat()
                mark = (facts.st_size, facts.st_mtime_ns, facts.st_ino)
                yield FolderEntry(name, path, mark, is_executable=bool(facts.st_mode & 0o100))


def _patterns(folder: Path) -> list[tuple[str, bool]]:
    """The patterns of ``.dockerignore``, and whether each takes back what one before it left out."""
    try:
        lines = (folder / _IGNORE).read_text("utf-8").splitlines()
    except (OSError, UnicodeError):
        return []
    words = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return [(word.removeprefix("!").strip("/").removeprefix("**/"), word.startswith("!")) for word in words]


def _is_ignored(name: str, patterns: list[tuple[str, bool]]) -> bool:
    if name in {"cog.yaml", "README.md"}:  # what we read is there, whatever an image leaves out
        return False
    parts = name.split("/")
    own = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    ignored = False
    for pattern, taken_back in patterns:
        if any(fnmatch(each, pattern) or fnmatch(each, f"*/{pattern}") for each in own):
            ignored = not taken_back
    return ignored


@lru_cache(_KNOWN_DIGESTS)
def _digest(path: Path, _: tuple[int, int, int]) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

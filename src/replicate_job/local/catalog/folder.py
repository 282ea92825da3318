"""The files of a model's folder, and their fingerprint. Caches, repositories and ignored files are left out."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatch
from functools import lru_cache, partial
from pathlib import Path

import msgspec

_NOT_THE_MODEL = frozenset(
    {
        *("__pycache__", ".cog", ".git", ".hg", ".svn", ".venv", "node_modules", ".tox", ".nox", ".idea", ".vscode"),
        *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".ipynb_checkpoints", ".DS_Store"),
    }
)
_OWN_OUTPUTS = "outputs"  # replicate-job itself saves outputs in this folder, below the working directory
_IGNORE_FILE = ".dockerignore"
_CACHED_DIGESTS = 100_000
_CLONE = 0x40049409
"""The number of Linux's ioctl FICLONE, which copies a file by sharing its blocks until one of the files is written to.

Btrfs, XFS and some other file systems support it.
"""
_UNFINISHED = "unfinished copy"


class FolderEntry(msgspec.Struct, frozen=True):
    """A file, or a link to a folder. ``name`` is its path below the model's folder, with ``/``.

    ``mark`` is its size, modification time and inode. While these three stay the same, the content counts as unchanged.
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
        """The sha256 of the file, or of the linked folder's path. A file is read again only if its mark has changed."""
        if self.is_folder:
            return hashlib.sha256(os.fsencode(self.path.resolve())).hexdigest()
        return _digest(self.path, self.mark)


def entries(folder: Path) -> list[FolderEntry]:
    """The model's files, sorted by name, without those that ``.dockerignore`` excludes. Raises OSError."""
    ignored = _patterns(folder)
    return sorted(_walk(folder, folder, ignored), key=lambda entry: entry.name)


def fingerprint(slug: str, folders: Iterable[Path]) -> str:
    """The sha256 of the model's name, and of the names and contents of all its files.

    The model's name is included so that two models with equal folders have different versions.
    """
    digest = hashlib.sha256(f"{slug} ".encode())
    for folder in folders:
        for entry in entries(folder):
            digest.update(f"{len(entry.name)} {entry.name} {entry.digest} {entry.is_executable:d} ".encode())
        digest.update(b"end ")
    return digest.hexdigest()


def copy_folder(source: Path, target: Path) -> None:
    """Copy a stored model's files. The stored files are read-only, but their copies are writable. Links stay links.

    A link to a path in ``source`` becomes a link to the corresponding path in ``target``. ``target`` may exist already.
    Raises OSError.
    """
    ignored = shutil.ignore_patterns(".cog", "__pycache__")
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True, ignore=ignored, copy_function=_copy_file)
    for name, place in _links(source):
        if place.is_absolute() and place.is_relative_to(source) and (target / name).is_symlink():
            (target / name).unlink()
            (target / name).symlink_to(os.path.relpath(place, (source / name).parent))


def copy_linked_files(source: Path, target: Path) -> None:
    """Replace links in ``target`` to files outside of ``source`` by copies of these files.

    ``target`` is a copy of ``source``. Raises OSError.
    """
    for name, place, file in _linked_files(source):
        link = target / name
        if link.is_symlink() and link.readlink() == place:
            _replace(target, link, partial(_clone, file))


def link_unchanged_files(source: Path, target: Path) -> None:
    """Undo ``copy_linked_files`` for each file that has not changed since it was copied.

    If the copy or the original has changed, the copy stays, because it has content that exists nowhere else. Raises
    OSError.
    """
    for name, place, file in _linked_files(source):
        copy = target / name
        if not copy.is_symlink() and copy.is_file() and _mark(copy) == _mark(file):
            _replace(target, copy, partial(os.symlink, place))


def _links(folder: Path) -> Iterator[tuple[Path, Path]]:
    """The path of each link below the folder (relative to it), and the link's target as it is written there."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink():
                yield path.relative_to(folder), path.readlink()


def _linked_files(folder: Path) -> Iterator[tuple[Path, Path, Path]]:
    """Each link of ``_links`` that leads to a file outside of the folder: its path, its target, and that file."""
    for name, place in _links(folder):
        file = (folder / name).resolve()
        if file.is_file() and not file.is_relative_to(folder.resolve()):
            yield name, place, file


def _replace(folder: Path, path: Path, make: Callable[[Path], None]) -> None:
    """Replace ``path`` by the file or link that ``make`` makes at a temporary path. The replacement is one step."""
    (folder / ".cog").mkdir(exist_ok=True)
    unfinished = folder / ".cog" / _UNFINISHED
    unfinished.unlink(missing_ok=True)
    try:
        make(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _clone(source: Path, target: Path) -> None:
    """Copy a file with its modification time. Both share their blocks if the file system supports that."""
    try:
        with source.open("rb") as original, target.open("wb") as copy:
            fcntl.ioctl(copy, _CLONE, original.fileno())
    except OSError:
        shutil.copyfile(source, target)
    facts = source.stat()
    target.chmod(facts.st_mode | 0o600)
    os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _mark(file: Path) -> tuple[int, int]:
    facts = file.stat()
    return facts.st_size, facts.st_mtime_ns


def _copy_file(source: str, target: str) -> str:
    shutil.copyfile(source, target)
    Path(target).chmod(Path(source).stat().st_mode | 0o600)
    return target


def _walk(root: Path, folder: Path, ignored: list[tuple[str, bool]]) -> Iterator[FolderEntry]:
    with os.scandir(folder) as items:
        for item in items:
            path = Path(item.path)
            name = path.relative_to(root).as_posix()
            if item.name in _NOT_THE_MODEL or name == _OWN_OUTPUTS or item.name.endswith(".pyc"):
                continue
            # An ignored folder is searched if any pattern includes files again: one of them may be in it.
            if _is_ignored(name, ignored) and not (item.is_dir() and any(includes for _, includes in ignored)):
                continue
            if item.is_dir():
                if item.is_symlink():
                    yield FolderEntry(name, path, (0, 0, 0), is_executable=False, is_folder=True)
                elif not (path / "pyvenv.cfg").exists():  # a virtual environment under any name
                    yield from _walk(root, path, ignored)
            elif item.is_file():
                facts = item.stat()
                mark = (facts.st_size, facts.st_mtime_ns, facts.st_ino)
                yield FolderEntry(name, path, mark, is_executable=bool(facts.st_mode & 0o100))


def _patterns(folder: Path) -> list[tuple[str, bool]]:
    """The patterns of ``.dockerignore``. The flag is whether a pattern (``!…``) includes excluded files again."""
    try:
        lines = (folder / _IGNORE_FILE).read_text("utf-8").splitlines()
    except (OSError, UnicodeError):
        return []
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return [(text.removeprefix("!").strip("/").removeprefix("**/"), text.startswith("!")) for text in patterns]


def _is_ignored(name: str, patterns: list[tuple[str, bool]]) -> bool:
    """Whether the last pattern that matches the file, or one of its folders, excludes the file."""
    if name in {"cog.yaml", "README.md"}:  # these files are read here, even if they are not part of Cog's image
        return False
    parts = name.split("/")
    paths = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    ignored = False
    for pattern, includes in patterns:
        if any(fnmatch(path, pattern) or fnmatch(path, f"*/{pattern}") for path in paths):
            ignored = not includes
    return ignored


@lru_cache(_CACHED_DIGESTS)
def _digest(path: Path, _: tuple[int, int, int]) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

"""Copies of all versions that were read, so that each version can be run after its model's folder was edited.

Below one folder, ``files/<sha256>`` is the only copy of each content, and ``<version>/`` contains ``about.json`` and a
tree of hard links to the contents. A large file is not copied: the version has a symbolic link to the original. The
file is copied when the version runs (see ``environment.workspace``). The modification time of a version's folder is the
time when the version was last used.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from replicate_job.decoding import decode
from replicate_job.local.catalog.folder import FolderEntry, entries, fingerprint
from replicate_job.local.catalog.model import LocalModel, read_model, shared_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

_ID = re.compile(r"[0-9a-f]{64}")
_LARGE = 32 * 2**20  # the bytes above which a file is linked, and not copied
_NEVER_PRUNED = 10  # the number of versions of each model that always stay: those that were used last
_UNUSED_FOR = 30 * 24 * 3600.0  # seconds
_UNFINISHED = "unfinished-"


class ChangedError(Exception):
    """A file was changed while it was copied."""


class _About(msgspec.Struct, frozen=True):
    owner: str
    name: str
    created_at: float
    environment: dict[str, str]


class Versions:
    """The stored versions in ``folder``. Several processes may use the same folder.

    A file of more than ``large`` bytes is linked, not copied.
    """

    def __init__(self, folder: Path, *, large: int = _LARGE) -> None:
        self._folder, self._large = folder, large
        self._loaded: dict[str, LocalModel] = {}

    def store(self, model: LocalModel) -> LocalModel:
        """Copy a model's version, and return it with the copy as its folder.

        Raises OSError; ChangedError if its folder is being written to.
        """
        if stored := self.find(model.version):
            self.touch(model.version)
            return stored
        with self._lock(fcntl.LOCK_SH):
            return self._add(model)

    def find(self, id: str) -> LocalModel | None:  # noqa: A002 - the API's own name
        """The stored version; None if there is none."""
        folder = self._folder / id
        if id in self._loaded and not folder.exists():  # another process removed it
            del self._loaded[id]
        if id not in self._loaded and _ID.fullmatch(id):
            try:
                about = _about(folder)
            except FileNotFoundError:
                return None
            # The time and PYTHONPATH of the copy are its own. The values of the model are in about.json.
            model = read_model(folder / "0", about.owner, about.name, version=id)
            facts = {"created_at": about.created_at, "environment": about.environment}
            self._loaded[id] = msgspec.structs.replace(model, **facts)
        return self._loaded.get(id)

    def of(self, owner: str, name: str) -> list[LocalModel]:
        """All stored versions of one model, the most recently stored version first."""
        stored_at = []
        for folder in self._version_folders():
            with suppress(FileNotFoundError):  # another process is removing it
                stored_at.append(((folder / "about.json").stat().st_mtime_ns, folder.name))
        models = [self.find(version) for _, version in sorted(stored_at, reverse=True)]
        return [model for model in models if model and (model.owner, model.name) == (owner, name)]

    def touch(self, id: str) -> bool:  # noqa: A002 - the API's own name
        """Note that a version is used now. Returns False if it is not stored any more."""
        try:
            os.utime(self._folder / id)
        except OSError as error:  # the folder may be read-only
            return not isinstance(error, FileNotFoundError)
        return True

    def prune(self) -> None:
        """Remove versions that were not used for 30 days, and the contents that no other version has.

        The ten versions of each model that were used last stay. Nothing is removed while another process stores a
        version: the next start tries again.
        """
        with suppress(BlockingIOError), self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB):
            by_model: defaultdict[tuple[str, str], list[tuple[float, Path]]] = defaultdict(list)
            for folder in self._version_folders():
                with suppress(OSError, msgspec.DecodeError):
                    about = _about(folder)
                    by_model[about.owner, about.name].append((folder.stat().st_mtime, folder))
            for versions in by_model.values():
                for used_at, folder in sorted(versions, reverse=True)[_NEVER_PRUNED:]:
                    if used_at < time.time() - _UNUSED_FOR:
                        self._loaded.pop(folder.name, None)
                        # Renamed first: a version must never be seen with only some of its files.
                        folder.rename(self._folder / f"{_UNFINISHED}{folder.name}")
            for unfinished in self._folder.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(unfinished, ignore_errors=True)
            for file in self._folder.glob("files/*"):
                if file.stat().st_nlink == 1:  # no version links to it
                    file.unlink()

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        """The lock of the folder: shared while a version is stored, exclusive while versions are pruned.

        Pruning removes contents that no version links to. Without the lock, it could remove a content that another
        process is about to link to.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("wb") as handle:
            fcntl.flock(handle, kind)
            yield

    def _version_folders(self) -> Iterator[Path]:
        return (about.parent for about in self._folder.glob("*/about.json") if _ID.fullmatch(about.parent.name))

    def _add(self, model: LocalModel) -> LocalModel:
        shared = shared_folders(model.folder, model.config)
        with tempfile.TemporaryDirectory(
            dir=self._folder, prefix=_UNFINISHED, ignore_cleanup_errors=True
        ) as unfinished:
            for number, folder in enumerate((model.folder, *shared)):
                self._copy(folder, Path(unfinished) / str(number))
            if fingerprint(model.slug, (model.folder, *shared)) != model.version:
                raise ChangedError(str(model.folder))
            final = self._folder / model.version
            # In PYTHONPATH, the paths of the copies replace the paths of the model's folder and of the shared folders.
            path = model.environment.get("PYTHONPATH", "")
            for number, folder in enumerate((model.folder.resolve(), *shared)):
                path = ":".join(_moved(part, folder, final / str(number)) for part in path.split(":"))
            environment = model.environment | ({"PYTHONPATH": path} if path else {})
            about = _About(model.owner, model.name, model.created_at, environment)
            (Path(unfinished) / "about.json").write_bytes(msgspec.json.encode(about))
            try:
                Path(unfinished).rename(final)
            except OSError:
                if not final.exists():  # if it exists, another process has stored it
                    raise
        stored = msgspec.structs.replace(model, folder=final / "0", environment=environment)
        self._loaded[model.version] = stored
        return stored

    def _copy(self, source: Path, target: Path) -> None:
        (self._folder / "files").mkdir(exist_ok=True)
        target.mkdir()
        for entry in entries(source):
            link = target / entry.name
            link.parent.mkdir(parents=True, exist_ok=True)
            place = entry.path.resolve()
            if entry.is_folder and place.is_relative_to(source.resolve()):
                link.symlink_to(os.path.relpath(place, entry.path.parent.resolve()))
            elif entry.is_folder or entry.size > self._large:
                link.symlink_to(place)
            else:
                link.hardlink_to(self._content(entry, link))

    def _content(self, entry: FolderEntry, temporary: Path) -> Path:
        """The stored file with this content. If it does not exist yet, it is made by way of ``temporary``."""
        file = self._folder / "files" / (entry.digest + ("x" if entry.is_executable else ""))
        if not file.exists():
            shutil.copyfile(entry.path, temporary)
            if hashlib.sha256(temporary.read_bytes()).hexdigest() != entry.digest:
                raise ChangedError(str(entry.path))
            temporary.chmod(0o555 if entry.is_executable else 0o444)  # read-only, because many versions share it
            with suppress(FileExistsError):  # another process has stored it
                file.hardlink_to(temporary)
            temporary.unlink()
        return file


def _about(folder: Path) -> _About:
    return decode((folder / "about.json").read_bytes(), _About)


def _moved(part: str, old: Path, new: Path) -> str:
    path = Path(part)
    return str(new / path.relative_to(old)) if part and path.is_relative_to(old) else part

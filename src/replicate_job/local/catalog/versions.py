"""Every version of a model that was seen, kept as it was: editing a model's folder changes none of them.

Below one folder: ``files/<sha256>``, each content once, and ``<version>/`` with ``about.json`` and a tree of hard links
to them. Large files are not copied: there the version has a link to where the file was. When a version was last used
is the time of its folder.
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

from replicate_job.local.catalog.folder import FolderEntry, entries, fingerprint
from replicate_job.local.catalog.model import LocalModel, read_model, shared_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

_ID = re.compile(r"[0-9a-f]{64}")
_LARGE = 32 * 2**20
_LAST = 10  # versions of a model that stay however long they were not used
_LONG = 30 * 24 * 3600.0  # seconds
_UNFINISHED = "unfinished-"


class ChangedError(Exception):
    """A file became another one while it was copied."""


class _About(msgspec.Struct, frozen=True):
    owner: str
    name: str
    created_at: float
    environment: dict[str, str]


class Versions:
    """``folder`` may be shared by several processes. A file above ``large`` bytes is linked, not copied."""

    def __init__(self, folder: Path, *, large: int = _LARGE) -> None:
        self._folder, self._large = folder, large
        self._known: dict[str, LocalModel] = {}

    def keep(self, model: LocalModel) -> LocalModel:
        """The same version, running from its copy. Raises OSError; ChangedError where it is being written."""
        if found := self.find(model.version):
            self.touch(model.version)
            return found
        with self._lock(fcntl.LOCK_SH):
            return self._add(model)

    def find(self, id: str) -> LocalModel | None:  # noqa: A002 - the API's own name
        """The version that was kept; None where there is none."""
        place = self._folder / id
        if id in self._known and not place.exists():  # another process removed it
            del self._known[id]
        if id not in self._known and _ID.fullmatch(id):
            try:
                about = _about(place)
            except FileNotFoundError:
                return None
            model = read_model(place / "0", about.owner, about.name, version=id)
            self._known[id] = msgspec.structs.replace(model, created_at=about.created_at, environment=about.environment)
        return self._known.get(id)

    def of(self, owner: str, name: str) -> list[LocalModel]:
        """All of one model, the last one that was seen first."""
        seen = []
        for place in self._kept():
            with suppress(FileNotFoundError):  # another process removes it just now
                seen.append(((place / "about.json").stat().st_mtime_ns, place.name))
        found = [self.find(name) for _, name in sorted(seen, reverse=True)]
        return [model for model in found if model and (model.owner, model.name) == (owner, name)]

    def touch(self, id: str) -> bool:  # noqa: A002 - the API's own name
        """Note that it is used now; False where it is not there any more."""
        try:
            os.utime(self._folder / id)
        except OSError as error:  # the folder may be read-only
            return not isinstance(error, FileNotFoundError)
        return True

    def prune(self) -> None:
        """Remove versions that nobody used for 30 days, but the last ten of each model, and what only they had.

        Does nothing while another process keeps a version: another time will do.
        """
        with suppress(BlockingIOError), self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB):
            used: defaultdict[tuple[str, str], list[tuple[float, Path]]] = defaultdict(list)
            for place in self._kept():
                with suppress(OSError, msgspec.DecodeError):
                    about = _about(place)
                    used[about.owner, about.name].append((place.stat().st_mtime, place))
            for versions in used.values():
                for at, place in sorted(versions, reverse=True)[_LAST:]:
                    if at < time.time() - _LONG:
                        self._known.pop(place.name, None)
                        place.rename(self._folder / f"{_UNFINISHED}{place.name}")  # gone at once, or not at all
            for left in self._folder.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(left, ignore_errors=True)
            for file in self._folder.glob("files/*"):
                if file.stat().st_nlink == 1:
                    file.unlink()

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        """Keeping shares it, pruning has it alone: a content must not go just before it is linked to."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("wb") as handle:
            fcntl.flock(handle, kind)
            yield

    def _kept(self) -> Iterator[Path]:
        """The folder of each version."""
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
            # Where each shared folder's copy will be, in place of the folder itself.
            path = model.environment.get("PYTHONPATH", "")
            for number, folder in enumerate((model.folder.resolve(), *shared)):
                path = ":".join(_moved(part, folder, final / str(number)) for part in path.split(":"))
            environment = model.environment | ({"PYTHONPATH": path} if path else {})
            about = _About(model.owner, model.name, model.created_at, environment)
            (Path(unfinished) / "about.json").write_bytes(msgspec.json.encode(about))
            try:
                Path(unfinished).rename(final)
            except OSError:
                if not final.exists():  # where it does, another process was faster
                    raise
        kept = msgspec.structs.replace(model, folder=final / "0", environment=environment)
        self._known[model.version] = kept
        return kept

    def _copy(self, source: Path, target: Path) -> None:
        (self._folder / "files").mkdir(exist_ok=True)
        target.mkdir()
        for entry in entries(source):
            place = target / entry.name
            place.parent.mkdir(parents=True, exist_ok=True)
            if entry.is_folder or entry.size > self._large:
                place.symlink_to(entry.path.resolve())
            else:
                place.hardlink_to(self._stored(entry, place))

    def _stored(self, entry: FolderEntry, copy: Path) -> Path:
        """The one file of this content, made from ``copy`` where it is not there yet."""
        place = self._folder / "files" / (entry.digest + ("x" if entry.is_executable else ""))
        if not place.exists():
            shutil.copyfile(entry.path, copy)
            if hashlib.sha256(copy.read_bytes()).hexdigest() != entry.digest:
                raise ChangedError(str(entry.path))
            copy.chmod(0o555 if entry.is_executable else 0o444)  # many versions share it: nobody should write to it
            with suppress(FileExistsError):  # another process was faster
                place.hardlink_to(copy)
            copy.unlink()
        return place


def _about(place: Path) -> _About:
    return msgspec.json.decode((place / "about.json").read_bytes(), type=_About)


def _moved(part: str, old: Path, new: Path) -> str:
    path = Path(part)
    return str(new / path.relative_to(old)) if part and path.is_relative_to(old) else part

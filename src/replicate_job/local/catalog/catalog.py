"""The models that this machine can run: folders ``owner/name/`` with a ``cog.yaml``, and single Cog projects."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from replicate_job.errors import LocalError
from replicate_job.local.catalog.folder import entries
from replicate_job.local.catalog.model import LocalModel, project_name, read_model, shared_folders
from replicate_job.local.catalog.versions import ChangedError, Versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from replicate_job.local.catalog.folder import FolderEntry

BUILT_IN = Path(__file__).parents[2] / "builtin_models"
_ATTEMPTS = 5


class _SeenModel(msgspec.Struct):
    """A model as it was last read from its folder ``source``.

    The files of ``folders`` determine its version; ``entries`` are the files of each of these folders at that time.
    ``checked_at`` is when the files were last compared with ``entries``, by the catalog's clock.
    """

    model: LocalModel
    source: Path
    folders: list[Path]
    entries: list[list[FolderEntry]]
    checked_at: float


class Catalog:
    """Models by name and by version. A model in an earlier folder hides a model of the same name in a later folder.

    A folder contains ``owner/name/cog.yaml``, or is a Cog project itself. Every version that was read is stored below
    ``versions``, so that it can be run after its folder was edited. Without ``versions``, only current versions can be
    run.

    A folder is checked for changes at most once in ``interval`` seconds, and a built-in model's folder never. ``find``,
    ``version`` and ``models`` may read all files of a folder that is new or has changed. Only one thread at a time may
    call these three methods. Other threads may call ``unchanged`` at the same time.
    """

    def __init__(
        self,
        folders: Iterable[Path] = (),
        *,
        versions: Path | None = None,
        interval: float = 0.2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._roots = (*(Path(folder).absolute() for folder in folders), BUILT_IN)
        self._versions = Versions(versions) if versions else None
        self._interval, self._clock = interval, clock
        self._seen: dict[tuple[str, str], _SeenModel] = {}
        self._by_id: dict[str, LocalModel] = {}
        self._sources: dict[tuple[str, str], Path] = {}
        self._empty: list[Path] = []
        self._listed_at = -math.inf
        self.faults: list[str] = []
        """A line for each folder without a model, and for each model that ``models()`` could not read last time."""

    def find(self, owner: str, name: str) -> LocalModel | None:
        """The model of that name; None if there is none. Raises LocalError for a model that cannot be read."""
        if model := self.unchanged(owner, name):
            return model
        # The name comes from a request: it selects a folder of the list, and never becomes part of a path.
        if source := self._list().get((owner, name)):
            try:
                return self._read(owner, name, source)
            except LocalError:
                if (source / "cog.yaml").exists():
                    raise
                self._listed_at = -math.inf  # the folder was removed after the listing
        self._seen.pop((owner, name), None)
        return None

    def fresh(self, owner: str, name: str) -> LocalModel | None:
        """The model of that name if it was checked within the interval; else None. Does not access the disk."""
        seen = self._seen.get((owner, name))
        if seen and (seen.model.is_built_in or self._clock() - seen.checked_at < self._interval):
            return seen.model
        return None

    def unchanged(self, owner: str, name: str) -> LocalModel | None:
        """The model of that name if its files have not changed since it was read; else None. Reads no contents."""
        if model := self.fresh(owner, name):
            return model
        seen, now = self._seen.get((owner, name)), self._clock()
        if seen is None:
            return None
        with suppress(OSError):
            is_listed = self._list().get((owner, name)) == seen.source
            is_stored = seen.model.folder.exists()  # another process may have removed the copy
            if is_listed and is_stored and [entries(folder) for folder in seen.folders] == seen.entries:
                seen.checked_at = now
                return seen.model
        return None

    def seen(self, id: str) -> LocalModel | None:  # noqa: A002 - the API's own name
        """The model of this version if it was read or found before, and is still stored; else None. Reads no file."""
        model = self._by_id.get(id)
        if model and not model.is_built_in and self._versions and not self._versions.touch(id):
            del self._by_id[id]
            return None
        return model

    def version(self, id: str) -> LocalModel | None:  # noqa: A002 - the API's own name
        """The model of this version: a current model, a stored version, or a built-in stand-in. None if none has it."""
        if model := self.seen(id):
            return model
        models = self.models()
        stand_in = next((model for model in models if id in model.published), None)
        if model := stand_in or (self._versions.find(id) if self._versions else None):
            self._by_id[id] = model
        return self.seen(id)

    def versions(self, model: LocalModel) -> list[LocalModel]:
        """All versions of this model that can be run, the current one first, then the latest stored."""
        current = self.find(model.owner, model.name)
        stored = self._versions.of(model.owner, model.name) if self._versions else []
        older = [version for version in stored if current is None or version.version != current.version]
        return [*([current] if current else []), *older]

    def models(self) -> list[LocalModel]:
        """All models that can be read, sorted by name."""
        models, faults = [], []
        for owner, name in sorted(self._list()):
            try:
                model = self.find(owner, name)
                models += [model] if model else []
            except LocalError as error:
                faults.append(str(error))
        advice = "name a folder with a cog.yaml, or one that holds owner/name/cog.yaml"
        self.faults = faults + [f"no model in {root}: {advice}" for root in self._empty]
        return models

    def prune(self) -> None:
        """Remove stored versions that have not been used for 30 days, as ``Versions.prune`` does."""
        if self._versions:
            self._versions.prune()

    def _read(self, owner: str, name: str, source: Path) -> LocalModel:
        for _ in range(_ATTEMPTS):
            with suppress(ChangedError):
                model = read_model(source, owner, name, is_built_in=source.is_relative_to(BUILT_IN))
                folders = [source, *shared_folders(source, model.config)]
                # Listed before the copy is made, so that a change in between is noticed at the next check.
                listed = [entries(folder) for folder in folders]
                if self._versions and not model.is_built_in:
                    model = _stored(model, self._versions)
                self._seen[owner, name] = _SeenModel(model, source, folders, listed, self._clock())
                self._by_id[model.version] = model
                return model
        raise LocalError(f"{source} is being written: try again when its files stay unchanged")

    def _list(self) -> dict[tuple[str, str], Path]:
        """Map the owner and name of each model to its folder."""
        if self._clock() - self._listed_at > self._interval:
            sources: dict[tuple[str, str], Path] = {}
            empty: list[Path] = []
            for root in reversed(self._roots):
                if (root / "cog.yaml").is_file():
                    in_root = {project_name(root): root}
                else:
                    folders = [config.parent for config in root.glob("*/*/cog.yaml")]
                    in_root = {(folder.parent.name, folder.name): folder for folder in folders}
                sources |= in_root
                empty += [] if in_root else [root]
            self._sources, self._empty, self._listed_at = sources, empty, self._clock()
        return self._sources


def _stored(model: LocalModel, versions: Versions) -> LocalModel:
    try:
        return versions.store(model)
    except OSError as error:
        raise LocalError(f"{model.slug} cannot be stored: {error.filename}: {error.strerror}") from None

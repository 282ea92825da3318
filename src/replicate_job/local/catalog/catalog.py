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
_TRIES = 5


class _Known(msgspec.Struct):
    """A model as it was last seen. ``folders`` are those that make its version."""

    model: LocalModel
    place: Path
    folders: list[Path]
    seen: list[list[FolderEntry]]
    looked_at: float


class Catalog:
    """Models by name and by version. A name in an earlier folder hides the same name in a later one.

    A folder holds ``owner/name/cog.yaml``, or is a Cog project itself. ``versions`` is where every version that was
    seen is kept, so that it can be run after its folder was edited; without it, only what is there now can be run.
    Folders are looked at again after ``interval`` seconds; the built-in ones are not. To look at one that is new or was
    edited reads every file of it: one thread at a time may do that, while others ask for what is ``unchanged``.
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
        self._known: dict[tuple[str, str], _Known] = {}
        self._by_id: dict[str, LocalModel] = {}
        self._places: dict[tuple[str, str], Path] = {}
        self._empty: list[Path] = []
        self._listed_at = -math.inf
        self.faults: list[str] = []
        """Folders without a model, and why models could not be read, as of the last ``models()``; a line each."""

    def find(self, owner: str, name: str) -> LocalModel | None:
        """The model of that name; None where there is none. Raises LocalError for one that cannot be read."""
        if model := self.unchanged(owner, name):
            return model
        # The name comes from a request: it picks one of the folders that are there, and never becomes a path.
        if place := self._list().get((owner, name)):
            try:
                return self._read(owner, name, place)
            except LocalError:
                if (place / "cog.yaml").exists():
                    raise
                self._listed_at = -math.inf  # it went since the folders were listed
        self._known.pop((owner, name), None)
        return None

    def fresh(self, owner: str, name: str) -> LocalModel | None:
        """The model of that name if it was looked at within the interval. Reads nothing."""
        known = self._known.get((owner, name))
        if known and (known.model.is_built_in or self._clock() - known.looked_at < self._interval):
            return known.model
        return None

    def unchanged(self, owner: str, name: str) -> LocalModel | None:
        """The model of that name if it was seen and its files are as they were then. Reads none of them."""
        if model := self.fresh(owner, name):
            return model
        known, now = self._known.get((owner, name)), self._clock()
        if known is None:
            return None
        with suppress(OSError):
            is_there = self._list().get((owner, name)) == known.place
            is_kept = known.model.folder.exists()  # another process may have removed the copy
            if is_there and is_kept and [entries(folder) for folder in known.folders] == known.seen:
                known.looked_at = now
                return known.model
        return None

    def seen(self, id: str) -> LocalModel | None:  # noqa: A002 - the API's own name
        """The model of this version if it was asked for before. Reads nothing."""
        found = self._by_id.get(id)
        if found and not found.is_built_in and self._versions and not self._versions.touch(id):
            del self._by_id[id]
            return None
        return found

    def version(self, id: str) -> LocalModel | None:  # noqa: A002 - the API's own name
        """The model of this version: one there is or was, or a built-in one that answers for it."""
        if found := self.seen(id):
            return found
        models = self.models()
        stands_in = next((model for model in models if id in model.published), None)
        if found := stands_in or (self._versions.find(id) if self._versions else None):
            self._by_id[id] = found
        return self.seen(id)

    def versions(self, model: LocalModel) -> list[LocalModel]:
        """All that are kept of this model, the last one that was seen first."""
        current = self.find(model.owner, model.name)
        kept = self._versions.of(model.owner, model.name) if self._versions else []
        older = [each for each in kept if current is None or each.version != current.version]
        return [*([current] if current else []), *older]

    def models(self) -> list[LocalModel]:
        """All that can be read, by name."""
        found, faults = [], []
        for owner, name in sorted(self._list()):
            try:
                model = self.find(owner, name)
                found += [model] if model else []
            except LocalError as error:
                faults.append(str(error))
        advice = "name a folder with a cog.yaml, or one that holds owner/name/cog.yaml"
        self.faults = faults + [f"no model in {root}: {advice}" for root in self._empty]
        return found

    def prune(self) -> None:
        """Remove what ``versions`` holds in vain."""
        if self._versions:
            self._versions.prune()

    def _read(self, owner: str, name: str, place: Path) -> LocalModel:
        for _ in range(_TRIES):
            with suppress(ChangedError):
                model = read_model(place, owner, name, is_built_in=place.is_relative_to(BUILT_IN))
                folders = [place, *shared_folders(place, model.config)]
                seen = [entries(folder) for folder in folders]
                if self._versions and not model.is_built_in:
                    model = _kept(model, self._versions)
                self._known[owner, name] = _Known(model, place, folders, seen, self._clock())
                self._by_id[model.version] = model
                return model
        raise LocalError(f"{place} is being written: try again when it rests")

    def _list(self) -> dict[tuple[str, str], Path]:
        if self._clock() - self._listed_at > self._interval:
            places: dict[tuple[str, str], Path] = {}
            empty: list[Path] = []
            for root in reversed(self._roots):
                if (root / "cog.yaml").is_file():
                    found = {project_name(root): root}
                else:
                    folders = [config.parent for config in root.glob("*/*/cog.yaml")]
                    found = {(folder.parent.name, folder.name): folder for folder in folders}
                places |= found
                empty += [] if found else [root]
            self._places, self._empty, self._listed_at = places, empty, self._clock()
        return self._places


def _kept(model: LocalModel, versions: Versions) -> LocalModel:
    try:
        return versions.keep(model)
    except OSError as error:
        raise LocalError(f"{model.slug} cannot be kept: {error.filename}: {error.strerror}") from None

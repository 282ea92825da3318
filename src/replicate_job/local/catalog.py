"""The models that this machine can run: folders ``owner/name/`` with a ``cog.yaml``."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from replicate_job.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BUILT_IN = Path(__file__).parent / "models"
_NOT_THE_MODEL = frozenset({"__pycache__", ".cog", ".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache"})


class Model(msgspec.Struct, frozen=True):
    """A model's folder as it was read. ``version`` is the sha256 of what lies in it; ``created_at`` a Unix time.

    ``config`` is its ``cog.yaml``, and ``environment`` that section of it, where relative folders in PYTHONPATH have
    become absolute. A built-in model is ``is_official``: it can be run by its name alone.
    """

    owner: str
    name: str
    folder: Path
    config: dict[str, Any]
    environment: dict[str, str]
    version: str
    description: str
    created_at: float
    is_official: bool

    @property
    def slug(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def stands_in(self) -> bool:
        """Whether its README begins by saying that it is not the model of that name."""
        return self.description.startswith("A stand-in")

    @property
    def target(self) -> str:
        """``file.py:Class``, from ``run`` or the older ``predict``."""
        return str(self.config.get("run") or self.config["predict"])

    @property
    def concurrency(self) -> int:
        return int((self.config.get("concurrency") or {}).get("max", 1))


class Catalog:
    """Models by name and by version. A name in an earlier folder hides the same name in a later one."""

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        self._roots = (*(Path(folder).absolute() for folder in folders), BUILT_IN)
        self._read: dict[tuple[str, str], Model] = {}

    def find(self, owner: str, name: str) -> Model | None:
        """The model of that name; None where there is none. Raises LocalError for one that cannot be read."""
        if (owner, name) not in self._read:
            # The name comes from a request: it picks one of the folders that are there, and never becomes a path.
            found = next((place for place in self._places() if place[1:] == (owner, name)), None)
            if found is None:
                return None
            self._read[owner, name] = read_model(found[0] / owner / name, is_official=found[0] == BUILT_IN)
        return self._read[owner, name]

    def version(self, id: str) -> Model | None:  # noqa: A002 - the API's own name
        """The model whose version this is."""
        return next((model for model in self.models() if model.version == id), None)

    def models(self) -> list[Model]:
        """All that can be read, by name."""
        found = []
        for owner, name in sorted({(owner, name) for _, owner, name in self._places()}):
            with suppress(LocalError):  # it is said to those who name it
                model = self.find(owner, name)
                found += [model] if model else []
        return found

    def _places(self) -> Iterator[tuple[Path, str, str]]:
        for root in self._roots:
            for config in root.glob("*/*/cog.yaml"):
                yield root, config.parent.parent.name, config.parent.name


def read_model(folder: Path, *, is_official: bool = False) -> Model:
    """Read a model's folder, whose last two names are its owner and name. Raises LocalError."""
    place = folder / "cog.yaml"
    try:
        config = yaml.safe_load(place.read_text("utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise LocalError(f"{place} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict) or not isinstance(config.get("run") or config.get("predict"), str):
        raise LocalError(f'{place} names no predictor: add run: "run.py:Runner" or predict: "predict.py:Predictor"')
    environment = _environment(config, place)
    shared = [(folder / part).resolve() for part in environment.get("PYTHONPATH", "").split(":") if part]
    if shared:
        environment["PYTHONPATH"] = ":".join(map(str, shared))
    readme = folder / "README.md"
    return Model(
        owner=folder.parent.name,
        name=folder.name,
        folder=folder,
        config=config,
        environment=environment,
        version=_fingerprint([folder, *(path for path in shared if path != folder and path.is_dir())]),
        description=_first_paragraph(readme.read_text("utf-8")) if readme.is_file() else "",
        created_at=max(path.stat().st_mtime for path in _files(folder)),
        is_official=is_official,
    )


def _environment(config: dict[str, Any], place: Path) -> dict[str, str]:
    pairs = [str(item).partition("=") for item in config.get("environment") or ()]
    if wrong := next((name for name, equals, _ in pairs if not equals), None):
        raise LocalError(f"{place}: environment has {wrong!r}, which is not NAME=value")
    return {name: value for name, _, value in pairs}


def _fingerprint(folders: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for folder in folders:
        for path in _files(folder):
            name, content = path.relative_to(folder).as_posix().encode(), path.read_bytes()
            digest.update(b"%d %s %d " % (len(name), name, len(content)))
            digest.update(content)
        digest.update(b"end ")
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if _NOT_THE_MODEL.isdisjoint(path.relative_to(folder).parts))
    return sorted(path for path in found if path.is_file() and path.suffix != ".pyc")


def _first_paragraph(text: str) -> str:
    blocks = (" ".join(block.split()) for block in text.split("\n\n"))
    return next((block for block in blocks if block and not block.startswith("#")), "")

"""A model as its folder describes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from replicate_job.errors import LocalError
from replicate_job.local.catalog.config import Config, read_config
from replicate_job.local.catalog.folder import entries, fingerprint

_IMAGE = re.compile(r"r8\.im/([a-z0-9][a-z0-9._-]*)/([a-z0-9][a-z0-9._-]*)$")
_CONCURRENT = re.compile(
    r"^[ \t]*@(?:cog\.)?concurrent\(\s*max\s*=\s*(\d{1,4})\s*,?\s*\)\s*\n"
    r"(?:[ \t]*@.*\n)*[ \t]*async\s+def\s",
    re.MULTILINE,
)
_UNSAFE = re.compile(r"[^a-z0-9._-]+")


class LocalModel(msgspec.Struct, frozen=True):
    """A model's folder as it was read. ``version`` is the sha256 of what lies in it; ``created_at`` a Unix time.

    ``config`` is its ``cog.yaml``, and ``environment`` that section of it, where relative folders in PYTHONPATH have
    become absolute. A model that ``is_official`` can be run by its name alone. ``is_built_in`` is one of this
    package's: it says how much its first use downloads (``size``, as ``195 MB``), which versions of the real model it
    answers for (``published``, the newest first), and where it stands among them (``rank``). ``example`` is the input
    in its ``example.json``, where it has one.
    """

    owner: str
    name: str
    folder: Path
    config: Config
    environment: dict[str, str]
    version: str
    description: str
    created_at: float
    is_official: bool
    is_built_in: bool = False
    size: str = ""
    published: tuple[str, ...] = ()
    rank: int = 99
    concurrency: int = 1
    example: dict[str, Any] | None = None

    @property
    def slug(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def stands_in(self) -> bool:
        """Whether its README begins by saying that it is not the model of that name."""
        return self.description.startswith("A stand-in")

    @property
    def readme(self) -> str:
        """The whole README.md; empty where there is none."""
        place = self.folder / "README.md"
        return place.read_text("utf-8", "replace") if place.is_file() else ""

    @property
    def cover(self) -> Path | None:
        """A picture of what it does."""
        place = self.folder / "cover.webp"
        return place if place.is_file() else None

    @property
    def target(self) -> str:
        """``file.py:Class``, from ``run`` or the older ``predict``."""
        return self.config.target


class _Example(msgspec.Struct, frozen=True):
    input: dict[str, Any]


class About(msgspec.Struct, frozen=True):
    """A built-in model's ``about.toml``."""

    official: bool = True
    size: str = ""
    published: tuple[str, ...] = ()
    rank: int = 99


def read_model(
    folder: Path, owner: str = "", name: str = "", *, version: str = "", is_built_in: bool = False
) -> LocalModel:
    """Read a model's folder; without a name, its last two names are its owner and name. Raises LocalError.

    ``version`` is given where it is known, to spare the reading of every file.
    """
    config = read_config(folder)
    owner, name = owner or folder.parent.name, name or folder.name
    try:
        about = _about(folder) if is_built_in else About(official=False)
        readme = (folder / "README.md").read_text("utf-8") if (folder / "README.md").is_file() else ""
        return LocalModel(
            owner=owner,
            name=name,
            folder=folder,
            config=config,
            environment=_environment(folder, config),
            version=version or fingerprint(f"{owner}/{name}", [folder, *shared_folders(folder, config)]),
            description=_first_paragraph(readme),
            created_at=max(entry.mark[1] for entry in entries(folder)) / 1e9,
            is_official=about.official,
            is_built_in=is_built_in,
            size=about.size,
            published=about.published,
            rank=about.rank,
            concurrency=_concurrency(folder, config),
            example=_example(folder),
        )
    except (OSError, UnicodeError) as error:
        raise LocalError(f"{folder} cannot be read: {error}") from None


def shared_folders(folder: Path, config: Config) -> list[Path]:
    """Folders beside the model's that its PYTHONPATH names with a relative path: they are part of its version."""
    parts = [Path(part) for part in config.variables.get("PYTHONPATH", "").split(":") if part]
    places = [(folder / part).resolve() for part in parts if not part.is_absolute()]
    return [place for place in places if place.is_dir() and not place.is_relative_to(folder.resolve())]


def project_name(folder: Path) -> tuple[str, str]:
    """Owner and name of a folder that is a Cog project itself: by its ``image`` at Replicate, or ``local/<folder>``."""
    try:
        image = read_config(folder).image
    except LocalError:
        image = ""
    if found := _IMAGE.match(image):
        return found[1], found[2]
    return "local", _UNSAFE.sub("-", folder.resolve().name.lower()).strip("-._") or "model"


def _about(folder: Path) -> About:
    place = folder / "about.toml"
    return msgspec.toml.decode(place.read_bytes(), type=About) if place.exists() else About()


def _environment(folder: Path, config: Config) -> dict[str, str]:
    """Its variables; what PYTHONPATH says of the folder has become absolute."""
    variables = config.variables
    if parts := [part for part in variables.get("PYTHONPATH", "").split(":") if part]:
        variables["PYTHONPATH"] = ":".join(str((folder / part).resolve()) for part in parts)
    return variables


def _concurrency(folder: Path, config: Config) -> int:
    """From ``cog.yaml``, or else from ``@cog.concurrent(max=…)`` where the code has it as a plain number."""
    if config.concurrency:
        return config.concurrency.max
    try:
        code = (folder / config.target.partition(":")[0]).read_text("utf-8")
    except (OSError, UnicodeError):  # it is said when the model is used
        return 1
    # No parser: Python 3.11's, run in a thread while another parses too, raises SystemError at times (seen).
    found = _CONCURRENT.search(code)
    return int(found[1]) if found else 1


def _example(folder: Path) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode((folder / "example.json").read_bytes(), type=_Example).input
    except (OSError, msgspec.DecodeError):
        return None


def _first_paragraph(text: str) -> str:
    blocks = (" ".join(block.split()) for block in text.split("\n\n"))
    return next((block for block in blocks if block and not block.startswith("#")), "")

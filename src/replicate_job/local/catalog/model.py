"""A model, read from its folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from replicate_job.decoding import convert, decode
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
    """A model's folder as it was read. ``created_at`` is a Unix time.

    ``version`` is the fingerprint of its files. ``config`` is its ``cog.yaml``; ``environment`` maps that file's
    variables to their values, with absolute folders in PYTHONPATH. A model that ``is_official`` can be run by its name
    alone. ``example`` is the input in its ``example.json``, or None.

    A model that ``is_built_in`` comes with this package. ``size`` is how much its first use downloads, as ``195 MB``.
    ``published`` lists the versions of the real model for which it stands in, the newest first. ``rank`` is its
    position in the list of the built-in models.
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
        """Whether the model stands in for the real model of that name. Its README says so in the first sentence."""
        return self.description.startswith("A stand-in")

    @property
    def readme(self) -> str:
        """The whole README.md; empty if there is none."""
        file = self.folder / "README.md"
        return file.read_text("utf-8", "replace") if file.is_file() else ""

    @property
    def cover(self) -> Path | None:
        """A picture for the list of models; None if there is none."""
        file = self.folder / "cover.webp"
        return file if file.is_file() else None

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
    """Read a model's folder. By default, ``owner`` and ``name`` are the last two parts of its path.

    Without ``version``, the version is computed from all files. Otherwise only a few files are read. Raises LocalError.
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
    """Folders outside the model's folder that its PYTHONPATH names by a relative path.

    The model's version depends on their files too.
    """
    parts = [Path(part) for part in config.variables.get("PYTHONPATH", "").split(":") if part]
    places = [(folder / part).resolve() for part in parts if not part.is_absolute()]
    return [place for place in places if place.is_dir() and not place.is_relative_to(folder.resolve())]


def project_name(folder: Path) -> tuple[str, str]:
    """The owner and the name of a Cog project.

    They are taken from its ``image``, as in ``r8.im/owner/name``. Otherwise they are ``local`` and the folder's name.
    """
    try:
        image = read_config(folder).image
    except LocalError:
        image = ""
    if match := _IMAGE.match(image):
        return match[1], match[2]
    return "local", _UNSAFE.sub("-", folder.resolve().name.lower()).strip("-._") or "model"


def _about(folder: Path) -> About:
    file = folder / "about.toml"
    return convert(msgspec.toml.decode(file.read_bytes()), About) if file.exists() else About()


def _environment(folder: Path, config: Config) -> dict[str, str]:
    """The model's variables, with PYTHONPATH's relative folders made absolute."""
    variables = config.variables
    if parts := [part for part in variables.get("PYTHONPATH", "").split(":") if part]:
        variables["PYTHONPATH"] = ":".join(str((folder / part).resolve()) for part in parts)
    return variables


def _concurrency(folder: Path, config: Config) -> int:
    """How many predictions may run together, from ``cog.yaml`` or a literal number in ``@cog.concurrent(max=…)``."""
    if config.concurrency:
        return config.concurrency.max
    try:
        code = (folder / config.target.partition(":")[0]).read_text("utf-8")
    except (OSError, UnicodeError):  # this error is reported when the model is used
        return 1
    # ast is not used: Python 3.11's parser sometimes raises SystemError when two threads parse (observed).
    match = _CONCURRENT.search(code)
    return int(match[1]) if match else 1


def _example(folder: Path) -> dict[str, Any] | None:
    try:
        return decode((folder / "example.json").read_bytes(), _Example).input
    except (OSError, msgspec.DecodeError):
        return None


def _first_paragraph(text: str) -> str:
    blocks = (" ".join(block.split()) for block in text.split("\n\n"))
    return next((block for block in blocks if block and not block.startswith("#")), "")

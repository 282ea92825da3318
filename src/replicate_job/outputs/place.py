"""The place for outputs: a folder, or a template for the addresses of files, on the disk or in an object store.

The journal records the place as one text. For a folder, the text is its absolute path, in which nothing is replaced.
For a template, the text is always a URL, even on the disk: ``file:///out/{model}/{id}/{name}``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from replicate_job.aio import in_thread
from replicate_job.errors import JobError
from replicate_job.folders import absolute, expand, working_folder
from replicate_job.outputs.folder import Folder, check_folder
from replicate_job.outputs.names import safe
from replicate_job.outputs.stores.location import SCHEMES, split
from replicate_job.template import Template, escape, has_braces, read_template

if TYPE_CHECKING:
    from replicate_job.outputs.part import Place
    from replicate_job.outputs.stores.stores import Stores

NAMES = ("model", "owner", "name", "date", "key", "id")
"""The names that a template may use. ``name`` is the file's name: ``output-0.webp``."""
ROW_NAMES = ("line", "batch", *NAMES)
"""The names for a batch's rows."""
SHARD = 1000
"""How many rows of a batch share one folder, so that a folder can still be listed."""
_TELL_APART = {"line", "key", "id"}
_SCHEME = r"([A-Za-z][A-Za-z0-9+.-]+)://"
_FILE = "file://"


class Facts(msgspec.Struct, frozen=True):
    """Facts of a job that fill a template. ``claimed_at`` is Unix time. ``folder`` is the id, made safe for a path."""

    model: str
    key: str
    claimed_at: float
    folder: str
    batch: str = ""

    @property
    def values(self) -> dict[str, str]:
        """Maps a template's names to their values. Each value is a valid part of a path; ``model`` is owner/name."""
        owner, _, _ = self.model.rpartition("/")
        return {
            "model": "/".join(map(safe, self.model.split("/"))),
            "owner": safe(owner or "unknown"),
            "date": datetime.fromtimestamp(self.claimed_at, UTC).strftime("%Y-%m-%d"),
            "key": safe(self.key),
            "id": self.folder,
            "batch": safe(self.batch),
        }


def read_save(given: str | Path, *, rows: bool = False) -> str:
    """Convert the place that a user names to the journal's text. ``rows``: the place is for a batch.

    A ``Path`` is a folder, and so is a text without braces that is not the URL of a store. Raises JobError for a
    template with unknown names, or a template that would put the files of several jobs in one place.
    """
    if isinstance(given, Path):
        return _absolute(given)
    found = re.match(_SCHEME, given)
    scheme = found[1].lower() if found else ""
    if scheme in SCHEMES:
        url = f"{scheme}://{given[found.end() :] if found else ''}"
        bucket, key = split(url)
        return _checked(f"{bucket}/{key}" if key else str(bucket), rows=rows)
    if scheme and scheme != "file":
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise JobError(f"outputs cannot be kept in {scheme}://…: name a folder, or a URL of {known}")
    path = given[len(_FILE) :] if scheme else given
    if not has_braces(path):
        return _absolute(Path(path))
    return _checked(_FILE + _absolute_template(path), rows=rows)


def _absolute(folder: Path) -> str:
    """The absolute path: a job may be resumed from another working directory."""
    return str(absolute(expand(folder)))


def _absolute_template(text: str) -> str:
    """The template with an absolute path. Braces in the names of this machine's folders are escaped."""
    first, slash, rest = text.partition("/")
    if first.startswith("~"):
        return escape(str(expand(first))) + slash + rest
    return text if Path(text).is_absolute() else f"{escape(str(working_folder()))}/{text}"


def _checked(url: str, *, rows: bool) -> str:
    template = read_template(url)
    names = template.names
    template.check(ROW_NAMES if rows else NAMES)
    if names and not names & _TELL_APART:
        wanted = "{line}, {key} or {id}" if rows else "{key} or {id}"
        raise JobError(f"{url!r} would put the outputs of several jobs in one place: it needs {wanted}")
    return url


def check_combinations(save: str) -> None:
    """Raise JobError if the template would put the outputs of a row's several combinations in one place."""
    names = read_template(save).names if is_template(save) else frozenset()
    if names and names.isdisjoint(_TELL_APART - {"line"}):
        raise JobError(
            f"{save!r} would put the outputs of several combinations in one place: it needs {{key}} or {{id}}"
        )


def of_row(save: str, line: int) -> str:
    """The journal's text for one row: the template with the row's line number, or the folder that 1,000 rows share."""
    if not is_template(save):
        return str(Path(save, f"{line // SHARD:04d}"))
    template = read_template(save)
    if not template.names:
        return f"{save}/{line // SHARD:04d}"
    return str(template.fill_some({"line": str(line)}))


def is_template(save: str) -> bool:
    return re.match(_SCHEME, save) is not None


def _template(save: str) -> Template:
    """The full template of a file's address. A template without ``{name}`` is a folder for the files."""
    template = read_template(save)
    if not template.names:
        return read_template(save + "/{id}/{name}")
    return template if "name" in template.names else read_template(save + "/{name}")


async def check_place(save: str, stores: Stores) -> None:
    """Raise JobError if nothing can be written at the place, and OutputError for a full disk: see ``check_folder``.

    For a template, the folder before its first name is tested.
    """
    root = root_of(save)
    if is_in_store(root):
        await stores.check(*split(root))
    else:
        await in_thread(check_folder, path_of(root))


def root_of(save: str) -> str:
    """The path or URL of the folder that contains all outputs. For a template, the folder before its first name."""
    return _before(_template(save)) if is_template(save) else save


def is_in_store(place: str) -> bool:
    """Whether a place or folder is in an object store."""
    return is_template(place) and not place.startswith(_FILE)


def path_of(folder: str) -> Path:
    """The path of a folder on the disk, from a path or ``file://`` URL."""
    return Path(folder.removeprefix(_FILE) or "/")


async def find_place(save: str, facts: Facts, stores: Stores) -> Place:
    """The place for a job's outputs. Raises JobError if its store cannot be opened."""
    if not is_template(save):
        return Folder(Path(save, facts.folder))
    template = _template(save).fill_some(facts.values)
    folder = _before(template)
    if save.startswith(_FILE):
        return Folder(path_of(folder), lambda name: path_of(template.fill({"name": name})))
    return await stores.place(split(folder)[0], lambda name: split(template.fill({"name": name}))[1])


def _before(template: Template) -> str:
    """The folder before the template's first name."""
    first = template.parts[0]  # the text before the first name; it begins with the scheme
    return str(first).rpartition("/")[0]

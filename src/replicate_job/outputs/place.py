"""Where outputs go: a folder, or a template of files' addresses, on the disk or in an object store.

A journal has one text for it. A folder is an absolute path, and stands for itself. A template is a URL, also for the
disk: ``file:///out/{model}/{id}/{name}``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from replicate_job.aio import in_thread
from replicate_job.errors import JobError
from replicate_job.folders import expand
from replicate_job.outputs.folder import Folder, check_folder
from replicate_job.outputs.names import safe
from replicate_job.outputs.stores.location import SCHEMES, split
from replicate_job.template import Template, escape, has_braces, read_template

if TYPE_CHECKING:
    from replicate_job.outputs.part import Place
    from replicate_job.outputs.stores.stores import Stores

NAMES = ("model", "owner", "name", "date", "key", "id")
"""What a template may name. ``name`` is the file's: ``output-0.webp``."""
ROW_NAMES = ("line", "batch", *NAMES)
"""The same for rows of a batch."""
SHARD = 1000
"""Rows of a batch whose outputs lie in one folder: each can still be looked at."""
_TELL_APART = {"line", "key", "id"}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_FILE = "file://"


class Facts(msgspec.Struct, frozen=True):
    """What is known of a job whose outputs are kept. ``claimed_at`` is Unix time; ``folder`` is named by its id."""

    model: str
    key: str
    claimed_at: float
    folder: str
    batch: str = ""

    @property
    def values(self) -> dict[str, str]:
        """The values of a template's names, each as one step of a path; ``model`` is ``owner/name``."""
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
    """The journal's text for what a user names. ``rows``: it is for a batch.

    A ``Path``, and a text without braces, is a folder, as it stands, unless it is the URL of a store. Raises JobError
    for a template that cannot be filled, or that would put the files of several jobs in one place.
    """
    if isinstance(given, Path):
        return _absolute(given)
    found = _SCHEME.match(given)
    scheme = found[1].lower() if found else ""
    if scheme in SCHEMES:
        url = f"{scheme}://{given[found.end() :] if found else ''}"
        bucket, key = split(url)
        return _checked(f"{bucket}/{key}" if key else str(bucket), rows=rows)
    if scheme and scheme != "file":
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise JobError(f"outputs cannot be kept in {scheme}://…: there are folders, {known}")
    path = given[len(_FILE) :] if scheme else given
    if not has_braces(path):
        return _absolute(Path(path))
    return _checked(_FILE + _absolute_template(path), rows=rows)


def _absolute(folder: Path) -> str:
    """A job may be resumed from another folder."""
    return str(expand(folder).absolute())


def _absolute_template(text: str) -> str:
    """The template from the root on: what this machine's folders are called is no template."""
    first, slash, rest = text.partition("/")
    if first.startswith("~"):
        return escape(str(expand(first))) + slash + rest
    return text if Path(text).is_absolute() else f"{escape(str(Path.cwd()))}/{text}"


def _checked(url: str, *, rows: bool) -> str:
    template = read_template(url)
    names = template.names
    template.check(ROW_NAMES if rows else NAMES)
    if names and not names & _TELL_APART:
        wanted = "{line}, {key} or {id}" if rows else "{key} or {id}"
        raise JobError(f"{url!r} would put the outputs of several jobs in one place: it needs {wanted}")
    return url


def check_combinations(save: str) -> None:
    """Raise JobError where the template puts the outputs of all combinations of a row in one place."""
    names = read_template(save).names if is_template(save) else frozenset()
    if names and names.isdisjoint(_TELL_APART - {"line"}):
        raise JobError(
            f"{save!r} would put the outputs of several combinations in one place: it needs {{key}} or {{id}}"
        )


def of_row(save: str, line: int) -> str:
    """The text for one row: its template knows its line, its folder is one of a thousand rows."""
    if not is_template(save):
        return str(Path(save, f"{line // SHARD:04d}"))
    template = read_template(save)
    if not template.names:
        return f"{save}/{line // SHARD:04d}"
    return str(template.fill_some({"line": str(line)}))


def is_template(save: str) -> bool:
    return _SCHEME.match(save) is not None


def _template(save: str) -> Template:
    """The whole address of a file: a template that does not name it is that of a folder."""
    template = read_template(save)
    if not template.names:
        return read_template(save + "/{id}/{name}")
    return template if "name" in template.names else read_template(save + "/{name}")


async def check_place(save: str, stores: Stores) -> None:
    """Raise JobError if nothing can be written there, OutputError for a full disk: see ``check_folder``.

    Of a template it is the folder before its first name.
    """
    root = root_of(save)
    if is_in_store(root):
        await stores.check(*split(root))
    else:
        await in_thread(check_folder, path_of(root))


def root_of(save: str) -> str:
    """The folder in which everything lies, whatever a template's names stand for: a path, or a URL."""
    return _before(_template(save)) if is_template(save) else save


def is_in_store(place: str) -> bool:
    """Whether a place, or the folder of one, is in an object store."""
    return is_template(place) and not place.startswith(_FILE)


def path_of(folder: str) -> Path:
    """The path of a folder on the disk, also by its URL."""
    return Path(folder.removeprefix(_FILE) or "/")


async def find_place(save: str, facts: Facts, stores: Stores) -> Place:
    """Raises JobError for a store that cannot be opened."""
    if not is_template(save):
        return Folder(Path(save, facts.folder))
    template = _template(save).fill_some(facts.values)
    folder = _before(template)
    if save.startswith(_FILE):
        return Folder(path_of(folder), lambda name: path_of(template.fill({"name": name})))
    return await stores.place(split(folder)[0], lambda name: split(template.fill({"name": name}))[1])


def _before(template: Template) -> str:
    """The folder in which everything of the template lies, whatever its names stand for."""
    first = template.parts[0]  # with the scheme
    return str(first).rpartition("/")[0]

"""A model's outputs that are files: written when they arrive, and kept until their prediction's data is removed."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from replicate_job.local.files.file_store import StoredFile, is_key, is_name, read_file, safe_name
from replicate_job.local.files.places import find_files, replaced
from replicate_job.local.origin import ORIGIN
from replicate_job.wire.data_url import read_blocks
from replicate_job.wire.media import extension

if TYPE_CHECKING:
    from pathlib import Path

    from replicate_job.local.files.file_store import Drafts
    from replicate_job.wire.openapi import Position

_PATH = re.compile(r"/outputs/([^/]+)/([^/]+)")


class Outputs:
    """``shelves`` has a folder for each prediction with files. A prediction's id must be one that we made."""

    def __init__(self, shelves: Path, drafts: Drafts) -> None:
        self._shelves, self._drafts = shelves, drafts
        self._made: dict[str, dict[Position, StoredFile]] = {}  # of the predictions that run

    async def keep(self, prediction: str, value: Any, document: dict[str, Any], part: int | None = None) -> Any:
        """An output with its data URLs written to files and replaced by their addresses.

        ``part`` is the number of one item of a list. What is at a place already is not written again, so that the
        whole output may follow its parts, until ``forget``. Raises OSError where the disk says no.
        """
        if not is_key(prediction):
            raise ValueError(f"{prediction!r} is not the id of a prediction")

        position = () if part is None else (part,)
        found = find_files(value, document, "Output", position)
        if not found:  # as of the words of a text, for each of which a thread would be too much
            return value
        made = self._made.setdefault(prediction, {})
        await asyncio.to_thread(self._write_all, prediction, found, made)
        addresses = {place: f"{ORIGIN}/outputs/{prediction}/{made[place].name}" for place in found if place in made}
        return replaced(value, addresses, position)

    def _write_all(self, prediction: str, found: dict[Position, str], made: dict[Position, StoredFile]) -> None:
        for position, text in found.items():
            if position not in made and (file := self._write(prediction, position, text)):
                made[position] = file

    def _write(self, prediction: str, position: Position, text: str) -> StoredFile | None:
        """The file, or None for what is no data URL."""
        shelf = self._shelves / prediction
        with suppress(ValueError):
            content_type, blocks = read_blocks(text)
            draft = self._drafts.new()
            try:
                for block in blocks:
                    draft.write(block)
                name = _free_name(shelf, _stem(position), extension(content_type) or ".bin")
                facts = {"id": prediction, "name": name, "content_type": content_type, "created_at": time.time()}
                return draft.keep(shelf, name, **facts)
            finally:
                draft.discard()
        return None

    def get(self, prediction: str, name: str) -> StoredFile | None:
        known = is_key(prediction) and is_name(name)
        return read_file(self._shelves / prediction / name) if known else None

    def find(self, path: str) -> StoredFile | None:
        """The same by the path of its address; None for any other path."""
        found = _PATH.fullmatch(path)
        return self.get(found[1], found[2]) if found else None

    def forget(self, prediction: str) -> None:
        """It has ended: nothing follows that could be known already."""
        self._made.pop(prediction, None)

    def remove(self, prediction: str) -> None:
        """Its data is removed: at once for all who look, and from the disk by and by."""
        if is_key(prediction) and (away := self._drafts.take(self._shelves / prediction)):
            asyncio.get_running_loop().run_in_executor(None, shutil.rmtree, away, True)


def _stem(position: Position) -> str:
    """``output``, ``out-0`` for items, a field's own name in an object."""
    if not position:
        return "output"
    steps = ("out", *position) if isinstance(position[0], int) else position
    return "-".join(map(str, steps)).replace("/", "-")


def _free_name(shelf: Path, stem: str, suffix: str) -> str:
    """Two fields' names may differ in what a file name cannot show."""
    name = safe_name(stem + suffix, "output")
    for number in count(2):
        if not (shelf / name).exists():
            break
        name = safe_name(f"{stem[:80]}-{number}{suffix}", "output")
    return name

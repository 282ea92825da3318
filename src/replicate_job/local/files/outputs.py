"""Output files. They are written to disk when they arrive, and stored until their prediction's data are removed."""

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
    """The output files below ``folder``, in a folder for each prediction. Prediction ids must come from ``new_id``."""

    def __init__(self, folder: Path, drafts: Drafts) -> None:
        self._folder, self._drafts = folder, drafts
        self._stored: dict[str, dict[Position, StoredFile]] = {}  # of the running predictions

    async def store(self, prediction: str, value: Any, document: dict[str, Any], part: int | None = None) -> Any:
        """Write the data URLs in an output to files, and return the output with the files' addresses in their place.

        If ``value`` is one item of a list, ``part`` is the item's number. Until ``forget``, the file at each position
        is stored only once, because the whole output is sent again after its items. Raises OSError.
        """
        if not is_key(prediction):
            raise ValueError(f"{prediction!r} is not the id of a prediction")

        start = () if part is None else (part,)
        urls = find_files(value, document, "Output", start)
        if not urls:  # without URLs no thread is started, for example for the words of a streamed text
            return value
        stored = self._stored.setdefault(prediction, {})
        await asyncio.to_thread(self._write_all, prediction, urls, stored)
        files = {position: stored[position] for position in urls if position in stored}
        addresses = {position: f"{ORIGIN}/outputs/{prediction}/{file.name}" for position, file in files.items()}
        return replaced(value, addresses, start)

    def _write_all(self, prediction: str, urls: dict[Position, str], stored: dict[Position, StoredFile]) -> None:
        for position, url in urls.items():
            if position not in stored and (file := self._write(prediction, position, url)):
                stored[position] = file

    def _write(self, prediction: str, position: Position, url: str) -> StoredFile | None:
        """Store a data URL as a file. None for a text that is not a data URL."""
        folder = self._folder / prediction
        with suppress(ValueError):
            content_type, blocks = read_blocks(url)
            draft = self._drafts.new()
            try:
                for block in blocks:
                    draft.write(block)
                name = _free_name(folder, _stem(position), extension(content_type) or ".bin")
                facts = {"id": prediction, "name": name, "content_type": content_type, "created_at": time.time()}
                return draft.store(folder, name, **facts)
            finally:
                draft.discard()
        return None

    def get(self, prediction: str, name: str) -> StoredFile | None:
        is_safe = is_key(prediction) and is_name(name)
        return read_file(self._folder / prediction / name) if is_safe else None

    def find(self, path: str) -> StoredFile | None:
        """The file whose address has this path; None if there is none."""
        match = _PATH.fullmatch(path)
        return self.get(match[1], match[2]) if match else None

    def forget(self, prediction: str) -> None:
        """Forget the positions of an ended prediction's files. The files stay."""
        self._stored.pop(prediction, None)

    def remove(self, prediction: str) -> None:
        """Remove a prediction's files. They cannot be found any more, and a thread deletes them."""
        if is_key(prediction) and (renamed := self._drafts.take(self._folder / prediction)):
            asyncio.get_running_loop().run_in_executor(None, shutil.rmtree, renamed, True)


def _stem(position: Position) -> str:
    """The file's name without suffix: ``output``, ``out-0`` for an item of a list, or the name of an object's field."""
    if not position:
        return "output"
    steps = ("out", *position) if isinstance(position[0], int) else position
    return "-".join(map(str, steps)).replace("/", "-")


def _free_name(folder: Path, stem: str, suffix: str) -> str:
    """A name that no other file in the folder has, because two field names may become the same file name."""
    name = safe_name(stem + suffix, "output")
    for number in count(2):
        if not (folder / name).exists():
            break
        name = safe_name(f"{stem[:80]}-{number}{suffix}", "output")
    return name

"""How a page reaches the files of a batch: inside it where they are small, else by address."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from replicate_job.wire import data_url
from replicate_job.wire.media import media_type

LARGEST = 300_000
"""Bytes of a picture that is put into the page."""
TOTAL = 12_000_000
"""Characters that all of them may take there."""


class Pictures:
    """Sources for ``<img>``; counts what was embedded so far."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._left = folder, TOTAL

    def source(self, path: Path) -> str:
        """A data URL as long as there is room, else the address."""
        try:
            if path.stat().st_size <= LARGEST:
                url = data_url.encode(media_type(path.name), path.read_bytes())
                if len(url) <= self._left:
                    self._left -= len(url)
                    return url
        except OSError:
            pass  # not readable for us: perhaps it is for the browser
        return address(path, self._folder)


def address(path: Path, folder: Path) -> str:
    """Relative to the page's folder, so that both can be moved together; never read as anything but a path."""
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:  # another drive
        return path.absolute().as_uri()
    return "./" + quote(os.fsencode(Path(relative).as_posix()))


def may_open(path: Path) -> bool:
    """Whether a link is safe: a page or a drawing that a model wrote would run its scripts with the user's files."""
    kind = media_type(path.name)
    return "html" not in kind and "xml" not in kind

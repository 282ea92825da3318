"""The address of a journal in a database. Its password is never shown."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from replicate_job.base_errors import JournalError

LOCAL = "postgres-local:"
"""The prefix for a PostgreSQL server that this program starts from a wheel. The folder of the server's data follows."""

_SCHEMES = ("postgresql://", "postgres://")
_USER = r"(?s)(?<=://)([^:@/?#]*):.*@"  # greedy: a password may hold any of these
_OPTION = r"(?i)([?&](?:ssl)?password=)[^&]*"
_FORM = "postgresql://USER:PASSWORD@HOST:5432/DATABASE, with % codes for what is special in a password (%40 for @)"


class DatabaseURL:
    """A PostgreSQL database: ``postgresql://…``, or ``postgres-local:FOLDER``. ``str`` and ``repr`` hide the password.

    Raises JournalError for any other text.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text
        if not self.folder and not _is_readable(text):
            raise JournalError(f"the journal's URL {self} cannot be read: it is like {_FORM}")

    @classmethod
    def matches(cls, text: str) -> bool:
        """Whether the name of a journal is a database's address, and not a file."""
        return text.startswith(LOCAL) or "://" in text

    @property
    def folder(self) -> str | None:
        """The folder of ``postgres-local``. None for a server that this program does not start."""
        return self._text.removeprefix(LOCAL) if self._text.startswith(LOCAL) else None

    def reveal(self) -> str:
        """The address with its password."""
        return self._text

    def __str__(self) -> str:
        return hide_password(self._text)

    def __repr__(self) -> str:
        return f"DatabaseURL({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatabaseURL) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


def hide_password(text: str) -> str:
    """The text with ``***`` in place of the password, if it is an address."""
    return re.sub(_OPTION, r"\1***", re.sub(_USER, r"\1:***@", text))


def _is_readable(text: str) -> bool:
    """Whether the text is a PostgreSQL address in which no part of the password can be mistaken for another part.

    Otherwise a library's errors, which quote hosts, ports and options, could show the password.
    """
    if not text.startswith(_SCHEMES) or re.search(r"%(?![0-9A-Fa-f]{2})", text):
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    pairs = parts.query.split("&") if parts.query else []
    if parts.netloc.count("@") > 1 or "@" in parts.path or parts.fragment or not all("=" in pair for pair in pairs):
        return False
    places = parts.netloc.rpartition("@")[2].split(",")  # there may be several hosts
    return all(re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(:\d*)?", place) for place in places)

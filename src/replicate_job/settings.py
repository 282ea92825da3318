"""The API and the folders of a session: from arguments, else from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from replicate_job.base_errors import JobError, JournalError, MissingVariableError
from replicate_job.database import LOCAL, DatabaseURL
from replicate_job.folders import NAME, absolute, expand, state_folder

TOKEN = "REPLICATE_API_TOKEN"  # noqa: S105 - the name of the variable
BASE_URL = "REPLICATE_BASE_URL"
JOURNAL = "REPLICATE_JOB_JOURNAL"
JOURNAL_FILE = "REPLICATE_JOB_JOURNAL_FILE"
LIST_LAG = "REPLICATE_JOB_LIST_LAG"
HEADERS = "REPLICATE_JOB_HEADERS"
SLOWEST_LIST = 60.0
"""By default, the most seconds after which the account's list shows a new prediction."""
DEFAULT_BASE_URL = "https://api.replicate.com"
TOKEN_ADVICE = "get a token at https://replicate.com/account/api-tokens"  # noqa: S105 - advice
LOCAL_ADVICE = "or run on this machine without one (--local, in Python local=True)"
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_OWN = {"authorization", "cancel-after", "connection", "content-length", "content-type", "expect", "host", "prefer"}
_OWN |= {"accept-encoding", "te", "trailer", "transfer-encoding", "upgrade"}
"""Headers that define a request. The program writes them itself."""


class Settings(msgspec.Struct, frozen=True):
    """The API, the token, and the folders.

    ``state`` is the folder of the default journal and of cached schemas; for a user without a home folder, it is the
    folder of the journal's file, or a temporary folder if the journal is in a database. A ``local`` run needs no token.
    ``list_lag`` is the most seconds after which the account's list shows a new prediction. ``allow_private_outputs``
    also fetches outputs from this machine and private networks, even if the API is elsewhere. ``headers`` go to the API
    with every request, with names in lower case; their values are secrets like the token, and ``repr`` hides these
    secrets.
    """

    token: str | None
    base_url: str
    journal: Path | DatabaseURL
    state: Path
    local: bool = False
    list_lag: float = SLOWEST_LIST
    allow_private_outputs: bool = False
    headers: Mapping[str, str] = {}

    def __repr__(self) -> str:
        secrets = {"token": self.token and "***", "headers": dict.fromkeys(self.headers, "***")}
        shown = {name: secrets.get(name, getattr(self, name)) for name in self.__struct_fields__}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


def read_settings(  # noqa: PLR0913 - each may come as an argument
    environment: Mapping[str, str] = os.environ,
    *,
    token: str | None = None,
    base_url: str | None = None,
    journal: str | Path | None = None,
    local: bool = False,
    allow_private_outputs: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Settings:
    """Arguments take precedence over the environment. Quotes around a variable's value are removed.

    Raises JobError for a token or headers with characters that HTTP does not allow, and JournalError if there is no
    place for the journal.
    """
    folder = state_folder(environment)
    state = folder and absolute(folder)
    place = _place(journal or _read(environment, JOURNAL) or _read_file(environment), state)
    token = unquoted(token) if token else _read(environment, TOKEN)
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise JobError(f"{TOKEN} holds characters that no token has: copy it again")
    return Settings(
        token=None if local else token or None,
        base_url=base_url or _read(environment, BASE_URL) or DEFAULT_BASE_URL,
        journal=place,
        state=state or (place.parent if isinstance(place, Path) else _temporary()),
        local=local,
        list_lag=_read_seconds(environment, LIST_LAG, SLOWEST_LIST),
        allow_private_outputs=allow_private_outputs,
        headers={} if local else _read_headers(environment) if headers is None else _check_headers(headers, "headers"),
    )


def _place(journal: str | Path, state: Path | None) -> Path | DatabaseURL:
    """A file, or a database: ``postgresql://…``, or ``postgres-local:`` with a folder, by default one in ``state``."""
    if isinstance(journal, str) and DatabaseURL.matches(journal):
        if journal.startswith(LOCAL):
            folder = journal.removeprefix(LOCAL) or (state or _temporary()) / "postgres"
            return DatabaseURL(f"{LOCAL}{absolute(expand(folder))}")
        return DatabaseURL(journal)
    if journal:
        # A relative path would lead elsewhere once the program has changed its working folder.
        return absolute(expand(journal))
    if state:
        return state / "journal.db"
    raise JournalError(
        f"there is no home folder for the journal: name its file with {JOURNAL}, or --journal (in Python journal=)"
    )


def _read_file(environment: Mapping[str, str]) -> str:
    """The journal's place from the file that a variable names. Secrets are often mounted as such files."""
    name = _read(environment, JOURNAL_FILE)
    if not name:
        return ""
    try:
        place = unquoted(expand(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise JournalError(f"{JOURNAL_FILE}: {name} cannot be read ({why})") from None
    if not place or "\n" in place:
        raise JournalError(f"{JOURNAL_FILE}: {name} must hold one line, the journal's address or path")
    return place


def _temporary() -> Path:
    import tempfile  # noqa: PLC0415 - for a user without a home

    return Path(tempfile.gettempdir()) / f"{NAME}-{os.getuid() if hasattr(os, 'getuid') else 'user'}"


def _read(environment: Mapping[str, str], name: str) -> str:
    return unquoted(environment.get(name, ""))


def unquoted(text: str) -> str:
    """The text without blanks and quotes around it: ``docker run --env-file`` keeps the quotes of a file."""
    text = text.strip()
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1].strip() if is_quoted else text


def _read_headers(environment: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(_read(environment, HEADERS).splitlines(), 1):
        name, colon, value = line.partition(":")
        if not line.strip():
            continue
        if not colon:
            raise JobError(f"{HEADERS}: line {number} is not like `Name: value`")
        if name.strip().lower() in map(str.lower, found):
            raise JobError(f"{HEADERS}: line {number} has a name that an earlier line has")
        found[name.strip()] = value
    return _check_headers(found, HEADERS)


def _check_headers(headers: Mapping[str, str], source: str) -> dict[str, str]:
    """The headers as they are sent, with names in lower case. No error shows a value."""
    checked: dict[str, str] = {}
    for name, value in headers.items():
        if not (isinstance(name, str) and re.fullmatch(_NAME, name)):
            raise JobError(f"{source}: the name of a header is letters, digits and hyphens, and one is not")
        if name.lower() in _OWN:
            advice = f"put the token in {TOKEN}" if name.lower() == "authorization" else "leave it out"
            raise JobError(f"{source}: {name} is a header that replicate-job writes itself: {advice}")
        text = value.strip() if isinstance(value, str) else ""
        if not text or not (text.isascii() and text.isprintable()):
            raise JobError(f"{source}: the value of {name} is empty, or holds characters that no header can have")
        checked[name.lower()] = text
    return checked


def _read_seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    text = _read(environment, name)
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise JobError(f"{name} is {text!r}: it must be a number of seconds, such as {default:g}")
    return seconds


def check_environment(
    names: tuple[str, ...],
    settings: Settings,
    environment: Mapping[str, str] = os.environ,
    *,
    token_advice: str = f"{TOKEN_ADVICE}, {LOCAL_ADVICE}",
) -> None:
    """Raise MissingVariableError for a named variable that is not set. A local run needs no token."""
    for name in names:
        is_set = settings.local or settings.token if name == TOKEN else environment.get(name)
        if not is_set:
            advice = token_advice if name == TOKEN else "the job's env names it; set it and run again"
            raise MissingVariableError(name, advice)

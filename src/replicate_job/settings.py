"""The API and the folders of a session: from arguments, else from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from replicate_job.errors import JobError, JournalError, MissingVariableError
from replicate_job.folders import expand, state_folder

TOKEN = "REPLICATE_API_TOKEN"  # noqa: S105 - the name of the variable
BASE_URL = "REPLICATE_BASE_URL"
JOURNAL = "REPLICATE_JOB_JOURNAL"
LIST_LAG = "REPLICATE_JOB_LIST_LAG"
SLOWEST_LIST = 60.0
"""By default, the most seconds after which the account's list shows a new prediction."""
DEFAULT_BASE_URL = "https://api.replicate.com"
TOKEN_ADVICE = (
    "get a token at https://replicate.com/account/api-tokens, "  # noqa: S105 - advice
    "or run on this machine without one (--local, in Python local=True)"
)


class Settings(msgspec.Struct, frozen=True):
    """The API, the token, and the folders.

    ``state`` is the folder of the default journal and of cached schemas; for a user without a home it is the journal's
    own folder. A ``local`` run needs no token. ``list_lag`` is the most seconds after which the account's list shows a
    new prediction. ``allow_private_outputs`` also fetches outputs from this machine and private networks, even if the
    API is elsewhere.
    """

    token: str | None
    base_url: str
    journal: Path
    state: Path
    local: bool = False
    list_lag: float = SLOWEST_LIST
    allow_private_outputs: bool = False


def read_settings(  # noqa: PLR0913 - each may come as an argument
    environment: Mapping[str, str] = os.environ,
    *,
    token: str | None = None,
    base_url: str | None = None,
    journal: str | Path | None = None,
    local: bool = False,
    allow_private_outputs: bool = False,
) -> Settings:
    """Arguments win over the environment.

    Raises JobError for a token that no HTTP header can carry, and JournalError if there is no place for the journal.
    """
    state = state_folder(environment)
    place = journal or environment.get(JOURNAL) or (state and state / "journal.db")
    if not place:
        raise JournalError(
            f"there is no home folder for the journal: name its file with {JOURNAL}, or --journal (in Python journal=)"
        )
    file = expand(place)
    token = (token or environment.get(TOKEN) or "").strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise JobError(f"{TOKEN} holds characters that no token has: copy it again")
    return Settings(
        token=None if local else token or None,
        base_url=base_url or environment.get(BASE_URL) or DEFAULT_BASE_URL,
        journal=file,
        state=state or file.parent,
        local=local,
        list_lag=_read_seconds(environment, LIST_LAG, SLOWEST_LIST),
        allow_private_outputs=allow_private_outputs,
    )


def _read_seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "").strip()
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise JobError(f"{name} is {text!r}: it must be a number of seconds, such as {default:g}")
    return seconds


def check_environment(names: tuple[str, ...], settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
    """Raise MissingVariableError for a named variable that is not set. A local run needs no token."""
    for name in names:
        is_set = settings.local or settings.token if name == TOKEN else environment.get(name)
        if not is_set:
            advice = TOKEN_ADVICE if name == TOKEN else "the job's env names it; set it and run again"
            raise MissingVariableError(name, advice)

"""Where to send jobs and where to keep their journal: from arguments, else from the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from replicate_job.errors import JobError, MissingVariableError

TOKEN = "REPLICATE_API_TOKEN"  # noqa: S105 - the name of the variable
BASE_URL = "REPLICATE_BASE_URL"
JOURNAL = "REPLICATE_JOB_JOURNAL"
LIST_LAG = "REPLICATE_JOB_LIST_LAG"
SLOWEST_LIST = 60.0
"""Seconds that the account's list of predictions may be late, where nothing else is said."""
DEFAULT_BASE_URL = "https://api.replicate.com"
TOKEN_ADVICE = "get a token at https://replicate.com/account/api-tokens, or run with --local, which needs none"  # noqa: S105 - advice


class Settings(msgspec.Struct, frozen=True):
    """``state`` is the folder of the journal's default place and of cached schemas. A ``local`` run needs no token.

    ``list_lag`` is how many seconds the account's list of predictions may be late.
    """

    token: str | None
    base_url: str
    journal: Path
    state: Path
    local: bool = False
    list_lag: float = SLOWEST_LIST


def read_settings(
    environment: Mapping[str, str] = os.environ,
    *,
    token: str | None = None,
    base_url: str | None = None,
    journal: str | Path | None = None,
    local: bool = False,
) -> Settings:
    """Arguments win over the environment. Raises JobError for a token that no HTTP header can carry."""
    state = _state_folder(environment)
    token = (token or environment.get(TOKEN) or "").strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise JobError(f"{TOKEN} holds characters that no token has: copy it again")
    return Settings(
        token=None if local else token or None,
        base_url=base_url or environment.get(BASE_URL) or DEFAULT_BASE_URL,
        journal=Path(journal or environment.get(JOURNAL) or state / "journal.db").expanduser(),
        state=state,
        local=local,
        list_lag=_read_seconds(environment, LIST_LAG, SLOWEST_LIST),
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


def _state_folder(environment: Mapping[str, str]) -> Path:
    """The user's folder for state that outlives a program: ``$XDG_STATE_HOME`` on Linux."""
    if sys.platform == "linux":
        # The same place that platformdirs names, without the 4 ms that importing it takes at every start.
        given = environment.get("XDG_STATE_HOME", "").strip()
        return (Path(given) if given else Path("~/.local/state").expanduser()) / "replicate-job"
    from platformdirs import user_state_path  # noqa: PLC0415 - see above

    return user_state_path("replicate-job", appauthor=False)


def check_environment(names: tuple[str, ...], settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
    """Raise MissingVariableError for a variable that is named and not set. A token is needed wherever it is sent."""
    for name in names:
        given = settings.local or settings.token if name == TOKEN else environment.get(name)
        if not given:
            advice = TOKEN_ADVICE if name == TOKEN else "the job's env names it; set it and run again"
            raise MissingVariableError(name, advice)

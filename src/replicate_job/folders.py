"""The user's folders, and paths with ``~``. Some users have no home folder: ``docker run -u 12345``, services."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from replicate_job.base_errors import JobError

NAME = "replicate-job"


def expand(path: str | Path) -> Path:
    """Replace ``~`` by the home folder. Raises JobError for a user without one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise JobError(f"{path}: there is no home folder to stand for ~: write the whole path, or set HOME") from None


def working_folder() -> Path:
    """The current working folder. Raises JobError if it was deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise JobError("the current folder no longer exists: change to another folder") from None


def absolute(path: Path) -> Path:
    """The absolute path, with links in it. Raises JobError for a relative path in a working folder that was deleted."""
    return path if path.is_absolute() else working_folder() / path


def has_home() -> bool:
    return _at_home(Path("~")) is not None


def state_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder for state, inside ``$XDG_STATE_HOME`` on Linux. None for a user without a home folder."""
    if sys.platform == "linux":
        return _below(environment.get("XDG_STATE_HOME", ""), "~/.local/state")
    from platformdirs import user_state_path  # noqa: PLC0415 - not needed on Linux, and it takes 4 ms

    return _at_home(user_state_path(NAME, appauthor=False))


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder for caches, inside ``$XDG_CACHE_HOME`` on Linux. None for a user without a home folder."""
    if sys.platform == "linux":
        return _below(environment.get("XDG_CACHE_HOME", ""), "~/.cache")
    from platformdirs import user_cache_path  # noqa: PLC0415 - not needed on Linux

    return _at_home(user_cache_path(NAME, appauthor=False))


def config_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder for the user's configuration, inside ``$XDG_CONFIG_HOME`` on Linux. None without a home folder."""
    if sys.platform == "linux":
        return _below(environment.get("XDG_CONFIG_HOME", ""), "~/.config")
    from platformdirs import user_config_path  # noqa: PLC0415 - not needed on Linux

    return _at_home(user_config_path(NAME, appauthor=False))


def _below(chosen: str, usual: str) -> Path | None:
    folder = _at_home(Path(chosen.strip() or usual))
    return folder and folder / NAME


def _at_home(path: Path) -> Path | None:
    try:
        return path.expanduser()
    except RuntimeError:
        return None

"""Detects a fork, which lacks its parent's threads and connections."""

from __future__ import annotations

import os
from collections.abc import Callable

from replicate_job.base_errors import ForkedError

_forks = 0
"""The number of forks since this module was imported. Every request compares it, which is faster than asking for the
process id."""


def on_fork(action: Callable[[], None]) -> Callable[[], None]:
    """Register an action that each fork of the process runs."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=action)
    return action


@on_fork
def _count() -> None:
    global _forks  # noqa: PLW0603 - a counter of the process
    _forks += 1


class Owner:
    """Remembers the process in which it was made."""

    def __init__(self) -> None:
        self._forks = _forks

    @property
    def is_here(self) -> bool:
        return self._forks == _forks

    def check(self) -> None:
        """Raise ForkedError in a fork of the process."""
        if self._forks != _forks:
            raise ForkedError

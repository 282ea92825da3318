"""What a process has opened, its forks do not have."""

from __future__ import annotations

import os

from replicate_job.errors import ForkedError

_forks = 0
"""How many forks lie between this process and the first that imported the module. A number is told without asking the
system for the process's own, which each request would do."""


def _count() -> None:
    global _forks  # noqa: PLW0603 - of the process, as it is
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count)


class Owner:
    """The process that it was made in."""

    def __init__(self) -> None:
        self._forks = _forks

    @property
    def is_here(self) -> bool:
        return self._forks == _forks

    def check(self) -> None:
        """Raise ForkedError in a fork of the process."""
        if self._forks != _forks:
            raise ForkedError

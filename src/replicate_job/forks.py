"""What a process has opened, its forks do not have."""

from __future__ import annotations

import os

from replicate_job.errors import ForkedError


class Owner:
    """The process that it was made in."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def is_here(self) -> bool:
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raise ForkedError in a fork of the process."""
        if not self.is_here:
            raise ForkedError

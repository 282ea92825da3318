"""The lease of a process. The process's claims last while the process renews the lease.

This module also detects that another process has died.
"""

from __future__ import annotations

import os
import socket
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from replicate_job.clock import Clock


class Term(NamedTuple):
    """The end of a lease, by the monotonic clock (``until``) and in Unix time (``until_wall``)."""

    until: float
    until_wall: float


class Lease:
    """The lease of this process. It is valid from the first committed term until the end of the last committed term.

    A lapsed lease is never renewed, since other processes may have taken over its jobs.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self._term: Term | None = None

    def next_term(self) -> Term:
        """The term to write to the journal now. It is valid after it was passed to ``renew``."""
        return Term(self._clock.now() + self._seconds, self._clock.time() + self._seconds)

    def renew(self, term: Term) -> bool:
        """Use a term that was committed to the journal. False if the lease has lapsed meanwhile."""
        if self._term and self.left <= 0:
            return False
        self._term = term
        return True

    @property
    def left(self) -> float:
        """Seconds until the lease ends, by the clock that advanced more.

        The other clock may have stopped or been set back.
        """
        if self._term is None:
            return 0.0
        return min(self._term.until - self._clock.now(), self._term.until_wall - self._clock.time())

    @property
    def is_short(self) -> bool:
        return self.left < self._seconds / 2

    @property
    def may_send(self) -> bool:
        """Whether a request sent now reaches the API before another process may take over the job.

        The last third of the lease is reserved for connecting, which takes 5 seconds at most.
        """
        return self.left > self._seconds / 3


class Process(msgspec.Struct, frozen=True):
    """Identifies a process uniquely. ``namespace`` and ``started`` are empty if they are unknown."""

    host: str
    pid: int
    boot: str
    namespace: str
    started: str

    @classmethod
    def current(cls, clock: Clock) -> Process:
        pid = os.getpid()
        namespace = ""
        with suppress(OSError):
            namespace = str(Path("/proc/self/ns/pid").readlink())
        return cls(socket.gethostname(), pid, clock.boot, namespace, _started(pid))

    @property
    def holder(self) -> str:
        """A unique name for this opening of the journal by this process."""
        return f"{self.host} {self.pid} {uuid.uuid4().hex[:8]}"

    def is_dead(self, other: Process) -> bool:
        """Whether the other process has certainly ended.

        A process id is valid only in its namespace and until the machine restarts. So the answer is False for a process
        of another host, namespace or boot, such as a process in another container with the same folder. Only the lease
        shows whether such a process is alive.
        """
        if not self.boot or not self.namespace:
            return False
        if (self.boot, self.namespace, self.host) != (other.boot, other.namespace, other.host):
            return False
        return _started(other.pid) != other.started


def _started(pid: int) -> str:
    """The start time of a process, in ticks since the machine's start. Empty if there is no such live process."""
    if sys.platform != "linux":
        return ""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except OSError:
        return ""
    # A zombie keeps its process id until its parent has waited for it.
    return "" if fields[0] in {b"Z", b"X"} else fields[19].decode()

"""The processor on which the journal's thread runs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from replicate_job.journal.processor import Follower


@contextmanager
def waiting_thread() -> Iterator[int]:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert thread.native_id
        yield thread.native_id
    finally:
        end.set()
        thread.join()


def processors(thread: int) -> set[int]:
    return os.sched_getaffinity(thread) if sys.platform == "linux" else set()


def test_a_thread_follows_its_caller_to_every_processor_where_the_system_allows_it() -> None:
    """Linux alone lets a process place a thread."""
    own = processors(0)
    with waiting_thread() as thread:
        try:
            for processor in own:
                os.sched_setaffinity(0, {processor})
                Follower(thread).follow()
                assert processors(thread) == {processor}
        finally:
            if own:
                os.sched_setaffinity(0, own)
        Follower(thread).follow()
        assert processors(0) == own


def test_a_thread_that_the_system_does_not_place_is_left_alone() -> None:
    with waiting_thread() as ended:
        pass
    Follower(ended).follow()
    Follower(None).follow()


FILTERED = """
import ctypes, platform, struct, sys, tempfile
from pathlib import Path

NUMBER = {"x86_64": 203, "aarch64": 122}[platform.machine()]
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
KILL, ALLOW = 0x80000000, 0x7FFF0000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2
steps = [(LOAD, 0, 0, 0), (JUMP_IF_EQUAL, 0, 1, NUMBER), (RETURN, 0, 0, KILL), (RETURN, 0, 0, ALLOW)]
program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
described = ctypes.create_string_buffer(struct.pack("HL", len(steps), ctypes.addressof(program)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert libc.prctl(PR_SET_SECCOMP, FILTER, ctypes.byref(described), 0, 0) == 0

import asyncio
from replicate_job.journal.sqlite_thread import SQLiteThread

async def main():
    thread = SQLiteThread(Path(sys.argv[1]), lambda _: None, every=60)
    for _ in range(3):
        print(await thread.run(lambda db: db.execute("SELECT 1").fetchone()[0]))
        await asyncio.sleep(0.02)
    await thread.close()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has seccomp")
def test_a_journal_works_where_a_filter_kills_processes_that_place_a_thread(path: Path) -> None:
    """As in a service of systemd with ``SystemCallFilter=~@resources``."""
    done = subprocess.run([sys.executable, "-c", FILTERED, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "1\n1\n1\n"), done.stderr

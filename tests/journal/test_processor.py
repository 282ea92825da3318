"""The processor on which the journal's thread runs."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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

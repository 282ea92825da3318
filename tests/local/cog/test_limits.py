from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.local.cog.limits import LogExcerpt, default_memory, memory_text


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters="[]"))), st.integers(0, 9), st.integers(1, 9))
def test_a_log_excerpt_has_the_head_the_tail_and_the_number_of_characters_left_out(
    texts: list[str], head: int, tail: int
) -> None:
    whole, excerpt = "".join(texts), LogExcerpt(head, tail)
    excerpted = "".join(excerpt.take(text) for text in texts) + excerpt.rest()
    if len(whole) <= head + tail:
        assert excerpted == whole
    else:
        left_out = len(whole) - head - tail
        assert excerpted == f"{whole[:head]}\n[{left_out:,} characters of the log are left out here]\n{whole[-tail:]}"


def test_a_log_excerpt_of_a_long_log_needs_little_memory() -> None:
    excerpt = LogExcerpt(10, 10)
    for _ in range(1000):
        excerpt.take("x" * 7)
    assert len("".join(excerpt._held_back)) < 20  # noqa: SLF001 - its memory use cannot be seen from outside


@pytest.mark.parametrize(("size", "text"), [(6 * 2**30, "6.0 GiB"), (300 * 2**20, "300 MiB")])
def test_amounts_of_memory_are_shown_in_gib_or_mib(size: int, text: str) -> None:
    assert memory_text(size) == text


def test_the_default_memory_limit_is_below_the_machines_memory() -> None:
    with open("/proc/meminfo") as handle:  # noqa: PTH123 - a file of the system
        total = int(re.findall(r"MemTotal:\s+(\d+) kB", handle.read())[0]) * 1024
    assert 0 < default_memory() < total

"""A batch under a rate limit takes as long as the limit requires, and gets few 429s."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from replicate_job.testing import ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

pytestmark = pytest.mark.alone
HELLO = "replicate/hello-world"


def run(command: Command, rows: int, *words: str) -> None:
    """Run the batch to its end, and check that each row has its result."""
    (command.folder / "rows.jsonl").write_text("".join(f'{{"text": "{number}"}}\n' for number in range(rows)))
    process = command.start("batch", HELLO, "rows.jsonl", "--results", "results.jsonl", "--no-save", *words)
    assert process.ends_within(60)
    outcome = process.end()
    assert outcome.code == 0, outcome.err
    assert (command.folder / "results.jsonl").read_bytes().count(b"\n") == rows


def creates(api: ScriptedAPI) -> tuple[float, list[float]]:
    """Seconds from the first create request to the last, and to each refused one."""
    found = [request for request in api.requests if request.operation == "create"]
    first = found[0].time
    return found[-1].time - first, [request.time - first for request in found if request.fault == "rate"]


def test_three_hundred_rows_at_600_a_minute_take_30_seconds(api: ScriptedAPI, command: Command) -> None:
    rows, burst = 300, 10
    api.faults.limit(rate=600 / 60, burst=burst)
    run(command, rows)
    took, refused = creates(api)
    assert took <= (rows - burst) / 10 * 1.05
    assert len(refused) < rows / 100
    assert api.created == rows


def test_a_rate_limit_far_below_the_configured_rate_is_learned_within_a_second(
    api: ScriptedAPI, command: Command
) -> None:
    """The API allows 1 request a second, and the batch is told 100. Only the first burst is refused."""
    rows = 12
    api.faults.limit(rate=1, burst=1)
    run(command, rows, "--rate", "6000/min")
    took, refused = creates(api)
    assert took <= rows * 1.05
    assert all(moment < 1 for moment in refused), refused
    assert api.created == rows


def test_a_rate_limit_that_falls_during_a_batch_is_learned(api: ScriptedAPI, command: Command) -> None:
    """No client can know of the new burst that the server grants when its limit changes."""
    rows, middle = 200, 100
    api.faults.limit(rate=20, burst=10)
    with ThreadPoolExecutor(1) as aside:
        running = aside.submit(run, command, rows, "--rate", "1200/min")
        api.wait_until(lambda: api.created >= middle, seconds=30)
        api.faults.limit(rate=10, burst=10)
        fell, left = time.time(), rows - api.created
        running.result()
    _, refused = creates(api)
    assert api.requests[-1].time - fell <= left / 10 * 1.05 + 0.5
    assert len(refused) <= 4
    assert api.created == rows

"""Processes of a fleet while its database is unreachable end on request, and say what is wrong."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from tests.e2e.fleet import SDXL, Fleet, fleet_of
from tests.line import Line

from replicate_job.testing import ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command
    from tests.postgres import Postgres

GRACE = 20
"""Seconds in which a worker ends."""
PROMPT = 8
"""Seconds in which any other command does."""


@pytest.fixture
def fleet(command: Command, postgres: Postgres, api: ScriptedAPI) -> Iterator[Fleet]:
    with fleet_of(command, postgres, api) as fleet:
        yield fleet


@pytest.fixture
def line(fleet: Fleet) -> Iterator[Line]:
    """The connection of all commands to the database."""
    with Line(fleet.postgres, fleet.name) as line:
        fleet.command.environment["REPLICATE_JOB_JOURNAL"] = line.url
        yield line


Away = Callable[[Line], None]
ways = pytest.mark.parametrize("go_away", [Line.cut, Line.freeze])


@ways
def test_without_the_database_a_worker_ends_within_its_grace_period(fleet: Fleet, line: Line, go_away: Away) -> None:
    fleet.start(1)
    (worker,) = fleet.workers
    worker.line()
    fleet.submit([f"picture {number}" for number in range(200)], "--rate", "600/min")
    fleet.wait(lambda: fleet.api.created >= 20)
    go_away(line)
    time.sleep(3)  # a heartbeat was due
    worker.signal(signal.SIGTERM)
    began = time.monotonic()
    assert worker.ends_within(GRACE + 5)
    assert time.monotonic() - began < GRACE
    assert worker.end().code == 0
    fleet.workers.clear()


@ways
@pytest.mark.parametrize(
    "words", [["batch", SDXL, "rows.jsonl", "--fleet", "--rate", "60/min"], ["results", "--follow"]]
)
def test_following_a_batch_can_be_interrupted_while_the_database_is_unreachable(
    fleet: Fleet, line: Line, go_away: Away, words: list[str]
) -> None:
    batch = fleet.submit([f"picture {number}" for number in range(50)])
    if words[0] == "results":
        words = [*words, batch]
    following = fleet.command.start(*words)
    # The statement that reads the rows with their jobs, which the following repeats, and which no submit needs.
    query = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND strpos(query, 'LEFT JOIN jobs') > 0"
    )
    fleet.wait(lambda: fleet.query(f"{query} AND pid <> pg_backend_pid()"))
    go_away(line)
    time.sleep(2)  # it has looked since
    following.interrupt()
    began = time.monotonic()
    assert following.ends_within(PROMPT * 2)
    assert time.monotonic() - began < PROMPT
    assert following.end().code == 130


@ways
def test_without_the_database_the_health_port_answers_503_and_the_check_of_workers_passes(
    fleet: Fleet, line: Line, go_away: Away
) -> None:
    fleet.start(1, "--health-port", "0")
    told = "".join(fleet.workers[0].line() for _ in range(2))
    origin = re.search(r"(http://127.0.0.1:\d+)/healthz", told)
    assert origin, told
    with urlopen(f"{origin[1]}/healthz") as answer:  # noqa: S310 - loopback
        assert answer.status == 200
    go_away(line)
    began = time.monotonic()
    with pytest.raises(HTTPError, match="503"):
        urlopen(f"{origin[1]}/healthz")  # noqa: S310 - loopback
    assert time.monotonic() - began < PROMPT
    began = time.monotonic()
    assert fleet.command("worker", "--check").code == 0  # the worker waits, and lives
    assert time.monotonic() - began < PROMPT

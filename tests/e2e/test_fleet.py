"""The commands of a fleet, with workers as processes of their own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from tests.e2e.fleet import Fleet, fleet_of

from replicate_job.testing import ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command
    from tests.postgres import Postgres


@pytest.fixture
def fleet(command: Command, postgres: Postgres, api: ScriptedAPI) -> Iterator[Fleet]:
    with fleet_of(command, postgres, api) as fleet:
        yield fleet


def test_a_batch_is_submitted_worked_on_and_read(fleet: Fleet) -> None:
    prompts = [f"picture {number}" for number in range(45)]
    batch = fleet.submit(prompts, "--rate", "none")
    waiting = fleet.command("status", batch, "--json").json
    assert (waiting["rows"], waiting["waiting"], waiting["workers"]) == (45, 45, [])
    assert fleet.command("worker", "--check").code == 1
    fleet.start(2)
    assert fleet.command("worker", "--check").code == 0
    fleet.wait(lambda: fleet.states() == {"collected": 45})
    fleet.check(prompts)
    over = fleet.command("status", batch, "--json").json
    assert (over["succeeded"], over["waiting"], len(over["workers"])) == (45, 0, 2)
    for worker in fleet.workers:
        worker.signal(signal.SIGTERM)
    assert [worker.end().code for worker in fleet.workers] == [0, 0]
    assert fleet.query("SELECT * FROM replicate_job.workers") == []

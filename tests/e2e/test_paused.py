"""A process that is paused (SIGSTOP) while another takes its job over makes no second prediction when it wakes."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replicate_job.testing import Script

if TYPE_CHECKING:
    from tests.e2e.conftest import Command, Process

    from replicate_job.testing import ScriptedAPI

RISER = Path(__file__).with_name("slow_riser.py")
SECOND = "another process has created {first} for this job meanwhile: canceling {second}"


def rise(command: Command, place: str = "nowhere", budget: int = 10) -> Process:
    command.journal.parent.mkdir(exist_ok=True)
    return command.execute([sys.executable, "-W", "error", str(RISER), str(command.journal), str(budget), place])


def stopped(command: Command, place: str, budget: int = 10) -> Process:
    """A process that is stopped at ``place``."""
    process = rise(command, place, budget)
    found, status = os.waitpid(process.pid, os.WUNTRACED)
    assert found == process.pid
    assert os.WIFSTOPPED(status), process.end()
    return process


@pytest.mark.parametrize("place", ["claimed", "intended", "answered"])
def test_a_process_that_was_paused_until_its_lease_ended_creates_no_second_prediction(
    api: ScriptedAPI, command: Command, place: str
) -> None:
    sleeper = stopped(command, place)
    other = rise(command).end()
    assert other.code == 0
    sleeper.signal(signal.SIGCONT)
    woken = sleeper.end()
    assert woken.code == 0
    assert woken.response == other.response
    assert [prediction.id for prediction in api.predictions] == [other.response["prediction_id"]]
    assert api.count("cancel") == 0


def test_a_paused_process_that_continues_waits_for_the_one_that_took_over_its_job(
    api: ScriptedAPI, command: Command
) -> None:
    api.next(Script(duration=float("inf"), output="x"))
    sleeper = stopped(command, "claimed")
    other = rise(command)
    api.wait_until(lambda: api.predictions)
    sleeper.signal(signal.SIGCONT)
    assert "is being run by process" in sleeper.line()
    api.predictions[0].finish()
    assert sleeper.end().response == other.end().response
    assert len(api.predictions) == 1


def test_a_process_paused_during_its_blocking_wait_and_one_that_takes_over_share_one_prediction(
    api: ScriptedAPI, command: Command
) -> None:
    api.next(Script(duration=float("inf"), output="x"))
    sleeper = rise(command)
    api.wait_until(lambda: api.predictions)
    sleeper.signal(signal.SIGSTOP)
    other = rise(command)
    api.wait_until(lambda: api.count("get"))
    api.predictions[0].finish()
    first = other.end()
    sleeper.signal(signal.SIGCONT)
    assert sleeper.end().response == first.response
    assert len(api.predictions) == 1


@pytest.mark.parametrize("output_at", [0.1, None], ids=["answered before its end", "held for the whole budget"])
def test_a_second_prediction_that_cannot_be_prevented_is_detected_and_canceled(
    api: ScriptedAPI, command: Command, output_at: float | None
) -> None:
    sleeper = stopped(command, "guarded", budget=2)
    other = rise(command).end()
    assert other.code == 0
    api.next(Script(duration=float("inf"), output="x", output_at=output_at))
    sleeper.signal(signal.SIGCONT)
    woken = sleeper.end()
    first, second = api.predictions
    assert second.status == "canceled"
    assert first.canceled is None
    assert SECOND.format(first=first.id, second=second.id) in woken.err
    assert woken.response == other.response


def test_a_command_takes_over_the_job_of_a_paused_process(api: ScriptedAPI, command: Command) -> None:
    sleeper = stopped(command, "claimed")
    outcome = command("run", "replicate/hello-world", "text=x", "--key", "k")
    assert outcome.code == 0
    sleeper.signal(signal.SIGCONT)
    assert sleeper.end().response == outcome.response
    assert len(api.predictions) == 1

"""Prune removes old jobs from the journal, and their keys create no second prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

    from replicate_job.testing import ScriptedAPI

HELLO = "replicate/hello-world"


def stored(command: Command) -> bytes:
    return b"".join(path.read_bytes() for path in command.journal.parent.glob("journal*"))


def test_prune_removes_the_data_of_a_job_but_its_key_creates_no_second_prediction(
    api: ScriptedAPI, command: Command
) -> None:
    command("run", HELLO, "text=words of somebody", "--key", "mine")
    assert "1 jobs" in command("prune", "--older-than", "0s", "--dry-run").err
    assert b"words of somebody" in stored(command)
    outcome = command("prune", "--older-than", "0s")
    assert outcome.code == 0
    assert "1 jobs (their keys stay taken)" in outcome.err
    assert b"words of somebody" not in stored(command)
    assert command("run", HELLO, "text=words of somebody", "--key", "mine").response["output"]
    command("prune", "--older-than", "0s")
    api.predictions[0].created -= 7200
    again = command("run", HELLO, "text=words of somebody", "--key", "mine")
    assert again.code == 3
    assert api.predictions[0].id in again.error
    assert "its data were pruned" in again.error
    assert command("run", HELLO, "text=other words", "--key", "mine").code == 2
    assert api.count("create") == 1


def test_a_key_that_prune_has_removed_can_be_used_for_another_job(api: ScriptedAPI, command: Command) -> None:
    command("run", HELLO, "text=x", "--key", "mine")
    assert "nothing is left of them" in command("prune", "--older-than", "0s", "--forget").err
    assert command("run", HELLO, "text=y", "--key", "mine").code == 0
    assert api.count("create") == 2


def test_prune_keeps_recent_jobs_and_unfinished_jobs(command: Command) -> None:
    command("run", HELLO, "text=x", "--no-wait")
    command("run", HELLO, "text=y")
    assert "0 jobs" in command("prune", "--older-than", "30d").err
    command("prune", "--older-than", "0s", "--forget")
    assert len(command("list", "--json").json) == 1


@pytest.mark.parametrize("age", ["", "30", "-1d", "d", "1y"])
def test_prune_refuses_an_age_that_cannot_be_read(command: Command, age: str) -> None:
    outcome = command("prune", "--older-than", age)
    assert outcome.code == (0 if age == "30" else 2)


def test_a_journal_that_others_can_read_causes_a_warning_and_keeps_its_mode(command: Command) -> None:
    command("run", HELLO, "text=x")
    assert oct(command.journal.stat().st_mode)[-3:] == "600"
    command.journal.chmod(0o644)
    assert "other users can read the journal" in command("run", HELLO, "text=y").err
    assert oct(command.journal.stat().st_mode)[-3:] == "644"

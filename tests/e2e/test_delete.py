"""``replicate-job delete``: the deleted data, the kept data, and no second payment."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from replicate_job.testing import Script

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

    from replicate_job.testing import ScriptedAPI

HELLO = "replicate/hello-world"
FLUX = "black-forest-labs/flux-schnell"


def listed(command: Command) -> list[str]:
    return [job["key"] for job in command("list", "--json").json]


def test_a_job_is_deleted_by_its_id_or_its_key_and_its_files_stay(command: Command) -> None:
    first = command("run", FLUX, "prompt=x", "--key", "a").response
    command("run", HELLO, "text=x", "--key", "b")
    command("run", HELLO, "text=y", "--key", "c")
    outcome = command("delete", first["prediction_id"], "b", "b")
    assert (outcome.code, outcome.out) == (0, b"")
    assert outcome.error == "deleted 2 jobs; their outputs stay: 1 file"
    assert listed(command) == ["c"]
    assert (command.folder / first["files"][0]).exists()


@pytest.mark.parametrize("verb", ["run", "wait", "show"])
def test_the_key_of_a_deleted_job_creates_no_second_prediction(api: ScriptedAPI, command: Command, verb: str) -> None:
    words = ("run", HELLO, "text=x", "--key", "a")
    whole = command(*words).response
    command("delete", "a")
    again = command(*(words if verb == "run" else (verb, whole["prediction_id"]))).response
    assert (again["prediction_id"], again["output"]) == (whole["prediction_id"], "hello x")
    assert len(api.predictions) == 1
    other = command("run", HELLO, "text=y", "--key", "a")
    assert other.code == 2
    assert "belongs to another job" in other.error


def test_an_unknown_name_causes_an_error_before_anything_is_deleted(command: Command) -> None:
    command("run", HELLO, "text=x", "--key", "a")
    outcome = command("delete", "a", "nothing", "else")
    assert outcome.code == 2
    assert outcome.error == "error: no job nothing, else: `replicate-job list` shows all jobs"
    assert listed(command) == ["a"]


def test_a_running_job_is_not_deleted(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(duration=math.inf))
    command("run", HELLO, "text=x", "--key", "a", "--no-wait")
    outcome = command("delete", "a")
    assert outcome.code == 2
    assert "the job 'a' is created, and may have to be looked for: finish or cancel it first" in outcome.error
    assert listed(command) == ["a"]

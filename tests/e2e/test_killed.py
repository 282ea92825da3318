"""A job whose process is killed (SIGKILL) at any moment has one prediction, and its result is kept."""

from __future__ import annotations

import hashlib
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.testing import OutputFile, Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

KILLS = 100
TOGETHER = 4
FLUX = "black-forest-labs/flux-schnell"
FAULTS = "create:slow-after(1ms)=0.4,create:drop-after=0.1"
pytestmark = pytest.mark.replicate_api(list_lag=(0.0, 0.5), faults=FAULTS)  # not every create request is held


@pytest.fixture(autouse=True)
def painted(api: ScriptedAPI) -> None:
    """Each prompt has its own picture, so that a mix-up shows."""
    api.models[FLUX] = msgspec.structs.replace(api.models[FLUX], script=_paint)


def _paint(given: dict[str, Any]) -> Script:
    return Script(duration=0.25, boot=0.05, output=[OutputFile(content=picture(given["prompt"]), name="a.webp")])


def picture(prompt: str) -> bytes:
    return b"RIFF0000WEBP" + hashlib.sha256(prompt.encode()).digest() * 4000


def prompt(number: int) -> str:
    """Every fifth job has the prompt of the job before it: they must not share a prediction."""
    return f"picture {number - number % 5 // 4}"


def job(number: int) -> list[str]:
    budget = ["--poll-interval", "0.1", "--max-poll-attempts", "300"]
    return ["run", FLUX, f"prompt={prompt(number)}", "--key", f"job {number}", *budget]


def is_killed(command: Command, number: int, moment: float) -> bool:
    """Kill a new job's process ``moment`` seconds after its start, unless it has ended by then."""
    process = command.start(*job(number))
    if process.ends_within(moment):
        assert process.end().code == 0
        return False
    process.kill()
    return True


def test_a_job_whose_process_is_killed_at_any_moment_has_one_prediction_and_a_saved_output(
    api: ScriptedAPI, command: Command
) -> None:
    seed = random.randrange(2**32)  # noqa: S311 - as below
    moments = random.Random(seed)  # noqa: S311 - repeatable, not secret
    with ThreadPoolExecutor(TOGETHER) as pool:
        api.faults.next("create", *[None] * TOGETHER)
        start = time.monotonic()
        numbers = list(range(TOGETHER))
        list(pool.map(lambda number: command(*job(number)), numbers))
        life = time.monotonic() - start  # of a process, among others
        kills = 0
        while kills < KILLS:
            new = range(len(numbers), len(numbers) + KILLS // 5)
            numbers += new
            kills += sum(pool.map(lambda number: is_killed(command, number, moments.uniform(0, life)), new))
        reached = [row["state"] for row in command.rows("state")]
        story = f"seed {seed}, life {life:.2f} s, {kills} kills, {len(numbers)} jobs: {reached}"
        assert command("resume", "-v").code == 0, story
        assert {row["state"] for row in command.rows("state")} == {"collected"}, story
        outcomes = list(pool.map(lambda number: command(*job(number)), numbers))
    assert {outcome.code for outcome in outcomes} == {0}, story
    responses = [outcome.response for outcome in outcomes]
    assert sorted(each["prediction_id"] for each in responses) == sorted(each.id for each in api.predictions), story
    for number, response in zip(numbers, responses, strict=True):
        (file,) = response["files"]
        assert (command.folder / file).read_bytes() == picture(prompt(number)), story

"""A batch that is killed (SIGKILL) repeatedly at any moment: every row is created once, and its one result is kept."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.testing import OutputFile, Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

SDXL = "stability-ai/sdxl"
FAULTS = "create:drop-after=0.2,get:503=0.025,get:drop=0.025,list:503=0.01,list:drop=0.01"
pytestmark = pytest.mark.replicate_api(list_lag=1, faults=FAULTS)


@pytest.fixture(autouse=True)
def painted(api: ScriptedAPI) -> None:
    """Each prompt has its own picture, so that a mix-up shows."""
    api.models[SDXL] = msgspec.structs.replace(api.models[SDXL], script=_paint)


def _paint(given: dict[str, Any]) -> Script:
    return Script(duration=0.5, boot=0.1, output=[OutputFile(content=picture(given["prompt"]), name="a.webp")])


def picture(prompt: str) -> bytes:
    return b"RIFF0000WEBP" + hashlib.sha256(prompt.encode()).digest() * 100


class Killed:
    """A batch that is killed a given number of times, restarted after each kill, and then runs to its end.

    A tenth of its rows are under way together, so that there is always something to create, to await and to save.
    """

    def __init__(self, api: ScriptedAPI, command: Command, prompts: list[str]) -> None:
        self._api, self._command, self._prompts = api, command, prompts
        lines = (msgspec.json.encode({"prompt": prompt}) + b"\n" for prompt in prompts)
        (command.folder / "rows.jsonl").write_bytes(b"".join(lines))
        together = str(len(prompts) // 10)
        self.words = ["batch", SDXL, "rows.jsonl", "--results", "results.jsonl"]
        self.words += ["--rate", "none", "--concurrency", together]

    def is_killed(self, created: int, seconds: float) -> bool:
        """Kill it ``seconds`` after so many rows were created in all, unless it has ended by then."""
        process = self._command.start(*self.words)
        self._api.wait_until(lambda: self._api.created >= created or process.ends_within(0), seconds=60)
        if process.ends_within(seconds):
            assert process.end().code == 0
            return False
        process.kill()
        return True

    def kill(self, times: int) -> str:
        """Kill it ``times`` times, spread over its work, every fourth time very early. Returns a report."""
        seed = random.randrange(2**32)  # noqa: S311 - another test each time, and repeatable by what it tells
        moments = random.Random(seed)  # noqa: S311 - as above
        killed = 0
        for number in range(times):
            goal = 0 if number % 4 == 0 else number * len(self._prompts) // times
            killed += self.is_killed(goal, moments.uniform(0, 0.5))
        story = f"seed {seed}, killed {killed} of {times} times, {self._api.created} created by then"
        assert killed >= times * 0.9, story
        return story

    def check(self, story: str) -> None:
        """Run it to the end. Then check that no prediction is missing and that none exists twice."""
        outcome = self._command(*self.words)
        assert outcome.code == 0, (story, outcome.err)
        prompts, results = self._prompts, (self._command.folder / "results.jsonl").read_bytes()
        records = [msgspec.json.decode(line) for line in results.splitlines()]
        assert results.endswith(b"\n"), story
        assert sorted(record["line"] for record in records) == list(range(1, len(prompts) + 1)), story
        ids = Counter(prediction.id for prediction in self._api.predictions)
        assert Counter(record["prediction_id"] for record in records) == ids, story
        assert Counter(row["state"] for row in self._command.rows("state")) == {"collected": len(prompts)}, story
        for record in records:
            assert record["input"] == {"prompt": prompts[record["line"] - 1]}, story
            (file,) = record["files"]
            expected = hashlib.sha256(picture(prompts[record["line"] - 1])).digest()
            assert hashlib.sha256((self._command.folder / file).read_bytes()).digest() == expected, story


def test_a_batch_that_is_killed_twenty_times_creates_every_row_once(api: ScriptedAPI, command: Command) -> None:
    batch = Killed(api, command, [f"picture {number}" for number in range(2000)])
    batch.check(batch.kill(20))


def test_rows_with_equal_inputs_each_have_one_prediction_in_a_batch_that_is_killed(
    api: ScriptedAPI, command: Command
) -> None:
    batch = Killed(api, command, ["a lake"] * 200)
    batch.check(batch.kill(5))

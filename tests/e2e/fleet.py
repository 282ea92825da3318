"""A fleet as its users run it: worker processes, PostgreSQL, a scripted API, and the faults that hit them."""

from __future__ import annotations

import hashlib
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.testing import OutputFile, Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command, Process
    from tests.postgres import Postgres

SDXL = "stability-ai/sdxl"
FAULTS = "create:drop-after=0.2,get:503=0.025,list:503=0.01,list:drop=0.01"


def picture(prompt: str) -> bytes:
    return b"RIFF0000WEBP" + hashlib.sha256(prompt.encode()).digest() * 100


def paint(given: dict[str, Any]) -> Script:
    """Each prompt has its own picture, so that a mix-up shows."""
    return Script(duration=0.5, boot=0.1, output=[OutputFile(content=picture(given["prompt"]), name="a.webp")])


class Fleet:
    """Workers and a batch of pictures, with a database of their own."""

    def __init__(self, command: Command, postgres: Postgres, api: ScriptedAPI) -> None:
        self.command, self.postgres, self.api = command, postgres, api
        self.name = postgres.create()
        command.environment["REPLICATE_JOB_JOURNAL"] = postgres.url(self.name)
        self.workers: list[Process] = []
        self.batch = ""

    def start(self, number: int, *words: str) -> None:
        """Start workers, and wait until all of them are seen."""
        self.workers += [self.command.start("worker", *words) for _ in range(number)]
        self.wait(lambda: self.query("SELECT count(*) AS n FROM replicate_job.workers")[0]["n"] >= len(self.workers))

    def submit(self, prompts: list[str], *words: str) -> str:
        lines = (msgspec.json.encode({"prompt": prompt}) + b"\n" for prompt in prompts)
        (self.command.folder / "rows.jsonl").write_bytes(b"".join(lines))
        done = self.command("batch", SDXL, "rows.jsonl", "--fleet", "--detach", *words)
        assert done.code == 0, done.err
        self.batch = done.out.decode().strip()
        return self.batch

    def query(self, statement: str) -> list[dict[str, Any]]:
        return self.postgres.execute(statement, database=self.name)

    def make_due(self, work: str) -> None:
        """Make the periodic work that one worker does for all of them due at once."""
        self.postgres.execute("UPDATE replicate_job.roles SET until = 0 WHERE role = %s", work, database=self.name)

    def states(self) -> Counter[str]:
        query = "SELECT coalesce(j.state, 'none') AS state, count(*) AS n FROM replicate_job.batch_rows AS r"
        query += (
            " JOIN replicate_job.batches AS b ON b.number = r.batch AND b.api <> ''"  # that were submitted to the end
        )
        query += " LEFT JOIN replicate_job.jobs AS j ON j.key = r.key GROUP BY 1"
        return Counter({row["state"]: row["n"] for row in self.query(query)})

    def wait(self, condition: Callable[[], object], seconds: float = 60) -> float:
        """Seconds until the condition held. Raises TimeoutError."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > seconds:
                raise TimeoutError(f"still not so after {seconds} s: {self.states()}")
            time.sleep(0.05)
        return time.monotonic() - began

    def results(self) -> list[dict[str, Any]]:
        done = self.command("results", self.batch)
        assert done.code == 0, done.err
        return [msgspec.json.decode(line) for line in done.out.splitlines()]

    def check(self, prompts: list[str]) -> None:
        """Check that no prediction is missing, that none exists twice, and that each row has its own picture."""
        records = self.results()
        assert [record["line"] for record in records] == list(range(1, len(prompts) + 1))
        ids = Counter(prediction.id for prediction in self.api.predictions)
        assert Counter(record["prediction_id"] for record in records) == ids
        assert self.states() == {"collected": len(prompts)}
        for record in records:
            prompt = prompts[record["line"] - 1]
            assert record["input"] == {"prompt": prompt}
            (file,) = record["files"]
            assert (self.command.folder / file).read_bytes() == picture(prompt)

    def close(self) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
            worker.kill()
        self.postgres.drop(self.name)


@contextmanager
def fleet_of(command: Command, postgres: Postgres, api: ScriptedAPI) -> Iterator[Fleet]:
    api.models[SDXL] = msgspec.structs.replace(api.models[SDXL], script=paint)
    fleet = Fleet(command, postgres, api)
    try:
        yield fleet
    finally:
        fleet.close()


def drill(fleet: Fleet, prompts: list[str], *, workers: int, kills: int, rate: str) -> dict[str, float]:
    """Every kind of fault occurs while a batch runs. Afterwards no prediction is missing, and none exists twice.

    Returns the times of the faults, in seconds since the submit, and the counts of requests.
    """
    rows = len(prompts)
    fleet.start(workers)
    began = time.monotonic()
    fleet.submit(prompts, "--rate", rate)
    figures: dict[str, float] = {"submitted": time.monotonic() - began}

    def created(share: float) -> None:
        fleet.wait(lambda: fleet.api.created >= rows * share)

    created(0.1)
    paused = fleet.workers[-1]
    paused.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    for number in range(kills):
        created(0.2 + 0.15 * number)
        fleet.workers[number].kill()
    figures["killed"] = time.monotonic() - began
    created(0.2 + 0.15 * kills)
    fleet.postgres.cut(fleet.name)
    created(0.3 + 0.15 * kills)
    fleet.postgres.restart()
    figures["restarted"] = time.monotonic() - began
    # It sleeps until its lease is over and others have its jobs, then wakes.
    time.sleep(max(0, 16 - (time.monotonic() - stopped)))
    paused.signal(signal.SIGCONT)
    figures["woken"] = time.monotonic() - began
    fleet.wait(lambda: fleet.states() == {"collected": rows}, 180)
    figures["over"] = time.monotonic() - began
    fleet.check(prompts)
    for survivor in fleet.workers[kills:]:
        survivor.signal(signal.SIGTERM)
        assert survivor.end().code == 0
    figures["predictions"] = fleet.api.created
    figures["lists"], figures["gets"] = fleet.api.count("list"), fleet.api.count("get")
    return figures


def main() -> None:
    """The drill by hand: rows, workers, kills, and and ``same`` for equal rows."""
    from tests.e2e.conftest import Command  # noqa: PLC0415 - pytest's
    from tests.postgres import start  # noqa: PLC0415 - as above

    rows, workers, kills = map(int, sys.argv[1:4])
    prompts = ["a lake" if "same" in sys.argv else f"picture {number}" for number in range(rows)]
    postgres = start(f"drill-{time.monotonic_ns()}", "main")
    try:
        with tempfile.TemporaryDirectory() as folder, ScriptedAPI(list_lag=1, faults=FAULTS) as api:
            command = Command(Path(folder), api)
            with fleet_of(command, postgres, api) as fleet:
                try:
                    print(drill(fleet, prompts, workers=workers, kills=kills, rate="3000/min"))  # noqa: T201 - by hand
                finally:
                    for worker in fleet.workers:
                        worker.signal(signal.SIGCONT)
                        worker.kill()
            command.close()
    finally:
        postgres.stop()


if __name__ == "__main__":
    main()

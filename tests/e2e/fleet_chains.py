"""Rows that are chains in a fleet, whose workers are killed at random. By hand: rows, workers, kills, a seed."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from tests.e2e.fleet import Fleet, fleet_of, picture

from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedModel, openapi_schema

FAULTS = "create:drop-after=0.2"
FILE: dict[str, Any] = {"type": "string", "format": "uri"}
STEPS = ("draw", "enlarge", "frame")
POSTER = """
[[step]]
name = "draw"
model = "acme/draw"
input = { prompt = "{prompt}" }
[[step]]
name = "enlarge"
model = "acme/enlarge"
input = { image = "{draw.output}" }
[[step]]
name = "frame"
model = "acme/frame"
input = { image = "{enlarge.output}", prompt = "{prompt}" }
"""
FAILING = Script(end="failed", error="out of memory", duration=0.3, boot=0.1)


def make(given: dict[str, Any]) -> Script:
    file = OutputFile(content=picture(repr(sorted(given.items()))), name="a.webp")
    return Script(duration=0.3, boot=0.1, output=file)


def prepare(api: ScriptedAPI) -> None:
    for step in STEPS:
        schema = openapi_schema({"prompt": {"type": "string"}, "image": FILE}, FILE)
        api.models[f"acme/{step}"] = ScriptedModel(name=f"acme/{step}", official=True, schema=schema, script=make)


def drill(fleet: Fleet, rows: int, *, workers: int, kills: int, seed: int) -> dict[str, float]:
    """Workers die, others replace them, and the second step fails at first. No step is paid for twice."""
    api, command, chance = fleet.api, fleet.command, random.Random(seed)  # noqa: S311 - no secret
    (command.folder / "poster.toml").write_text(POSTER, encoding="utf-8")
    lines = (msgspec.json.encode({"prompt": f"picture {line}"}) + b"\n" for line in range(1, rows + 1))
    (command.folder / "rows.jsonl").write_bytes(b"".join(lines))
    words = ["batch", "poster.toml", "rows.jsonl", "--fleet", "--detach", "--rate", "none"]
    fleet.start(workers)

    def submit(*more: str) -> float:
        done = command(*words, *more)
        assert done.code == 0, done.err
        fleet.batch = done.out.decode().strip()
        return time.monotonic()

    def is_over() -> bool:
        counted = fleet.query("SELECT count(*) AS n FROM replicate_job.batch_rows WHERE is_open")
        return bool(counted[0]["n"] == 0)

    def is_due(moment: int) -> bool:
        return api.created >= moment or is_over()

    working = api.models["acme/enlarge"]
    api.models["acme/enlarge"] = msgspec.structs.replace(working, script=FAILING)
    began = submit()
    fleet.wait(is_over, 120)
    figures: dict[str, float] = {"failed": time.monotonic() - began}
    assert Counter(_step(prediction) for prediction in api.predictions) == {"draw": rows, "enlarge": rows}
    assert {(row["error"], *row["steps"]) for row in fleet.results()} == {("out of memory", "draw", "enlarge")}
    api.models["acme/enlarge"] = working

    began = submit("--retry-failed")
    moments = sorted(chance.sample(range(2 * rows + 1, 4 * rows), kills))
    for moment in moments:
        fleet.wait(partial(is_due, moment), 120)
        fleet.workers.pop(chance.randrange(len(fleet.workers))).kill()
        fleet.workers.append(command.start("worker"))
    fleet.wait(is_over, 180)
    figures["seconds"] = time.monotonic() - began
    assert Counter(_step(prediction) for prediction in api.predictions) == {
        "draw": rows,
        "enlarge": 2 * rows,
        "frame": rows,
    }
    records, made = fleet.results(), {prediction.id: prediction for prediction in api.predictions}
    assert [record["line"] for record in records] == list(range(1, rows + 1))
    used = Counter(step["prediction_id"] for record in records for step in record["steps"].values())
    assert (len(used), max(used.values())) == (3 * rows, 1)
    for record in records:
        steps = record["steps"]
        assert [(name, step["status"]) for name, step in steps.items()] == [(name, "succeeded") for name in STEPS]
        assert made[steps["draw"]["prediction_id"]].input == {"prompt": f"picture {record['line']}"}
        assert made[steps["enlarge"]["prediction_id"]].input == {"image": steps["draw"]["output"]}
        assert made[steps["frame"]["prediction_id"]].input["image"] == steps["enlarge"]["output"]
        for step in steps.values():
            (file,) = step["files"]
            content = (command.folder / file).read_bytes()
            assert content == picture(repr(sorted(made[step["prediction_id"]].input.items())))
    return figures | {"predictions": api.created}


def _step(prediction: Any) -> str:
    return str(prediction.model).removeprefix("acme/")


def main() -> None:
    from tests.e2e.conftest import Command  # noqa: PLC0415 - pytest's
    from tests.postgres import start  # noqa: PLC0415 - as above

    rows, workers, kills, seed = map(int, sys.argv[1:5])
    postgres = start(f"chains-{time.monotonic_ns()}", "main")
    try:
        with tempfile.TemporaryDirectory() as folder, ScriptedAPI(list_lag=1, faults=FAULTS) as api:
            prepare(api)
            command = Command(Path(folder), api)
            with fleet_of(command, postgres, api) as fleet:
                print(drill(fleet, rows, workers=workers, kills=kills, seed=seed))  # noqa: T201 - by hand
            command.close()
    finally:
        postgres.stop()


if __name__ == "__main__":
    main()

"""Application servers that get the same orders at the same time create one prediction for each order."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import pytest

from replicate_job.testing import Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

MODEL = "black-forest-labs/flux-schnell"
PROCESSES, KEYS = 10, 100
APPLICATION = f"""
import asyncio, pathlib, random
import msgspec
from replicate_job import AsyncClient

async def main():
    orders = list(range({KEYS}))
    random.shuffle(orders)
    async with AsyncClient(rate="none") as client:
        print("ready", flush=True)
        while not pathlib.Path("go").exists():
            await asyncio.sleep(0.01)
        runs = [client.run("{MODEL}", {{"prompt": str(order)}}, key=f"order-{{order}}") for order in orders]
        results = await asyncio.gather(*runs)
    print(msgspec.json.encode([[r.key, r.prediction_id, r.status, r.output] for r in results]).decode())

asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", "postgres"])
def shared(request: pytest.FixtureRequest, command: Command) -> Iterator[Command]:
    """The command's environment, with a journal of that kind."""
    if request.param == "sqlite":
        yield command
        return
    postgres = request.getfixturevalue("postgres")
    database = postgres.create()
    command.environment["REPLICATE_JOB_JOURNAL"] = postgres.url(database)
    yield command
    command.close()
    postgres.drop(database)


@pytest.mark.long
def test_ten_processes_that_run_the_same_hundred_keys_together_create_a_hundred_predictions(
    shared: Command, api: ScriptedAPI
) -> None:
    script = lambda given: Script(duration=0.2, output=f"picture {given['prompt']}")  # noqa: E731
    api.models[MODEL] = msgspec.structs.replace(api.models[MODEL], script=script)
    processes = [shared.execute([sys.executable, "-W", "error", "-c", APPLICATION]) for _ in range(PROCESSES)]
    for process in processes:
        assert process.read(6) == b"ready\n"
    (shared.folder / "go").touch()
    outcomes = [process.end() for process in processes]
    assert [outcome.code for outcome in outcomes] == [0] * PROCESSES, outcomes[0].err
    rows = [row for outcome in outcomes for row in msgspec.json.decode(outcome.out.splitlines()[-1])]
    assert len(rows) == PROCESSES * KEYS
    assert Counter(map(tuple, rows)) == {
        (f"order-{order}", prediction, "succeeded", f"picture {order}"): PROCESSES
        for order, prediction in {
            int(prediction.input["prompt"]): prediction.id for prediction in api.predictions
        }.items()
    }
    assert (api.created, len(api.predictions)) == (KEYS, KEYS)

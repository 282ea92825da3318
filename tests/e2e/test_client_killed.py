"""An application is killed (SIGKILL) while a hundred jobs run. Its next start finishes them and pays for none twice."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import pytest

from replicate_job.testing import OutputFile, Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command, Outcome, Process

JOBS = 100
SUBMITS = {
    "AsyncClient": """
import asyncio
from replicate_job import AsyncClient
FLUX = "black-forest-labs/flux-schnell"

async def main():
    async with AsyncClient(save_to="out", rate="none") as client:
        orders = (client.submit(FLUX, {"prompt": "a fox", "seed": n}, key=f"order-{n}") for n in range(100))
        await asyncio.gather(*orders)
        print("submitted", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
""",
    "Client": """
import threading
from concurrent.futures import ThreadPoolExecutor
from replicate_job import Client

FLUX = "black-forest-labs/flux-schnell"
with Client(save_to="out", rate="none") as client, ThreadPoolExecutor(16) as pool:
    list(pool.map(lambda n: client.submit(FLUX, {"prompt": "a fox", "seed": n}, key=f"order-{n}"), range(100)))
    print("submitted", flush=True)
    threading.Event().wait()
""",
}
RESUMES = """
from replicate_job import Client

with Client(rate="none") as client:
    for result in client.resume():
        print(result.key, result.status, result.problem, *(path.read_text() for path in result.files))
"""


@pytest.fixture(params=SUBMITS)
def submits(request: pytest.FixtureRequest) -> str:
    return SUBMITS[request.param]


@pytest.fixture
def api(api: ScriptedAPI) -> ScriptedAPI:
    """Every prediction runs until the test ends it, and has its own file."""
    api.next(*[Script(duration=math.inf, output=seed_file)] * JOBS)
    return api


def seed_file(given: dict[str, Any]) -> list[OutputFile]:
    return [OutputFile(content=b"%d" % given["seed"], name="seed.txt")]


def start(command: Command, program: str) -> Process:
    return command.execute([sys.executable, "-W", "error", "-c", program])


def finish_all(api: ScriptedAPI) -> None:
    for prediction in api.predictions:
        prediction.finish()


def results(outcome: Outcome) -> list[str]:
    assert (outcome.code, outcome.err) == (0, "")
    return sorted(outcome.out.decode().splitlines())


def test_a_killed_application_resumes_its_hundred_jobs(submits: str, api: ScriptedAPI, command: Command) -> None:
    application = start(command, submits)
    assert application.read(len("submitted\n")) == b"submitted\n"
    application.kill()
    finish_all(api)
    resumed = results(start(command, RESUMES).end())
    assert resumed == sorted(f"order-{n} succeeded  {n}" for n in range(JOBS))
    assert len(api.predictions) == api.count("create") == JOBS
    assert results(start(command, RESUMES).end()) == []


def test_an_application_killed_while_submitting_submits_the_same_keys_again(
    submits: str, api: ScriptedAPI, command: Command
) -> None:
    application = start(command, submits)
    api.wait_until(lambda: len(api.predictions) >= JOBS // 3, seconds=60)
    application.kill()
    again = start(command, submits)
    assert again.read(len("submitted\n")) == b"submitted\n"
    again.kill()
    finish_all(api)
    assert len(results(start(command, RESUMES).end())) == JOBS
    assert len({prediction.input["seed"] for prediction in api.predictions}) == len(api.predictions) == JOBS

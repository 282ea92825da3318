"""The time that the local server adds to a prediction, and its status reads a second, with an empty and a full store.

One Cog server (``replicate/hello-world``) is called alternately directly and through ``replicate-job serve``: POST with
``Prefer: wait``, over one connection, one request after another. Status reads and lists come from 16 clients at once.
They are counted per second of the server's CPU time, which is what one core can do. Linux only, as it finds the Cog
server among the child processes of the local server in /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from pyreqwest.client import Client, ClientBuilder
from report import describe, machine, table, write_json

from replicate_job.local.cog.process_group import SCRATCH
from replicate_job.local.prediction import Ended, LocalPrediction, PredictionRequest, new_id
from replicate_job.local.store import PredictionRow, Store

MODEL = "replicate/hello-world"
AT_ONCE = 16
_TICK = os.sysconf("SC_CLK_TCK")


class Figures(msgspec.Struct, frozen=True):
    """Milliseconds of a prediction, directly and through the server; operations a second of CPU time; megabytes."""

    stored: int
    direct: float
    through: float
    gets: float
    lists: float
    creates: float
    memory: float

    @property
    def added(self) -> float:
        return self.through - self.direct


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stored", type=int, default=100_000, help="predictions in the second server's store")
    parser.add_argument("--rounds", type=int, default=300, help="predictions, each directly and through the server")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    arguments = parser.parse_args()
    measured = [asyncio.run(measure(stored, arguments.rounds)) for stored in (0, arguments.stored)]
    print(describe(machine()))
    head = ["stored", "direct, ms", "through, ms", "added, ms", "GET/s", "list pages/s", "creates/s", "memory, MB"]
    rows = [
        [f"{figures.stored:,}"]
        + [f"{number:.2f}" for number in (figures.direct, figures.through, figures.added)]
        + [f"{number:,.0f}" for number in (figures.gets, figures.lists, figures.creates, figures.memory)]
        for figures in measured
    ]
    print(table(head, rows))
    write_json(arguments.json, {"machine": machine(), "measured": msgspec.to_builtins(measured)})


async def measure(stored: int, rounds: int) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), stored)
        with server(Path(folder)) as (process, base_url):
            async with ClientBuilder().no_proxy().build() as client:
                return await _measure(client, process, base_url, stored, rounds)


async def _measure(client: Client, process: int, base_url: str, stored: int, rounds: int) -> Figures:
    model = await ask(client, "GET", f"{base_url}/v1/models/{MODEL}")
    body = {"version": model["latest_version"]["id"], "input": {"text": "Ada"}}
    first = await ask(client, "POST", f"{base_url}/v1/predictions", body, prefer="wait")
    assert first["output"] == "hello Ada", first  # noqa: S101 - without it the figures mean nothing
    cog, ids = find_cog(process), list[str]()

    async def direct() -> None:
        # As the local server calls it, but for the answer, which comes whole and not as a stream.
        ids.append(new_id())
        await ask(client, "PUT", f"{cog}/predictions/{ids[-1]}", {"input": body["input"]})

    async def through() -> None:
        await ask(client, "POST", f"{base_url}/v1/predictions", body, prefer="wait")

    async def get() -> None:
        await ask(client, "GET", first["urls"]["get"])

    async def page() -> None:
        await ask(client, "GET", f"{base_url}/v1/predictions")

    times: dict[Any, list[float]] = {direct: [], through: []}
    for _ in range(rounds):
        for call, milliseconds in times.items():
            start = time.perf_counter()
            await call()
            milliseconds.append((time.perf_counter() - start) * 1000)
    for prediction_id in ids:
        shutil.rmtree(SCRATCH / prediction_id)  # coglet leaves these folders for the local server to remove
    return Figures(
        stored,
        direct=median(times[direct]),
        through=median(times[through]),
        gets=await rate(process, get, 8000),
        lists=await rate(process, page, 300),
        creates=await rate(process, through, 500),
        memory=memory(process),
    )


async def rate(process: int, call: Callable[[], Awaitable[None]], count: int) -> float:
    """Calls per second of the server's CPU time."""

    async def repeat(number: int) -> None:
        for _ in range(number):
            await call()

    before = cpu(process)
    await asyncio.gather(*(repeat(count // AT_ONCE) for _ in range(AT_ONCE)))
    return count // AT_ONCE * AT_ONCE / (cpu(process) - before)


async def ask(client: Client, method: str, url: str, body: Any = None, **headers: str) -> Any:
    request = client.request(method, url).headers(headers)
    if body is not None:
        request = request.body_bytes(msgspec.json.encode(body)).header("content-type", "application/json")
    return await (await request.build().send()).json()


def fill(folder: Path, count: int) -> None:
    store = Store(folder)
    for number in range(count):
        store.add(_ended(number))
    store.close()


def _ended(number: int) -> PredictionRow:
    at = 1.7e9 + number
    prediction = LocalPrediction(new_id(), number, PredictionRequest(MODEL, "0" * 64, {"text": f"name {number}"}), at)
    prediction.apply(Ended("succeeded", f"hello name {number}"), at + 1)
    return PredictionRow(number, prediction.id, at, at + 1, "", prediction.encode())


@contextmanager
def server(state: Path) -> Iterator[tuple[int, str]]:
    command = [sys.executable, "-m", "replicate_job", "serve", "-q", "--port", "0", "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout  # noqa: S101 - a pipe, by construction
        yield process.pid, process.stdout.readline().strip()
        process.terminate()


def find_cog(ancestor: int) -> str:
    """The URL of the Cog server among the descendants of this process."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"cog.server.http" in words and words[0].endswith(b"python") and _is_below(int(folder.name), ancestor):
                pairs = (pair.partition(b"=") for pair in (folder / "environ").read_bytes().split(b"\0"))
                port = next(int(value) for name, _, value in pairs if name == b"PORT")
                return f"http://{words[words.index(b'--host') + 1].decode()}:{port}"
        except OSError:
            continue
    raise SystemExit("no Cog server was found among the processes of the local server")


def _is_below(process: int, ancestor: int) -> bool:
    while process > 1:
        if process == ancestor:
            return True
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return False


def cpu(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def memory(process: int) -> float:
    """Megabytes of memory, with its share of what processes have in common (PSS)."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    main()

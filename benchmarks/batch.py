"""How many predictions a second a client makes where each is over at once, against the official Python clients.

Every round runs each client once, in an order that turns: one process, start included, against a scripted API of its
own in another process, which does not limit anything. A ratio is taken within a round, to a loop that does nothing but
send and read with the HTTP library that replicate-job uses. The official clients have one request under way for each
worker, as many as made them fastest of 8, 16, 32 and 64. replicate-job writes each row to its journal before it sends
anything, and what became of it, which the others do not do.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from peers import CACHE, OURS, SCRIPTS, V1, V2, Peer, install, make_environment, pip_install
from process import Run, run
from report import Spread, describe, keep, machine, ratios, table
from server import Server, Stats

from replicate_job.testing.models import DEFAULT_MODELS

MODEL = "replicate/hello-world"
VERSION = next(model.version_ids[0] for model in DEFAULT_MODELS if model.name == MODEL)
BASE = "bare loop of 64"
REMEMBER = "10000"
"""Requests and predictions that the server keeps, so that the last client meets the same one as the first."""
ROWS, RESULTS = "rows.jsonl", "results.jsonl"


class Contender(msgspec.Struct, frozen=True):
    """``command`` makes one from the number of rows. ``tells``: its stdout is how many succeeded."""

    peer: Peer
    command: Callable[[int], list[str]]
    tells: bool = True


class Measured(msgspec.Struct, frozen=True):
    """``busy`` is the server's CPU time over the client's time: near 1, the server is what was measured."""

    run: Run
    stats: Stats
    busy: float


def contenders(cache: Path) -> dict[str, Contender]:
    peers = install(cache)
    ours, v1 = peers[OURS], peers[V1]
    pip_install(ours.bin, "uvloop")  # as with [local]
    v2 = Peer(V2, make_environment(cache, "replicate-aiohttp==2.0.0b4"))
    pip_install(v2.bin, V2.replace("==", "[aiohttp]=="))
    bare = Peer("bare", make_environment(cache, "bare"))
    pip_install(bare.bin, "pyreqwest", "msgspec", "uvloop")
    batch = [
        ours.program("replicate-job"),
        "batch",
        MODEL,
        ROWS,
        "--results",
        RESULTS,
        "--no-save",
        "--no-report",
        "--rate",
        "none",
    ]

    def official(peer: Peer, workers: int, way: str) -> Contender:
        return Contender(peer, lambda count: peer.script("batch", VERSION, f"{count}", f"{workers}", way))

    loop = [bare.program("python"), str(SCRIPTS / "batch_bare.py"), VERSION]
    return {
        BASE: Contender(bare, lambda count: [*loop, f"{count}", "64"]),
        "replicate-job batch": Contender(ours, lambda _: batch, tells=False),
        "replicate_job.batch()": Contender(ours, lambda count: ours.script("batch", MODEL, f"{count}")),
        f"{V1}, 8 threads": official(v1, 8, "threads"),
        f"{V1}, asyncio, 8 tasks": official(v1, 8, "tasks"),
        f"{V2}, 8 threads": official(v2, 8, "threads"),
        f"{V2}, asyncio with aiohttp, 64 tasks": official(v2, 64, "aiohttp"),
    }


def once(contender: Contender, count: int) -> Measured:
    """All rows by one client with an empty home, on a server of its own."""
    with tempfile.TemporaryDirectory() as folder, Server("--remember", REMEMBER) as server:
        home = Path(folder)
        (home / ROWS).write_text("".join(f'{{"text": "row {row}"}}\n' for row in range(count)))
        environment = contender.peer.environment(server, home)
        before = server.stats().cpu
        ran = run(contender.command(count), environment, home)
        stats = server.stats()
        done = int(ran.stdout or 0) if contender.tells else succeeded(home / RESULTS)
        if ran.code or done != count:
            raise SystemExit(f"{contender.command(count)} exited with {ran.code} and {done} done: {ran.stderr}")
        return Measured(ran, stats, (stats.cpu - before) / ran.wall)


def succeeded(results: Path) -> int:
    with results.open() as lines:
        return sum(json.loads(line)["status"] == "succeeded" for line in lines)


def measure(found: Mapping[str, Contender], count: int, rounds: int) -> dict[str, list[Measured]]:
    """Run all, ``rounds`` times after a round of a hundred rows that warms the caches and does not count."""
    results: dict[str, list[Measured]] = {name: [] for name in found}
    for contender in found.values():
        once(contender, 100)
    for number in range(rounds):
        names = list(found)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            results[name].append(once(found[name], count))
    return results


def rows(count: int, results: Mapping[str, list[Measured]]) -> list[list[str]]:
    def column(name: str, of: Callable[[Measured], float]) -> list[float]:
        return [of(measured) for measured in results[name]]

    def cells(name: str) -> list[str]:
        wall, cpu, peak = (column(name, of) for of in (_wall, _cpu, _peak))
        return [
            name,
            f"{count / Spread.of(wall).median:.0f}",
            ratios(wall, column(BASE, _wall)).show(),
            ratios(cpu, column(BASE, _cpu)).show(),
            f"{Spread.of(cpu).median * 1e6 / count:.0f}",
            f"{Spread.of(peak).median / 1e6:.0f}",
            f"{Spread.of(measured.busy for measured in results[name]).median:.0%}",
            _range(sum(measured.stats.requests.values()) for measured in results[name]),
            _range(measured.stats.predictions for measured in results[name]),
        ]

    return [cells(name) for name in results]


def _wall(measured: Measured) -> float:
    return measured.run.wall


def _cpu(measured: Measured) -> float:
    return measured.run.cpu


def _peak(measured: Measured) -> float:
    return measured.run.peak


def _range(numbers: Any) -> str:
    least, *_, most = sorted([*numbers] * 2)
    return f"{least}" if least == most else f"{least} to {most}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10000, help="predictions of each client a round (10000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (5)")
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="clients with one of these in the name")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the clients' environments are kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there")
    arguments = parser.parse_args()
    found = {
        name: contender
        for name, contender in contenders(arguments.cache).items()
        if name == BASE or any(text in name for text in arguments.only)
    }
    results = measure(found, arguments.count, arguments.rounds)
    facts = machine()
    print(f"{describe(facts)}; {arguments.count} predictions; {arguments.rounds} rounds; medians (least to most)\n")
    head = ["client", "jobs/s", "time, ratio", "CPU, ratio", "CPU, us a job", "peak MB", "server busy", "requests"]
    print(table([*head, "predictions"], rows(arguments.count, results)))
    keep(arguments.json, {"machine": facts, "base": BASE, "count": arguments.count, "runs": results})


if __name__ == "__main__":
    main()

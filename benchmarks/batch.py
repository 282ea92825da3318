"""How many instant predictions a client makes in a second, compared with the official Python clients.

Every round runs each client once, in a rotating order. A run is one process, with its start, against an API of its own
in another process, which limits nothing and does next to nothing. Ratios are taken within a round, to a bare loop that
only sends and reads with the HTTP library of replicate-job. The official clients have one request open for each worker;
the number of workers is the fastest of 8, 16, 32 and 64. Only replicate-job writes a journal: each row before its
request is sent, and how it ended.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from peers import BARE, CACHE, OURS, V1, V2, Peer, install_for_speed
from process import Run, run
from report import Spread, describe, machine, ratios, rotated, table, write_json
from server import COMMUNITY, Server, Stats

MODEL, VERSION = COMMUNITY.name, COMMUNITY.version_ids[0]
BASE = "bare loop of 64"
ROWS, RESULTS = "rows.jsonl", "results.jsonl"


class Contender(msgspec.Struct, frozen=True):
    """``command`` makes the command for a number of rows. ``counts``: its stdout is how many rows succeeded."""

    peer: Peer
    command: Callable[[int], list[str]]
    counts: bool = True


class ClientRun(msgspec.Struct, frozen=True):
    """``busy`` is the server's CPU time over the client's time: near 1, the server was the limit, not the client."""

    run: Run
    stats: Stats
    busy: float


def contenders(cache: Path) -> dict[str, Contender]:
    peers = install_for_speed(cache)
    ours, v1, v2, bare = peers[OURS], peers[V1], peers[V2], peers[BARE]
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

    return {
        BASE: Contender(bare, lambda count: bare.script("batch", VERSION, f"{count}", "64")),
        "replicate-job batch": Contender(ours, lambda _: batch, counts=False),
        "replicate_job.batch()": Contender(ours, lambda count: ours.script("batch", MODEL, f"{count}")),
        f"{V1}, 8 threads": official(v1, 8, "threads"),
        f"{V1}, asyncio, 8 tasks": official(v1, 8, "tasks"),
        f"{V2}, 8 threads": official(v2, 8, "threads"),
        f"{V2}, asyncio with aiohttp, 64 tasks": official(v2, 64, "aiohttp"),
    }


def once(contender: Contender, count: int) -> ClientRun:
    """Run all rows with one client, in an empty home folder, against a server of its own."""
    with tempfile.TemporaryDirectory() as folder, Server() as server:
        home = Path(folder)
        (home / ROWS).write_text("".join(f'{{"text": "row {row}"}}\n' for row in range(count)))
        environment = contender.peer.environment(server, home)
        before = server.stats().cpu
        ended = run(contender.command(count), environment, home)
        stats = server.stats()
        done = int(ended.stdout or 0) if contender.counts else succeeded(home / RESULTS)
        if ended.code or done != count:
            raise SystemExit(f"{contender.command(count)} exited with {ended.code} and {done} done: {ended.stderr}")
        return ClientRun(ended, stats, (stats.cpu - before) / ended.wall)


def succeeded(results: Path) -> int:
    with results.open() as lines:
        return sum(json.loads(line)["status"] == "succeeded" for line in lines)


def measure(clients: Mapping[str, Contender], count: int, rounds: int) -> dict[str, list[ClientRun]]:
    """Run all clients ``rounds`` times, after a round of a hundred rows that fills caches and does not count."""
    results: dict[str, list[ClientRun]] = {name: [] for name in clients}
    for contender in clients.values():
        once(contender, 100)
    for number in range(rounds):
        for name in rotated(clients, number):
            results[name].append(once(clients[name], count))
    return results


def rows(count: int, results: Mapping[str, list[ClientRun]]) -> list[list[str]]:
    def column(name: str, figure: str) -> list[float]:
        return [getattr(client_run.run, figure) for client_run in results[name]]

    def cells(name: str) -> list[str]:
        wall, cpu, peak = (column(name, figure) for figure in ("wall", "cpu", "peak"))
        return [
            name,
            f"{count / Spread.of(wall).median:.0f}",
            ratios(wall, column(BASE, "wall")).show(),
            ratios(cpu, column(BASE, "cpu")).show(),
            f"{Spread.of(cpu).median * 1e6 / count:.0f}",
            f"{Spread.of(peak).median / 1e6:.0f}",
            f"{Spread.of(client_run.busy for client_run in results[name]).median:.0%}",
            _range(sum(client_run.stats.requests.values()) for client_run in results[name]),
            _range(client_run.stats.predictions for client_run in results[name]),
        ]

    return [cells(name) for name in results]


def _range(numbers: Any) -> str:
    least, *_, most = sorted([*numbers] * 2)
    return f"{least}" if least == most else f"{least} to {most}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10000, help="predictions of each client a round (10000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (5)")
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="clients with one of these in the name")
    parser.add_argument("--cache", type=Path, default=CACHE, help="the folder of the clients' environments")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there")
    arguments = parser.parse_args()
    clients = {
        name: contender
        for name, contender in contenders(arguments.cache).items()
        if name == BASE or any(text in name for text in arguments.only)
    }
    results = measure(clients, arguments.count, arguments.rounds)
    facts = machine()
    print(f"{describe(facts)}; {arguments.count} predictions; {arguments.rounds} rounds; medians (least to most)\n")
    head = ["client", "jobs/s", "time, ratio", "CPU, ratio", "CPU, us a job", "peak MB", "server busy", "requests"]
    print(table([*head, "predictions"], rows(arguments.count, results)))
    write_json(arguments.json, {"machine": facts, "base": BASE, "count": arguments.count, "runs": results})


if __name__ == "__main__":
    main()

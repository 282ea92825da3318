"""The time from the start of a process to a created prediction, compared with the official Python clients.

Every round runs each command once, in a rotating order, against one scripted API on loopback. Ratios are taken within a
round. Only ``replicate-job run --no-wait`` writes its intent to a journal and checks the input before it sends it.
``python -c pass`` is the least that any of them can take.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from peers import CACHE, OURS, V1, V2, Peer, install
from process import Run, run
from report import Spread, describe, machine, ratios, rotated, table, write_json

from replicate_job.testing import ScriptedAPI

MODEL = "replicate/hello-world"
BASE = "replicate-job, version named"
BARE = "python -c pass"


class Contender(msgspec.Struct, frozen=True):
    peer: Peer
    command: list[str]


class Runs(msgspec.Struct, frozen=True):
    """The runs of a command, one in each round, and the requests that each sent."""

    runs: list[Run]
    requests: list[int]

    @property
    def wall(self) -> list[float]:
        return [run.wall for run in self.runs]

    @property
    def cpu(self) -> list[float]:
        return [run.cpu for run in self.runs]

    @property
    def peak(self) -> list[float]:
        return [run.peak / 1e6 for run in self.runs]


def contenders(peers: Mapping[str, Peer], version: str) -> dict[str, Contender]:
    ours, v1, v2 = peers[OURS], peers[V1], peers[V2]
    create = [ours.program("replicate-job"), "run"]
    rest = ["text=hi", "--no-wait"]
    return {
        BASE: Contender(ours, [*create, f"{MODEL}:{version}", *rest]),
        "replicate-job, model named": Contender(ours, [*create, MODEL, *rest]),
        V1: Contender(v1, v1.script("create", version, "hi")),
        V2: Contender(v2, v2.script("create", version, "hi")),
        BARE: Contender(ours, [ours.program("python"), "-c", "pass"]),
    }


def measure(api: ScriptedAPI, peers: Mapping[str, Peer], rounds: int) -> dict[str, Runs]:
    """Run all commands ``rounds`` times, after a round that fills caches and does not count."""
    commands = contenders(peers, api.models[MODEL].version_ids[0])
    results = {name: Runs([], []) for name in commands}
    with tempfile.TemporaryDirectory() as home:
        for number in range(-1, rounds):
            for name in rotated(commands, number):
                ended, requests = once(api, commands[name], Path(home), created=name != BARE)
                if number >= 0:
                    results[name].runs.append(ended)
                    results[name].requests.append(requests)
    return results


def once(api: ScriptedAPI, contender: Contender, home: Path, *, created: bool) -> tuple[Run, int]:
    requests, predictions = len(api.requests), len(api.predictions)
    ended = run(contender.command, contender.peer.environment(api, home), home)
    if ended.code or len(api.predictions) != predictions + created:
        raise SystemExit(f"{contender.command} exited with {ended.code}: {ended.stderr}")
    return ended, len(api.requests) - requests


def rows(results: Mapping[str, Runs]) -> list[list[str]]:
    base = results[BASE]
    return [
        [
            name,
            ratios(runs.wall, base.wall).show(),
            ratios(runs.cpu, base.cpu).show(),
            f"{ratios(runs.peak, base.peak).median:.2f}",
            f"{max(runs.requests)}",
            f"{Spread.of(runs.wall).median * 1000:.0f}",
            f"{Spread.of(runs.cpu).median * 1000:.0f}",
            f"{Spread.of(runs.peak).median:.0f}",
        ]
        for name, runs in results.items()
    ]


def content(results: Mapping[str, Runs], facts: dict[str, Any]) -> dict[str, Any]:
    raw = {
        name: {"wall": runs.wall, "cpu": runs.cpu, "peak_mb": runs.peak, "requests": runs.requests}
        for name, runs in results.items()
    }
    return {"machine": facts, "base": BASE, "runs": raw}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="rounds that count (default 15)")
    parser.add_argument("--cache", type=Path, default=CACHE, help="the folder of the clients' environments")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there")
    arguments = parser.parse_args()
    peers = install(arguments.cache)
    with ScriptedAPI() as api:
        results = measure(api, peers, arguments.rounds)
    facts = machine()
    print(f"{describe(facts)}; {arguments.rounds} rounds; ratios are medians (least to most) of the rounds' own\n")
    head = ["process", "time, ratio", "CPU, ratio", "peak memory, ratio", "requests", "ms", "CPU ms", "peak MB"]
    print(table(head, rows(results)))
    write_json(arguments.json, content(results, facts))


if __name__ == "__main__":
    main()

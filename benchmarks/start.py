"""From nothing to a prediction that exists: the whole process, against the official Python clients.

Every round runs each command once, in an order that turns, against one scripted API on loopback; a ratio is taken
within a round. ``replicate-job run --no-wait`` writes its intent to the journal and checks the input before it sends
anything, which the others do not do. ``python -c pass`` is the floor.
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
from report import Spread, describe, keep, machine, ratios, table

from replicate_job.testing import ScriptedAPI

MODEL = "replicate/hello-world"
BASE = "replicate-job, version named"
BARE = "python -c pass"


class Contender(msgspec.Struct, frozen=True):
    peer: Peer
    command: list[str]


class Measured(msgspec.Struct, frozen=True):
    """``requests`` of one run; the runs, one a round."""

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


def measure(api: ScriptedAPI, peers: Mapping[str, Peer], rounds: int) -> dict[str, Measured]:
    """Run all, ``rounds`` times after a round that warms the caches and does not count."""
    found = contenders(peers, api.models[MODEL].version_ids[0])
    results = {name: Measured([], []) for name in found}
    with tempfile.TemporaryDirectory() as home:
        for number in range(-1, rounds):
            names = list(found)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                ran, requests = once(api, found[name], Path(home), created=name != BARE)
                if number >= 0:
                    results[name].runs.append(ran)
                    results[name].requests.append(requests)
    return results


def once(api: ScriptedAPI, contender: Contender, home: Path, *, created: bool) -> tuple[Run, int]:
    requests, predictions = len(api.requests), len(api.predictions)
    ran = run(contender.command, contender.peer.environment(api, home), home)
    if ran.code or len(api.predictions) != predictions + created:
        raise SystemExit(f"{contender.command} exited with {ran.code}: {ran.stderr}")
    return ran, len(api.requests) - requests


def rows(results: Mapping[str, Measured]) -> list[list[str]]:
    base = results[BASE]
    return [
        [
            name,
            ratios(found.wall, base.wall).show(),
            ratios(found.cpu, base.cpu).show(),
            f"{ratios(found.peak, base.peak).median:.2f}",
            f"{max(found.requests)}",
            f"{Spread.of(found.wall).median * 1000:.0f}",
            f"{Spread.of(found.cpu).median * 1000:.0f}",
            f"{Spread.of(found.peak).median:.0f}",
        ]
        for name, found in results.items()
    ]


def content(results: Mapping[str, Measured], facts: dict[str, Any]) -> dict[str, Any]:
    raw = {
        name: {"wall": found.wall, "cpu": found.cpu, "peak_mb": found.peak, "requests": found.requests}
        for name, found in results.items()
    }
    return {"machine": facts, "base": BASE, "runs": raw}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="rounds that count (default 15)")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the clients' environments are kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there")
    arguments = parser.parse_args()
    peers = install(arguments.cache)
    with ScriptedAPI() as api:
        results = measure(api, peers, arguments.rounds)
    facts = machine()
    print(f"{describe(facts)}; {arguments.rounds} rounds; ratios are medians (least to most) of the rounds' own\n")
    head = ["process", "time, ratio", "CPU, ratio", "peak memory, ratio", "requests", "ms", "CPU ms", "peak MB"]
    print(table(head, rows(results)))
    keep(arguments.json, content(results, facts))


if __name__ == "__main__":
    main()

"""The time from a prediction's end to the end of the client's command, and the requests it took, for each client.

The scripted API knows when each prediction ended. By the same clock, the client's script prints when its call returned,
and the launcher when the process ended. Each measurement has a server of its own. Short predictions run one after
another. From 5 s on, the clients of a round run side by side, a second apart, because they mostly sleep. From 1 s on,
each round's prediction is a fraction of a second longer than that of the round before, so that a client that polls once
a second is not lucky every time.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from time import sleep
from typing import Any

import msgspec
from peers import CACHE, OURS, V1, V2, Peer, install
from process import Run, run
from report import Spread, describe, machine, ratios, rotated, table, write_json

from replicate_job.testing import Script, ScriptedAPI, ScriptedModel, openapi_schema

OFFICIAL = "acme/echo"
COMMUNITY = "acme/community-echo"
INPUTS = openapi_schema({"text": {"type": "string"}}, required=["text"])
BASE = "replicate-job"
SIDE_BY_SIDE = 5
"""Seconds of a prediction from which on those of a round run side by side."""


class Contender(msgspec.Struct, frozen=True):
    """``command`` takes the model and the most status checks. ``reports``: its stdout is a ``Return``."""

    peer: Peer
    command: Callable[[str, int], list[str]]
    reports: bool = True
    terminal: bool = False


class Return(msgspec.Struct, frozen=True):
    """What a client's script prints: the Unix time at which its call returned, and what it returned."""

    at: float
    got: Any


class Lag(msgspec.Struct, frozen=True):
    """Seconds from the first prediction's end to the process's exit and, where it is reported, to the call's return.

    ``requests`` were sent to the API, ``predictions`` were created, ``got`` is the output or what came in its place.
    """

    exit: float
    back: float | None
    requests: int
    predictions: int
    got: str


def contenders(peers: Mapping[str, Peer]) -> dict[str, Contender]:
    ours, v1, v2 = peers[OURS], peers[V1], peers[V2]

    def line(model: str, attempts: int) -> list[str]:
        return [ours.program("replicate-job"), "run", model, "text=hi", "--max-poll-attempts", str(attempts)]

    return {
        BASE: Contender(ours, line, reports=False),
        "replicate-job, on a terminal": Contender(ours, line, reports=False, terminal=True),
        "replicate_job.run()": Contender(ours, lambda model, attempts: ours.script("run", model, "hi", str(attempts))),
        V1: Contender(v1, lambda model, _: v1.script("run", model, "hi")),
        V2: Contender(v2, lambda model, _: v2.script("run", model, "hi")),
    }


def once(contender: Contender, seconds: float, model: str, home: Path) -> Lag:
    """Run one prediction of ``seconds`` with one client, against a server of its own. ``home`` is the client's."""
    models = (
        ScriptedModel(name=OFFICIAL, official=True, schema=INPUTS),
        ScriptedModel(name=COMMUNITY, schema=INPUTS, versions=("c0" * 32,)),
    )
    home.mkdir(exist_ok=True)
    # The default of 60 status checks, a second apart, ends before a prediction of a minute does.
    attempts = max(60, int(2 * seconds))
    with ScriptedAPI(*models, script=Script(duration=seconds, boot=seconds / 4, output="hello")) as api:
        environment = contender.peer.environment(api, home)
        ended = run(contender.command(model, attempts), environment, home, terminal=contender.terminal)
        return read(contender, api, ended)


def read(contender: Contender, api: ScriptedAPI, ended: Run) -> Lag:
    if not api.predictions or not ended.stdout:
        raise SystemExit(f"{contender.peer.name} exited with {ended.code} and created nothing: {ended.stderr}")
    end = api.predictions[0].ended
    returned = msgspec.json.decode(ended.stdout, type=Return) if contender.reports else None
    got = returned.got if returned else msgspec.json.decode(ended.stdout)["output"]
    back = returned.at - end if returned else None
    return Lag(
        ended.exited - end, back, len(api.requests), len(api.predictions), "nothing" if got is None else f"{got}"
    )


def measure(peers: Mapping[str, Peer], seconds: float, rounds: int, model: str) -> dict[str, list[Lag]]:
    clients = contenders(peers)
    results: dict[str, list[Lag]] = {name: [] for name in clients}
    together = len(clients) if seconds >= SIDE_BY_SIDE else 1
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(together) as pool:

        def later(name: str, position: int, lasts: float) -> Lag:
            sleep(position if together > 1 else 0)
            return once(clients[name], lasts, model, Path(folder, f"{list(clients).index(name)}"))

        for number in range(rounds):
            lasts = seconds + (number / rounds if seconds >= 1 else 0)
            names = rotated(clients, number)
            for name, lag in zip(names, pool.map(later, names, range(len(names)), repeat(lasts)), strict=True):
                results[name].append(lag)
    return results


def rows(seconds: float, results: Mapping[str, list[Lag]]) -> list[list[str]]:
    base = [lag.exit for lag in results[BASE]]
    return [
        [
            name,
            f"{seconds:g}",
            against(lags, base),
            show([lag.exit for lag in lags]),
            show([lag.back for lag in lags if lag.back is not None]),
            ", ".join(sorted({f"{lag.requests}" for lag in lags})),
            ", ".join(sorted({f"{lag.predictions}" for lag in lags})),
            ", ".join(sorted({lag.got for lag in lags})),
        ]
        for name, lags in results.items()
    ]


def against(lags: list[Lag], base: list[float]) -> str:
    if any(lag.exit < 0 for lag in lags):
        return "back before the end"
    return ratios([lag.exit for lag in lags], base).show()


def show(numbers: list[float]) -> str:
    return f"{Spread.of(numbers).median * 1000:.0f}" if numbers else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[0.5, 3, 20], help="how long the predictions are (0.5 3 20)"
    )
    parser.add_argument("--rounds", type=int, default=0, help="runs of each (default 9, and 3 from 5 s on)")
    parser.add_argument("--version", action="store_true", help="a community model by its version, not an official one")
    parser.add_argument("--cache", type=Path, default=CACHE, help="the folder of the clients' environments")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there")
    arguments = parser.parse_args()
    peers = install(arguments.cache)
    model = f"{COMMUNITY}:{'c0' * 32}" if arguments.version else OFFICIAL
    facts = machine()
    print(f"{describe(facts)}; ratios are medians (least to most) of the rounds' own\n")
    head = ["client", "prediction, s", "end to exit, ratio", "end to exit, ms", "end to return, ms"]
    body: list[list[str]] = []
    measured = []
    for seconds in arguments.seconds:
        results = measure(peers, seconds, arguments.rounds or (3 if seconds >= SIDE_BY_SIDE else 9), model)
        body += rows(seconds, results)
        measured.append({"seconds": seconds, "model": model, "runs": results})
    print(table([*head, "requests", "predictions", "got"], body))
    write_json(arguments.json, {"machine": facts, "base": BASE, "predictions": measured})


if __name__ == "__main__":
    main()

"""How long after a prediction's end its command is done, and how many requests that took, by client.

The scripted API knows when each prediction ended; on the same clock every client's process says when its call returned,
and the launcher when the process was gone. Each measurement has a server of its own. Short predictions run one after
another; from 5 s on the clients of a round run side by side, a second apart, for they sleep. From 1 s on, every round's
prediction is a part of a second longer than the last one's, so that nobody who polls once a second is lucky each time.
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
from report import Spread, describe, keep, machine, ratios, table

from replicate_job.testing import Script, ScriptedAPI, ScriptedModel, openapi_schema

OFFICIAL = "acme/echo"
COMMUNITY = "acme/community-echo"
INPUTS = openapi_schema({"text": {"type": "string"}}, required=["text"])
BASE = "replicate-job"
SIDE_BY_SIDE = 5
"""Seconds from which on predictions of a round overlap."""


class Contender(msgspec.Struct, frozen=True):
    """``command`` makes one from the model and the most status checks. ``tells``: its stdout says when it returned."""

    peer: Peer
    command: Callable[[str, int], list[str]]
    tells: bool = True
    terminal: bool = False


class Answer(msgspec.Struct, frozen=True):
    """What a client's script prints: Unix time of its call's return, and what that returned."""

    at: float
    got: Any


class Lag(msgspec.Struct, frozen=True):
    """Seconds from the first prediction's end to the process's exit and, where it tells, to the call's return.

    ``requests`` went to the API, ``predictions`` were created, ``got`` is the output, or what there was instead.
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
        BASE: Contender(ours, line, tells=False),
        "replicate-job, on a terminal": Contender(ours, line, tells=False, terminal=True),
        "replicate_job.run()": Contender(ours, lambda model, attempts: ours.script("run", model, "hi", str(attempts))),
        V1: Contender(v1, lambda model, _: v1.script("run", model, "hi")),
        V2: Contender(v2, lambda model, _: v2.script("run", model, "hi")),
    }


def once(contender: Contender, seconds: float, model: str, home: Path) -> Lag:
    """One prediction of ``seconds`` by one client, on a server of its own. ``home`` is the client's."""
    models = (
        ScriptedModel(name=OFFICIAL, official=True, schema=INPUTS),
        ScriptedModel(name=COMMUNITY, schema=INPUTS, versions=("c0" * 32,)),
    )
    home.mkdir(exist_ok=True)
    # The default budget, 60 checks a second apart, ends before a prediction of a minute does.
    attempts = max(60, int(2 * seconds))
    with ScriptedAPI(*models, script=Script(duration=seconds, boot=seconds / 4, output="hello")) as api:
        environment = contender.peer.environment(api, home)
        ran = run(contender.command(model, attempts), environment, home, terminal=contender.terminal)
        return read(contender, api, ran)


def read(contender: Contender, api: ScriptedAPI, ran: Run) -> Lag:
    if not api.predictions or not ran.stdout:
        raise SystemExit(f"{contender.peer.name} exited with {ran.code} and created nothing: {ran.stderr}")
    end = api.predictions[0].ended
    answer = msgspec.json.decode(ran.stdout, type=Answer) if contender.tells else None
    got = answer.got if answer else msgspec.json.decode(ran.stdout)["output"]
    back = answer.at - end if answer else None
    return Lag(ran.exited - end, back, len(api.requests), len(api.predictions), "nothing" if got is None else f"{got}")


def measure(peers: Mapping[str, Peer], seconds: float, rounds: int, model: str) -> dict[str, list[Lag]]:
    found = contenders(peers)
    results: dict[str, list[Lag]] = {name: [] for name in found}
    together = len(found) if seconds >= SIDE_BY_SIDE else 1
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(together) as pool:

        def later(name: str, position: int, lasts: float) -> Lag:
            sleep(position if together > 1 else 0)
            return once(found[name], lasts, model, Path(folder, f"{list(found).index(name)}"))

        for number in range(rounds):
            lasts = seconds + (number / rounds if seconds >= 1 else 0)
            names = list(found)
            turned = names[number % len(names) :] + names[: number % len(names)]
            for name, lag in zip(turned, pool.map(later, turned, range(len(turned)), repeat(lasts)), strict=True):
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
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the clients' environments are kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there")
    arguments = parser.parse_args()
    peers = install(arguments.cache)
    model = f"{COMMUNITY}:{'c0' * 32}" if arguments.version else OFFICIAL
    facts = machine()
    print(f"{describe(facts)}; ratios are medians (least to most) of the rounds' own\n")
    head = ["client", "prediction, s", "end to exit, ratio", "end to exit, ms", "end to return, ms"]
    body: list[list[str]] = []
    kept = []
    for seconds in arguments.seconds:
        results = measure(peers, seconds, arguments.rounds or (3 if seconds >= SIDE_BY_SIDE else 9), model)
        body += rows(seconds, results)
        kept.append({"seconds": seconds, "model": model, "runs": results})
    print(table([*head, "requests", "predictions", "got"], body))
    keep(arguments.json, {"machine": facts, "base": BASE, "predictions": kept})


if __name__ == "__main__":
    main()

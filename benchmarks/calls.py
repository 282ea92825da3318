"""What a call costs in an application that runs, compared with the official Python clients.

An application holds one client object and calls a model whose predictions are over at once: one call after another,
and 64 together (16 threads, where calls block). Each client has a process and a home folder of its own; its start and
its first calls are not counted. Then they take short turns, one each a round, in a rotating order: what else runs on
the machine hits all alike. Ratios are taken within a round, to a bare loop that only sends and reads with the HTTP
library of replicate-job. Only replicate-job writes a journal, and syncs it before each request: the disk is that of
the folder for temporary files (TMPDIR). With asyncio, replicate 1.0.7 is far slower than in threads.

At the end, 200 calls wait together for predictions of a second: the threads and descriptors that the process has then,
without the threads that make the calls. Linux only.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from peers import BARE, CACHE, OURS, V1, V2, Peer, install_for_speed
from report import Spread, describe, machine, ratios, rotated, table, write_json
from server import OFFICIAL, Server

BASE = "bare loop"
TOGETHER, THREADS, MANY = 64, 16, 200
TAILS = 0.25
"""The share of the rounds that is left out at each end of a spread."""


class Contender(msgspec.Struct, frozen=True):
    """``together`` is how many workers make the calls that run together: tasks, or threads."""

    peer: Peer
    options: tuple[str, ...]
    together: int = TOGETHER


class Calls(msgspec.Struct, frozen=True):
    """What a client's script prints: seconds of time and of CPU time, and the most threads and descriptors."""

    wall: float
    cpu: float
    threads: int
    descriptors: int


def contenders(cache: Path) -> dict[str, Contender]:
    peers = install_for_speed(cache)
    ours, v1, v2 = peers[OURS], peers[V1], peers[V2]
    return {
        BASE: Contender(peers[BARE], ()),
        "AsyncClient": Contender(ours, ("tasks",)),
        "Client": Contender(ours, ("threads",), THREADS),
        V1: Contender(v1, (), THREADS),
        V2: Contender(v2, ("threads",), THREADS),
        f"{V2}, asyncio with aiohttp": Contender(v2, ("aiohttp",)),
    }


class EndedError(SystemExit):
    """A client's script ended before it was asked to."""


class Caller:
    """A process that makes ``count`` calls a turn, until the ``with`` block ends."""

    def __init__(self, contender: Contender, server: Server, folder: Path, count: int, workers: int) -> None:
        self._command = contender.peer.script("calls", OFFICIAL.name, f"{count}", f"{workers}", *contender.options)
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=contender.peer.environment(server, folder),
            cwd=folder,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()

    def turn(self) -> Calls:
        assert self._process.stdin  # noqa: S101 - pipes, by construction
        assert self._process.stdout  # noqa: S101
        self._process.stdin.write("turn\n")
        self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            raise EndedError(f"{self._command} has ended")
        return msgspec.json.decode(line, type=Calls)


def measure(clients: Mapping[str, Contender], count: int, rounds: int, *, together: bool) -> dict[str, list[Calls]]:
    results: dict[str, list[Calls]] = {name: [] for name in clients}
    with Server() as server, ExitStack() as stack:
        callers: dict[str, Caller] = {}
        for name, contender in clients.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            workers = contender.together if together else 1
            callers[name] = stack.enter_context(Caller(contender, server, folder, count, workers))
        for number in range(rounds):
            for name in rotated(clients, number):
                results[name].append(callers[name].turn())
    return results


def speeds(count: int, results: Mapping[str, list[Calls]]) -> list[list[str]]:
    def column(name: str, figure: str) -> list[float]:
        return [getattr(calls, figure) for calls in results[name]]

    def cells(name: str) -> list[str]:
        wall, cpu = column(name, "wall"), column(name, "cpu")
        return [
            name,
            f"{count / Spread.of(wall).median:.0f}",
            ratios(wall, column(BASE, "wall"), without=TAILS).show(),
            ratios(cpu, column(BASE, "cpu"), without=TAILS).show(),
            f"{Spread.of(cpu).median * 1e6 / count:.0f}",
        ]

    return [cells(name) for name in results]


def crowd(clients: Mapping[str, Contender]) -> dict[str, Calls | None]:
    """What each client takes for 200 calls. None if it failed, as replicate 1.0.7 sometimes does."""
    results: dict[str, Calls | None] = {}
    with Server("--duration", "1") as server:
        for name, contender in clients.items():
            with (
                tempfile.TemporaryDirectory() as folder,
                Caller(contender, server, Path(folder), MANY, MANY) as caller,
            ):
                try:
                    results[name] = caller.turn()
                except EndedError:
                    results[name] = None
    return results


def sizes(name: str, calls: Calls | None) -> list[str]:
    return [name, f"{calls.threads}", f"{calls.descriptors}"] if calls else [name, "failed", "failed"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=400, help="calls a turn together, and a tenth of it alone (400)")
    parser.add_argument("--rounds", type=int, default=50, help="rounds (50)")
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="clients with one of these in the name")
    parser.add_argument("--cache", type=Path, default=CACHE, help="the folder of the clients' environments")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there")
    arguments = parser.parse_args()
    clients = {
        name: contender
        for name, contender in contenders(arguments.cache).items()
        if name == BASE or any(text in name for text in arguments.only)
    }
    few, many, facts = arguments.count // 10, arguments.count, machine()
    print(f"{describe(facts)}; {arguments.rounds} rounds; medians (the middle half)")
    head = ["calls/s", "time, ratio", "CPU, ratio", "CPU, us a call"]
    alone = measure(clients, few, arguments.rounds, together=False)
    print("", table(["one after another", *head], speeds(few, alone)), sep="\n")
    together = measure(clients, many, arguments.rounds, together=True)
    print("", table([f"{TOGETHER} together", *head], speeds(many, together)), sep="\n")
    crowded = crowd(clients)
    body = [sizes(name, calls) for name, calls in crowded.items()]
    print("", table([f"{MANY} together", "threads", "descriptors"], body), sep="\n")
    runs = {"alone": alone, "together": together, "crowd": crowded}
    write_json(arguments.json, {"machine": facts, "base": BASE, "count": many, "runs": runs})


if __name__ == "__main__":
    main()

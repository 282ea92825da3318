"""The scripted API in a process of its own, for clients that are measured in another.

It prints one line of JSON, ``{"base_url", "token"}``, and serves until its stdin ends. For a line ``stats`` on stdin
it prints another line: ``requests`` by operation, ``predictions`` created, requests ``throttled`` by the rate limit,
and ``cpu``, its CPU time in seconds. Predictions end at once unless ``--duration`` says otherwise.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import msgspec

from replicate_job.serving.faults import OPERATIONS
from replicate_job.testing import Script, ScriptedAPI


class ServerAddress(msgspec.Struct, frozen=True):
    base_url: str
    token: str


class Stats(msgspec.Struct, frozen=True):
    requests: dict[str, int]
    predictions: int
    throttled: int
    cpu: float


class Server:
    """A process that runs this script until the ``with`` block ends."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, __file__, *options]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._address = msgspec.json.decode(self._read(), type=ServerAddress)

    @property
    def base_url(self) -> str:
        return self._address.base_url

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which a client uses this API, as in ``ScriptedAPI.environment``."""
        return {"REPLICATE_API_TOKEN": self._address.token, "REPLICATE_BASE_URL": self.base_url}

    def stats(self) -> Stats:
        assert self._process.stdin  # noqa: S101 - a pipe, by construction
        self._process.stdin.write("stats\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._read(), type=Stats)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout  # noqa: S101 - a pipe, by construction
        return self._process.stdout.readline()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration", type=float, default=0.0, help="seconds that a prediction takes (0)")
    parser.add_argument("--list-lag", type=float, default=0.0, help="seconds until a prediction is listed (0)")
    parser.add_argument("--faults", default="", help="in the language of replicate_job.serving.faults, as rate=600/min")
    parser.add_argument("--remember", type=int, help="requests, and ended predictions, that it remembers (all)")
    arguments = parser.parse_args()
    script = Script(duration=arguments.duration, boot=0, output="hello")
    with ScriptedAPI(
        script=script, faults=arguments.faults, list_lag=arguments.list_lag, remember=arguments.remember
    ) as api:
        send(ServerAddress(api.base_url, api.token))
        for line in sys.stdin:
            if line == "stats\n":
                send(stats(api))


def stats(api: ScriptedAPI) -> Stats:
    counts = {operation: count for operation in OPERATIONS if (count := api.count(operation))}
    return Stats(counts, api.created, api.faults.throttled, time.process_time())


def send(message: msgspec.Struct) -> None:
    print(msgspec.json.encode(message).decode(), flush=True)


if __name__ == "__main__":
    main()

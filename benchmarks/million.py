"""Whether a batch of a million rows is as fast, and takes as little memory, at its end as at its start. Linux only.

``replicate-job batch`` makes an instant prediction for each row, on an API in another process that stores none. Every
few seconds a sample counts the rows with results and measures the batch's resident memory.
Rates are rows a second over the first and the last tenth of the rows. Memory is that of the first sample after 10 %,
and of the last one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
from peers import CACHE, OURS, install
from report import describe, machine, table, write_json
from server import Server, Stats

MODEL = "replicate/hello-world"
ROWS, RESULTS, JOURNAL = "rows.jsonl", "results.jsonl", "journal.db"


class Sample(msgspec.Struct, frozen=True):
    """``at`` is seconds since the start, ``rss`` bytes of resident memory of the batch, ``done`` rows with a result."""

    at: float
    done: int
    rss: int


class BatchProcess:
    """A process of ``replicate-job batch`` in the folder ``home``."""

    def __init__(self, program: str, environment: Mapping[str, str], home: Path) -> None:
        command = [program, "batch", MODEL, ROWS, "--results", RESULTS, "--no-save", "--no-report", "--rate", "none"]
        self._start = time.perf_counter()
        self._process = subprocess.Popen([*command, "--journal", JOURNAL], env=environment, cwd=home)
        self._results, self._done, self._read = home / RESULTS, 0, 0

    def watch(self, every: float) -> list[Sample]:
        """A sample each ``every`` seconds until the process ends. Raises SystemExit if it fails."""
        samples = [Sample(0.0, 0, 0)]
        while self._process.poll() is None:
            samples.append(Sample(time.perf_counter() - self._start, self._count(), self._rss() or samples[-1].rss))
            print(f"{samples[-1].at:.0f} s: {samples[-1].done} rows, {samples[-1].rss / 1e6:.0f} MB", file=sys.stderr)
            try:
                self._process.wait(every)
            except subprocess.TimeoutExpired:
                continue
        if self._process.returncode:
            raise SystemExit(f"replicate-job batch exited with {self._process.returncode}")
        return [*samples, Sample(time.perf_counter() - self._start, self._count(), samples[-1].rss)]

    def _count(self) -> int:
        if self._results.exists():
            with self._results.open("rb") as results:
                results.seek(self._read)
                while piece := results.read(1 << 20):
                    self._done, self._read = self._done + piece.count(b"\n"), self._read + len(piece)
        return self._done

    def _rss(self) -> int:
        """Bytes of resident memory; 0 once the process has ended."""
        facts = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in facts if line.startswith("VmRSS:")), 0)


def reached(samples: Sequence[Sample], done: float) -> Sample:
    """When so many rows were done, interpolated between two samples; the memory is that of the later one."""
    for before, after in pairwise(samples):
        if after.done >= done:
            part = (done - before.done) / max(1, after.done - before.done)
            return Sample(before.at + part * (after.at - before.at), int(done), after.rss)
    raise SystemExit(f"only {samples[-1].done} rows have results")


def summary(samples: Sequence[Sample], count: int, journal: int, stats: Stats) -> list[list[str]]:
    tenth, most, end = (reached(samples, count * part) for part in (0.1, 0.9, 1.0))
    first, last = count / 10 / tenth.at, count / 10 / (end.at - most.at)
    return [
        ["rows", f"{count}"],
        ["predictions created", f"{stats.predictions}"],
        ["requests", f"{sum(stats.requests.values())}"],
        ["seconds", f"{end.at:.0f}"],
        ["rows/s, first tenth", f"{first:.0f}"],
        ["rows/s, last tenth", f"{last:.0f}"],
        ["last tenth to first, ratio", f"{last / first:.2f}"],
        ["memory at 10%, MB", f"{tenth.rss / 1e6:.0f}"],
        ["memory at 100%, MB", f"{samples[-1].rss / 1e6:.0f}"],
        ["journal, MB", f"{journal / 1e6:.0f}"],
        ["journal, bytes a row", f"{journal / count:.0f}"],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000, help="rows (1000000)")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two samples (5)")
    parser.add_argument("--cache", type=Path, default=CACHE, help="the folder of the client's environment")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    arguments = parser.parse_args()
    ours = install(arguments.cache)[OURS]
    with tempfile.TemporaryDirectory() as folder, Server() as server:
        home = Path(folder)
        with (home / ROWS).open("w") as rows:
            rows.writelines(f'{{"text": "row {row}"}}\n' for row in range(arguments.count))
        environment = ours.environment(server, home)
        samples = BatchProcess(ours.program("replicate-job"), environment, home).watch(arguments.every)
        journal, stats = sum(file.stat().st_size for file in home.glob(f"{JOURNAL}*")), server.stats()
    facts = machine()
    print(f"{describe(facts)}\n")
    print(table(["of the whole batch", ""], summary(samples, arguments.count, journal, stats)))
    write_json(arguments.json, {"machine": facts, "count": arguments.count, "journal": journal, "samples": samples})


if __name__ == "__main__":
    main()

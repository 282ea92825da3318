"""How many instant rows a fleet does in a second, and what they cost its database. Linux only.

A batch is submitted to a PostgreSQL of its own, then workers start, which create every row on an API in another process
that answers with ended predictions. Counted are rows a second from the first row to the last, the CPU time of workers
and of the database, and the database's transactions and WAL. With ``--statements`` the server logs each statement,
which takes its time: count them in a run of its own.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from report import describe, machine, table, write_json
from server import COMMUNITY, Server

from replicate_job.journal.postgres_local import LocalServer

PROGRAM = (sys.executable, "-m", "replicate_job")
ROWS = "rows.jsonl"
EVERY = 0.1
"""Seconds between two looks at the rows."""
TICKS = os.sysconf("SC_CLK_TCK")
_LOGGED = re.compile(r"LOG:  (?:execute [^:]*|statement): +(\w+)")


class Figures(msgspec.Struct, frozen=True):
    """``submit`` is seconds of the whole command, ``seconds`` those from the first row on, ``load`` the machine's."""

    rows: int
    workers: int
    submit: float
    seconds: float
    worker_cpu: float
    database_cpu: float
    api_cpu: float
    transactions: int
    wal: int
    load: float
    statements: dict[str, int] = {}


class Database:
    """A PostgreSQL in a folder, while it is open."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._server = folder, LocalServer(str(folder))

    def open(self) -> None:
        self._server.open()

    def close(self) -> None:
        self._server.close()

    @property
    def address(self) -> str:
        return self._server.address()

    def query(self, statement: str) -> dict[str, Any]:
        with psycopg.connect(self.address, autocommit=True, row_factory=psycopg.rows.dict_row) as connection:
            cursor = connection.execute(statement.encode())
            return (cursor.fetchone() if cursor.description else None) or {}

    def log_statements(self) -> None:
        self.query("ALTER SYSTEM SET log_statement = 'all'")
        self.query("SELECT pg_reload_conf()")

    def statements(self, after: int = 0) -> Counter[str]:
        with (self._folder / "log").open("rb") as log:
            log.seek(after)
            return Counter(_LOGGED.findall(log.read().decode(errors="replace")))

    @property
    def log_size(self) -> int:
        return (self._folder / "log").stat().st_size

    def cpu(self) -> float:
        """Seconds of the server and of all its processes, those that have ended included."""
        server = int((self._folder / "postmaster.pid").read_text().split()[0])
        found = _times(server)
        total = sum(found.values())
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and (its := _times(int(process.name), parent=server)):
                total += its["own"]
        return total

    def counts(self) -> dict[str, Any]:
        return self.query(
            "SELECT xact_commit + xact_rollback AS transactions, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"
            " AS wal FROM pg_stat_database WHERE datname = current_database()"
        )


def _times(pid: int, parent: int | None = None) -> dict[str, float]:
    """CPU seconds of a process: its own, and those of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except OSError:
        return {}
    if parent is not None and int(fields[1]) != parent:
        return {}
    own, ended = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
    return {"own": own / TICKS, "ended": ended / TICKS}


@contextmanager
def workers(number: int, environment: Mapping[str, str], home: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    started = [subprocess.Popen([*PROGRAM, "worker", "--quiet"], env=environment, cwd=home) for _ in range(number)]
    try:
        yield started
    finally:
        for worker in started:
            worker.terminate()
        for worker in started:
            worker.wait()


def measure(rows: int, number: int, *, statements: bool) -> Figures:
    with tempfile.TemporaryDirectory() as name, Server() as server:
        home = Path(name)
        home.chmod(0o755)  # PostgreSQL never runs as root
        (home / ROWS).write_text("".join(f'{{"text": "row {row}"}}\n' for row in range(rows)))
        database = Database(home / "database")
        database.open()
        try:
            environment = {
                "PATH": os.defpath,
                "HOME": str(home),
                "REPLICATE_JOB_JOURNAL": database.address,
                **server.environment,
            }
            subprocess.run([*PROGRAM, "migrate"], env=environment, cwd=home, check=True, stderr=subprocess.DEVNULL)
            if statements:
                database.log_statements()
            began = time.perf_counter()
            command = ["batch", COMMUNITY.name, ROWS, "--fleet", "--detach", "--no-save", "--rate", "none"]
            subprocess.run([*PROGRAM, *command], env=environment, cwd=home, check=True, stdout=subprocess.DEVNULL)
            submit = time.perf_counter() - began
            before, cpu, api_cpu, log = database.counts(), database.cpu(), server.stats().cpu, database.log_size
            with workers(number, environment, home) as started:
                seconds = _wait(database, rows)
                load = os.getloadavg()[0]
                after = database.counts()
                spent = sum(_times(worker.pid)["own"] for worker in started)
                spent_there = database.cpu() - cpu
                said = database.statements(log) if statements else {}
            assert server.stats().predictions == rows  # noqa: S101 - a benchmark of something that works
            return Figures(
                rows=rows,
                workers=number,
                submit=submit,
                seconds=seconds,
                worker_cpu=spent,
                database_cpu=spent_there,
                api_cpu=server.stats().cpu - api_cpu,
                transactions=after["transactions"] - before["transactions"],
                wal=after["wal"] - before["wal"],
                load=load,
                statements=dict(said),
            )
        finally:
            database.close()


def _wait(database: Database, rows: int) -> float:
    """Seconds from the first row that is over to the last."""
    query = "SELECT count(*) AS done FROM replicate_job.jobs WHERE state = 'collected'"
    began: float | None = None
    with psycopg.connect(database.address, autocommit=True) as connection:
        while True:
            found = connection.execute(query.encode()).fetchone()
            done = found[0] if found else 0
            if done and began is None:
                began = time.perf_counter()
            if done >= rows and began is not None:
                return time.perf_counter() - began
            time.sleep(EVERY)


def describe_run(found: Figures) -> list[list[str]]:
    rows, cpu = found.rows, found.worker_cpu + found.database_cpu
    brackets = sum(found.statements.get(word, 0) for word in ("BEGIN", "COMMIT", "ROLLBACK"))
    lines = [
        ["rows, workers", f"{rows}, {found.workers}"],
        ["the submit's command, seconds", f"{found.submit:.2f}"],
        ["rows a second", f"{rows / found.seconds:.0f}"],
        ["rows a CPU second of workers and database", f"{rows / cpu:.0f}"],
        ["CPU of the workers a row, ms", f"{found.worker_cpu / rows * 1000:.2f}"],
        ["CPU of the database a row, ms", f"{found.database_cpu / rows * 1000:.2f}"],
        ["CPU of the API a row, ms", f"{found.api_cpu / rows * 1000:.2f}"],
        ["transactions a row", f"{found.transactions / rows:.2f}"],
        ["WAL a row, kB", f"{found.wal / rows / 1000:.1f}"],
        ["load of the machine", f"{found.load:.1f}"],
    ]
    if found.statements:
        total = sum(found.statements.values())
        lines += [
            ["statements a row", f"{(total - brackets) / rows:.2f}"],
            ["the same with BEGIN and COMMIT", f"{total / rows:.2f}"],
        ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--statements", action="store_true", help="count statements, which slows the database")
    parser.add_argument("--json", type=Path, help="write every number there")
    given = parser.parse_args()
    found = measure(given.rows, given.workers, statements=given.statements)
    print(describe(machine()), end="\n\n")
    print(table(["", "measured"], describe_run(found)))
    write_json(given.json, {"machine": machine(), "figures": msgspec.to_builtins(found)})


if __name__ == "__main__":
    main()

"""A journal behind PgBouncer. These tests run where PgBouncer is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psycopg
import pytest
from tests.e2e.fleet import SDXL, fleet_of, paint

from replicate_job.testing import ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command
    from tests.postgres import Postgres

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")
SETTINGS = """
[databases]
* = host={folder} port=5432 user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 40
"""
pytestmark = [
    pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed"),
    pytest.mark.replicate_api(list_lag=0.1),
]


@contextmanager
def pooled(postgres: Postgres, mode: str, folder: Path) -> Iterator[Callable[[str], str]]:
    """A pool in front of the server, for the block: a function that gives a database's URL there."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    sockets = postgres.execute("SHOW unix_socket_directories")[0]["unix_socket_directories"]
    settings = folder / "pgbouncer.ini"
    settings.write_text(SETTINGS.format(folder=sockets, port=port, mode=mode))
    user = ["-u", "pgserver"] if os.geteuid() == 0 else []  # it does not run as root, nor does the server
    command = [PGBOUNCER or "", "-q", *user, "/dev/stdin"]
    with settings.open() as given, subprocess.Popen(command, stdin=given, stderr=subprocess.DEVNULL) as process:
        try:
            yield lambda database: f"postgresql://postgres@127.0.0.1:{port}/{database}"
        finally:
            process.terminate()


def answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def test_a_fleet_works_behind_a_connection_pool_in_session_mode(
    command: Command, postgres: Postgres, api: ScriptedAPI, tmp_path: Path
) -> None:
    api.models[SDXL] = msgspec.structs.replace(api.models[SDXL], script=paint)
    with pooled(postgres, "session", tmp_path) as url, fleet_of(command, postgres, api) as fleet:
        fleet.wait(partial(answers, url(fleet.name)))
        command.environment["REPLICATE_JOB_JOURNAL"] = url(fleet.name)
        prompts = [f"picture {line}" for line in range(30)]
        fleet.submit(prompts)
        fleet.start(2)
        fleet.wait(lambda: fleet.states() == {"collected": 30})
        fleet.check(prompts)


def test_a_connection_pool_in_transaction_mode_is_refused_with_a_one_line_error(
    command: Command, postgres: Postgres, api: ScriptedAPI, tmp_path: Path
) -> None:
    with pooled(postgres, "transaction", tmp_path) as url, fleet_of(command, postgres, api) as fleet:
        fleet.wait(partial(answers, url(fleet.name)))
        command.environment["REPLICATE_JOB_JOURNAL"] = url(fleet.name)
        for words in (["list"], ["worker"]):
            done = command(*words)
            assert done.code == 3
            assert "is behind a pool of transactions, which loses a session's settings: set pool_mode" in done.error

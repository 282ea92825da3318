"""A connection to a PostgreSQL server. Tests can cut it or freeze it."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, quote, urlsplit

if TYPE_CHECKING:
    from tests.postgres import Postgres


class Line:
    """``url`` is the database's address here. ``loses``: it drops notifications, as a transaction pool does."""

    def __init__(self, postgres: Postgres, database: str, *, loses: bool = False) -> None:
        url = urlsplit(postgres.url(database))
        self._server = f"{parse_qs(url.query)['host'][0]}/.s.PGSQL.5432"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._loses, self.lost = loses, 0
        self._passes = threading.Event()
        self._passes.set()
        self._is_cut = False
        self._ends: list[socket.socket] = []
        port, user = self._listener.getsockname()[1], quote(url.username or "postgres")
        self.url = f"postgresql://{user}@127.0.0.1:{port}/{database}?sslmode=disable&gssencmode=disable"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._listener.close()

    def cut(self) -> None:
        """Close all connections, and every new one at once."""
        self._is_cut = True
        self._passes.set()
        self._end_all()

    def freeze(self) -> None:
        """Forward nothing more. Connections stay open, and new ones are accepted."""
        self._passes.clear()

    def mend(self) -> None:
        """Forward again. Bytes that were not forwarded are lost."""
        self._is_cut = False
        self._end_all()
        self._passes.set()

    def _end_all(self) -> None:
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                if self._is_cut:
                    client.close()
                    continue
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._ends += [client, server]
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._return, args=(server, client), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), closing(client), closing(server):
            while data := client.recv(65536):
                self._passes.wait()
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)

    def _return(self, server: socket.socket, client: socket.socket) -> None:
        """Forward message by message: each has a kind, a length, and the rest."""
        with suppress(OSError), server.makefile("rb") as messages:
            while head := messages.read(5):
                message = head + messages.read(int.from_bytes(head[1:]) - 4)
                self._passes.wait()
                if self._loses and head[:1] == b"A":
                    self.lost += 1
                else:
                    client.sendall(message)
            client.shutdown(socket.SHUT_RDWR)

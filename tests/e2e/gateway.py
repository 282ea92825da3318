"""A gateway in front of a scripted API. It serves the API under its own path."""

from __future__ import annotations

import ssl
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pathlib import Path

    from replicate_job.testing import ScriptedAPI

_HOP = {"host", "connection", "transfer-encoding", "content-length"}


class Gateway:
    """Forwards requests for ``path`` to the API's ``/v1``, also those that a client sends to it as to a proxy.

    ``paths`` are the requested paths, with the method. ``moved`` maps a path to the status and the address of
    its redirect. With ``certificate``, a pair of files, it speaks TLS.
    """

    def __init__(self, api: ScriptedAPI, path: str, certificate: tuple[Path, Path] | None = None) -> None:
        self.path, self.paths = path, list[str]()
        self.moved: dict[str, tuple[int, str]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(api))
        self._server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            # The handshake is each connection's own thread's: one that fails does not stop the server.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme, host = ("https", "localhost") if certificate else ("http", "127.0.0.1")
        self.origin = f"{scheme}://{host}:{self._server.server_port}"
        self.url = self.origin + path

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self, api: ScriptedAPI) -> type[BaseHTTPRequestHandler]:
        gateway, there = self, urlsplit(api.base_url).netloc

        class Handler(BaseHTTPRequestHandler):
            def _pass_on(self) -> None:
                parts = urlsplit(self.path)
                gateway.paths.append(f"{self.command} {parts.path}")
                if parts.path in gateway.moved:
                    status, location = gateway.moved[parts.path]
                    self._answer(status, [("location", location)], b"")
                elif not parts.path.startswith(gateway.path + "/"):
                    self._answer(404, [], b'{"detail":"no such path"}')
                else:
                    self._forward("/v1" + parts.path.removeprefix(gateway.path), parts.query)

            do_GET = do_POST = _pass_on  # noqa: N815 - the library's names

            def _forward(self, path: str, query: str) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
                connection = HTTPConnection(there)
                connection.request(self.command, f"{path}?{query}" if query else path, body or None, headers)
                answer = connection.getresponse()
                given = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
                self._answer(answer.status, given, answer.read())
                connection.close()

            def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
                self.send_response_only(status)
                for name, value in (*headers, ("content-length", str(len(body))), ("connection", "close")):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

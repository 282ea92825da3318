"""An S3 server of this machine (moto's) that can hold and refuse requests."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self
from urllib.request import Request, urlopen

import obstore
from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from obstore.store import S3Store
from werkzeug.serving import make_server

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"  # noqa: S105 - nobody's
KEY = "AKIAIOSFODNN7EXAMPLE"


class S3:
    """``environment`` has its address and keys. ``requests`` are texts such as ``PUT /bucket/key?query``."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._app: Any = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.requests: list[str] = []
        self._came = threading.Condition()
        self._holds: Callable[[str], bool] = lambda _: False
        self._refuses: Callable[[str], bool] = lambda _: False
        self._go = threading.Event()
        self.url = f"http://127.0.0.1:{self._server.port}"

    def __enter__(self) -> Self:
        get_backend("s3").reset()  # moto's stores are the process's: an earlier server's objects are in them
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def environment(self) -> Mapping[str, str]:
        found = {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        return MappingProxyType(found | {"AWS_REGION": "us-east-1"})

    def hold(self, which: Callable[[str], bool]) -> None:
        """Answer no matching request before ``release``."""
        self._go.clear()
        self._holds = which

    def release(self) -> None:
        self._holds = lambda _: False
        self._go.set()

    def refuse(self, which: Callable[[str], bool]) -> None:
        """Answer matching requests with 403."""
        self._refuses = which

    def wait_for(self, pattern: str) -> None:
        """Wait until a matching request has come."""
        with self._came:
            assert self._came.wait_for(lambda: any(re.search(pattern, one) for one in self.requests), 30), self.requests

    def make(self, bucket: str) -> None:
        self._ask("PUT", bucket)

    def keys(self, bucket: str) -> list[str]:
        return re.findall(r"<Key>(.*?)</Key>", self._ask("GET", bucket).decode())

    def uploads(self, bucket: str) -> list[str]:
        """The keys of uploads in parts that are neither completed nor aborted."""
        return re.findall(r"<Key>(.*?)</Key>", self._ask("GET", f"{bucket}?uploads").decode())

    def read(self, url: str) -> bytes:
        return bytes(self._get(url).bytes())

    def type_of(self, url: str) -> str | None:
        return self._get(url).attributes.get("Content-Type")

    def _get(self, url: str) -> obstore.GetResult:
        bucket, _, key = url.removeprefix("s3://").partition("/")
        store = S3Store(
            bucket,
            endpoint=self.url,
            access_key_id=KEY,
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
        )
        return obstore.get(store, key)

    def _ask(self, method: str, path: str) -> bytes:
        with urlopen(Request(f"{self.url}/{path}", method=method)) as answer:  # noqa: S310 - ours
            body: bytes = answer.read()
            return body

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        query = environ["QUERY_STRING"]
        line = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}" + (f"?{query}" if query else "")
        with self._came:
            self.requests.append(line)
            self._came.notify_all()
        if self._holds(line):
            self._go.wait(20)
        if self._refuses(line):
            body = f"<Error><Code>AccessDenied</Code><AWSAccessKeyId>{KEY}</AWSAccessKeyId></Error>".encode()
            start("403 Forbidden", [("content-type", "application/xml"), ("content-length", str(len(body)))])
            return [body]
        answered: Iterable[bytes] = self._app(environ, start)
        return answered

"""A whole scripted Replicate API, with its delivery host, in a thread of its own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

from replicate_job.serving.faults import Faults
from replicate_job.serving.middleware import FaultMiddleware, operation
from replicate_job.serving.upload import LARGEST
from replicate_job.testing.account import ScriptedAccount
from replicate_job.testing.delivery import Delivery
from replicate_job.testing.models import DEFAULT_DEPLOYMENTS, DEFAULT_MODELS, ScriptedDeployment, ScriptedModel
from replicate_job.testing.record import RecordedRequest, Recorder, RequestLog
from replicate_job.testing.routes import Authenticated, Endpoints
from replicate_job.testing.server import LoopbackServer
from replicate_job.testing.stream import Streams
from replicate_job.testing.uploads import ScriptedUploads, UploadedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from starlette.types import Receive, Scope, Send

    from replicate_job.testing.predictions import ScriptedPrediction
    from replicate_job.testing.script import Script

SHORTEST_LAG = 3.0
"""Seconds for a list that is never late."""
OVERTAKING = 6.0
"""How many times longer an item may be late alone than behind newer ones."""


class ScriptedAPI:
    """Replicate's HTTP API on a free loopback port, where predictions go as scripts say and faults strike on request.

    It listens from construction on and answers inside ``with``, to this process and to others. ``models`` and
    ``deployments`` come on top of the default ones. ``script`` replaces the scripts of all models. ``faults`` is a
    ``Faults`` or its text (``create:drop-after=0.2,get:503=0.3``), drawn by ``seed``.

    Times are in seconds: ``list_lag`` until a created prediction is listed (a pair: drawn between the two),
    ``missing_for`` until its GET stops answering 404, ``expire`` from its end until its data are removed (an hour),
    ``file_expire`` until an upload is gone (a day). ``upload_limit`` is in bytes (100 MiB).

    With ``remember``, memory does not grow with what was: the server keeps at least so many of the latest requests,
    and of the latest predictions that have ended, and at most about twice as many. To a client, a prediction that is
    forgotten was never there, nor were its files. The counts stay right.

    ``base_url`` is without ``/v1``; ``files_url`` is the delivery host and the streams, another origin.
    """

    def __init__(  # noqa: PLR0913 - each is one fact about the server, and none is needed
        self,
        *models: ScriptedModel,
        deployments: Iterable[ScriptedDeployment] = (),
        script: Script | None = None,
        faults: Faults | str = "",
        seed: int = 0,
        token: str = "r8_testing_0123456789abcdefghijklmnopqr",  # noqa: S107 - a token that opens nothing
        list_lag: float | tuple[float, float] = 0.0,
        missing_for: float = 0.0,
        expire: float | None = None,
        file_expire: float = 24 * 3600,
        upload_limit: int = LARGEST,
        remember: int | None = None,
    ) -> None:
        self.token = token
        self.faults = Faults.parse(faults, seed=seed) if isinstance(faults, str) else faults
        self._log = RequestLog(remember)
        self._delivery, self._uploads = Delivery(), ScriptedUploads(file_expire, upload_limit)
        self._account = ScriptedAccount(
            (*DEFAULT_MODELS, *models), (*DEFAULT_DEPLOYMENTS, *deployments), self._delivery
        )
        self._account.script, self._account.remember = script, remember
        self._account.missing_for = missing_for
        self._account.list_lag = list_lag if isinstance(list_lag, tuple) else (list_lag, list_lag)
        self._account.keep = next(given for given in (expire, self.faults.expire, 3600.0) if given is not None)
        self._streams = Streams(self._account.find)
        api = FaultMiddleware(Authenticated(Endpoints(self._account, self._uploads).app(), token), self.faults)
        files = FaultMiddleware(self._serve_files, self.faults, _files_operation)
        self._server = LoopbackServer(
            Recorder(api, self._log, "api", operation),
            Recorder(files, self._log, "files", _files_operation),
        )
        self.base_url, self.files_url = self._server.origins
        self._account.origin, self._delivery.origin = self.base_url, self.files_url

    def start(self) -> Self:
        self._server.start()
        return self

    def close(self) -> None:
        self._server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request that is remembered, also those that a fault struck, in order of arrival, on both origins."""
        return list(self._log.requests)

    @property
    def predictions(self) -> list[ScriptedPrediction]:
        """Every prediction that is remembered, in order of creation."""
        return list(self._account.predictions)

    @property
    def created(self) -> int:
        """How many predictions were created so far, also if they are forgotten by now."""
        return self._account.created

    @property
    def uploads(self) -> list[UploadedFile]:
        """Every uploaded file that was not deleted, in order."""
        return list(self._uploads.files.values())

    @property
    def models(self) -> dict[str, ScriptedModel]:
        """By ``owner/name``. Put another in to change one while the server runs."""
        return self._account.models

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which a subprocess reaches this server.

        REPLICATE_API_TOKEN, REPLICATE_BASE_URL, and in REPLICATE_JOB_LIST_LAG how late its list can be: so much is
        waited for it after a create request that broke.
        """
        lag = max(SHORTEST_LAG, OVERTAKING * max(self._account.list_lag))
        return {
            "REPLICATE_API_TOKEN": self.token,
            "REPLICATE_BASE_URL": self.base_url,
            "REPLICATE_JOB_LIST_LAG": f"{lag:g}",
        }

    def count(self, operation: str) -> int:
        """How many requests of this operation (``create``, ``get``, ``list`` …) came so far."""
        return self._log.counts[operation]

    def next(self, *scripts: Script) -> None:
        """The next predictions go like this, one each and in order, whatever their model."""
        self._account.scripts.extend(scripts)

    def wait_until(self, condition: Callable[[], object], *, seconds: float = 10) -> None:
        """Block until ``condition`` holds, looking every 2 ms. Raises TimeoutError.

        ``api.wait_until(lambda: api.predictions)`` waits for the first creation. In a coroutine, call it in a thread.
        """
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"still not so after {seconds} s and {self._log.counts.total()} requests")
            time.sleep(0.002)

    def strayed_token(self) -> list[RecordedRequest]:
        """Requests that brought the token to the delivery host: there must be none."""
        return [
            request
            for request in self.requests
            if request.origin == "files" and self.token in f"{request.headers}{request.path}{request.query}"
        ]

    async def _serve_files(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: Any = self._streams if scope["path"].startswith("/stream/") else self._delivery
        await app(scope, receive, send)


def _files_operation(scope: Scope) -> str:
    return "stream" if scope["path"].startswith("/stream/") else "download"

"""A scripted Replicate API with its delivery host, in a thread of its own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

from replicate_job.serving.faults import Faults
from replicate_job.serving.middleware import FaultMiddleware, operation
from replicate_job.serving.upload import LARGEST
from replicate_job.serving.versioned import versioned
from replicate_job.testing.account import ScriptedAccount
from replicate_job.testing.delivery import Delivery
from replicate_job.testing.environment import environment_of
from replicate_job.testing.models import DEFAULT_DEPLOYMENTS, DEFAULT_MODELS, ScriptedDeployment, ScriptedModel
from replicate_job.testing.record import RecordedRequest, Recorder, RequestLog
from replicate_job.testing.routes import Authenticated, Endpoints
from replicate_job.testing.server import LoopbackServer
from replicate_job.testing.stream import Streams
from replicate_job.testing.trainings import ScriptedTraining
from replicate_job.testing.uploads import ScriptedUploads, UploadedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from starlette.types import Receive, Scope, Send

    from replicate_job.testing.predictions import ScriptedPrediction
    from replicate_job.testing.script import Script


class ScriptedAPI:
    """Replicate's HTTP API on loopback, with predictions that follow scripts, and with faults on request.

    It listens as soon as it is constructed, and answers requests inside ``with``, from this process and from others.
    ``models`` and ``deployments`` are added to the default ones. ``trainings`` are the account's trainings, oldest
    first. ``script`` replaces the scripts of all models. ``faults`` is a ``Faults`` or its text
    (``create:drop-after=0.2,get:503=0.3``); ``seed`` makes its chances repeatable.

    Times are in seconds. The list shows a prediction ``list_lag`` after its creation; a pair is a range, from which a
    time is drawn. A GET of the prediction is answered 404 until ``missing_for`` after its creation. Its data are
    removed ``expire`` after its end (default: the ``expire`` of ``faults``, else an hour). An upload is removed after
    ``file_expire`` (a day). ``upload_limit`` is in bytes (100 MiB).

    With ``remember``, memory stays bounded: the server remembers at least that many of the latest requests and of the
    latest ended predictions, and at most about twice as many. A client gets 404 for a forgotten prediction and its
    files. The counts include forgotten requests and predictions.

    ``base_url`` is without ``/v1``. Clients may add it, because the paths are answered with and without it.
    ``files_url`` is the origin of the delivery host and of the streams. ``ports`` are the port of the API and
    the port of ``files_url``; 0 is a free port. Raises OSError for a port that is in use.
    """

    def __init__(  # noqa: PLR0913 - one argument for each property of the server, all with defaults
        self,
        *models: ScriptedModel,
        deployments: Iterable[ScriptedDeployment] = (),
        trainings: Iterable[ScriptedTraining] = (),
        script: Script | None = None,
        faults: Faults | str = "",
        seed: int = 0,
        token: str = "r8_testing_0123456789abcdefghijklmnopqr",  # noqa: S107 - not a secret
        list_lag: float | tuple[float, float] = 0.0,
        missing_for: float = 0.0,
        expire: float | None = None,
        file_expire: float = 24 * 3600,
        upload_limit: int = LARGEST,
        remember: int | None = None,
        ports: tuple[int, int] = (0, 0),
    ) -> None:
        self.token = token
        self.faults = Faults.parse(faults, seed=seed) if isinstance(faults, str) else faults
        self._log = RequestLog(remember)
        self._delivery, self._uploads = Delivery(), ScriptedUploads(file_expire, upload_limit)
        self._account = ScriptedAccount(
            (*DEFAULT_MODELS, *models), (*DEFAULT_DEPLOYMENTS, *deployments), self._delivery
        )
        self._account.trainings = {training.id: training for training in trainings}
        self._account.script, self._account.remember = script, remember
        self._account.missing_for = missing_for
        self._account.list_lag = list_lag if isinstance(list_lag, tuple) else (list_lag, list_lag)
        retentions = (expire, self.faults.expire, 3600.0)
        self._account.retention = next(seconds for seconds in retentions if seconds is not None)
        self._streams = Streams(self._account.find)
        api = FaultMiddleware(Authenticated(Endpoints(self._account, self._uploads).app(), token), self.faults)
        files = FaultMiddleware(self._serve_files, self.faults, _files_operation)
        self._server = LoopbackServer(
            versioned(Recorder(api, self._log, "api", operation)),
            Recorder(files, self._log, "files", _files_operation),
            ports=ports,
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
        """All remembered requests to both origins, with and without faults, in order of arrival."""
        return list(self._log.requests)

    @property
    def predictions(self) -> list[ScriptedPrediction]:
        """All remembered predictions, in order of creation."""
        return list(self._account.predictions)

    @property
    def created(self) -> int:
        """How many predictions were created so far, forgotten ones included."""
        return self._account.created

    @property
    def uploads(self) -> list[UploadedFile]:
        """All uploaded files that were not deleted, in order of arrival."""
        return list(self._uploads.files.values())

    @property
    def models(self) -> dict[str, ScriptedModel]:
        """The models by ``owner/name``. They may be added and replaced while the server runs."""
        return self._account.models

    @property
    def trainings(self) -> dict[str, ScriptedTraining]:
        """The trainings by id, oldest first. They may be added and changed while the server runs."""
        return self._account.trainings

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables that make a subprocess use this server.

        They are REPLICATE_API_TOKEN, REPLICATE_BASE_URL and REPLICATE_JOB_LIST_LAG. REPLICATE_JOB_LIST_LAG is how late
        this server's list can be, in seconds: replicate-job searches the list that long for a prediction whose create
        request got no response.
        """
        return environment_of(self.base_url, self.token, max(self._account.list_lag))

    def count(self, operation: str) -> int:
        """How many requests of this operation (``create``, ``get``, ``list`` …) have arrived."""
        return self._log.counts[operation]

    def next(self, *scripts: Script) -> None:
        """Queue scripts for the next predictions of any model, one for each in order."""
        self._account.scripts.extend(scripts)

    def wait_until(self, condition: Callable[[], object], *, seconds: float = 10) -> None:
        """Call ``condition`` every 2 ms until it returns a true value. Raises TimeoutError after ``seconds``.

        ``api.wait_until(lambda: api.predictions)`` waits for the first creation. In a coroutine, call it in a thread.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the condition is false after {seconds} s and {self._log.counts.total()} requests")
            time.sleep(0.002)

    def strayed_token(self) -> list[RecordedRequest]:
        """The requests that sent the token to the delivery host. There should be none."""
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

"""A recorder and a replay for blocking code, in threads of their own."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from replicate_job.aio import LoopThread, new_loop
from replicate_job.errors import RecordingError
from replicate_job.serving.faults import Faults
from replicate_job.serving.middleware import FaultMiddleware
from replicate_job.serving.versioned import versioned
from replicate_job.settings import read_settings
from replicate_job.testing.environment import environment_of
from replicate_job.testing.recording.recorder import Recorder, recording
from replicate_job.testing.recording.replayer import Replayer
from replicate_job.testing.server import LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from starlette.types import Receive, Scope, Send


class RecordingAPI:
    """Replicate's API on loopback, which sends every request on to the real one and writes a recording at the end.

    ``token`` and ``base_url`` are those of the real API, by default of the environment. Inside ``with``,
    ``environment`` leads clients here; its token is a placeholder, for the real one goes to the API's origin only and
    is in no recording. Where the block ends with an exception, nothing is written: the file is whole or absent.
    ``port`` 0 is a free one. Raises RecordingError, JobError, or OSError for the port.
    """

    def __init__(
        self, path: str | Path, *, token: str | None = None, base_url: str | None = None, port: int = 0
    ) -> None:
        self.path = Path(path)
        # The journal is not opened: any name will do for a user without a home.
        self._settings = read_settings(token=token, base_url=base_url, journal="journal.db")
        self._port = port

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._thread = stack.enter_context(LoopThread(new_loop, "recording-server"))
            self._server: AbstractAsyncContextManager[Recorder] = recording(self._settings, self._port)
            self._recorder = self._thread.run(self._server.__aenter__())
            self._running = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None and not self.is_discarded:
                self._thread.run(self._recorder.save(self.path))
        finally:
            self._thread.run(self._server.__aexit__(None, None, None))
            self._running.close()

    is_discarded = False
    """Set it, and nothing is written at the end."""

    @property
    def base_url(self) -> str:
        return self._recorder.base_url

    @property
    def token(self) -> str:
        return self._recorder.token

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables with which a subprocess is recorded."""
        return self._recorder.environment

    @property
    def unmatched(self) -> list[str]:
        """Always empty: as of ``ReplayAPI``."""
        return []


class ReplayAPI:
    """Replicate's API on loopback, which answers from a recording alone, without a network.

    A prediction goes through its recorded states in 0.2 s at most, and stays in the last one, however often it is asked
    for. A create request must be recorded: its path, and its body with JSON by value and files by content. Equal ones
    are answered in their order, each once. ``lenient`` ignores inputs and takes any recorded prediction of the model,
    over and over. Any other request is answered 400 with the nearest recorded one and what differs, and noted in
    ``unmatched``.

    ``faults`` are as of ``ScriptedAPI``; ``port`` 0 is a free one. Raises RecordingError, or OSError for the port.
    """

    token = "r8_replay_0000000000000000000000000000000"  # noqa: S105 - any token is taken

    def __init__(self, path: str | Path, *, lenient: bool = False, faults: Faults | str = "", port: int = 0) -> None:
        self.path = Path(path)
        self.faults = Faults.parse(faults) if isinstance(faults, str) else faults
        self._server = LoopbackServer(self._answer, ports=[port])
        (self.base_url,) = self._server.origins
        try:
            self._replayer = Replayer(self.path, self.base_url, lenient=lenient)
        except RecordingError:
            self._server.close()
            raise
        self._app = versioned(FaultMiddleware(self._replayer.app(), self.faults))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables with which a subprocess uses this server: those of ``ScriptedAPI``."""
        return environment_of(self.base_url, self.token)

    @property
    def unmatched(self) -> list[str]:
        """The requests that the recording does not have, one line each."""
        return list(self._replayer.unmatched)

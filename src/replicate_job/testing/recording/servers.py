"""A recorder and a replay for blocking code, in threads of their own."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from replicate_job.aio import LoopThread, new_loop
from replicate_job.serving.faults import Faults
from replicate_job.settings import read_settings
from replicate_job.testing.recording.certificate import Identity
from replicate_job.testing.recording.recorder import recording
from replicate_job.testing.recording.replayer import TOKEN, replaying
from replicate_job.testing.recording.tape import check_place
from replicate_job.testing.server import in_loop_thread

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType


class RecordingAPI:
    """Replicate's API on loopback, which forwards every request to the real API, and writes a recording at the end.

    ``token`` and ``base_url`` are those of the real API, by default from the environment. Inside ``with``, clients use
    this server by ``base_url`` and ``environment``. The token in ``environment`` is made up. The real token is sent
    only to the API's origin, and is in no recording. Nothing is written if the block ends with an exception, or if
    ``is_discarded`` was set: the file is complete or absent. ``port`` 0 is a free port. Clients that trust one server
    trust all servers with the same ``identity``.
    Raises RecordingError, JobError, or OSError for a port that is in use.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        token: str | None = None,
        base_url: str | None = None,
        port: int = 0,
        identity: Identity | None = None,
    ) -> None:
        self.path, self.is_discarded = Path(path), False
        # No journal is opened. The path is given because a user without a home folder has no default journal.
        self._settings = read_settings(token=token, base_url=base_url, journal="journal.db")
        self._port, self._identity = port, identity
        self._running = ExitStack()

    def __enter__(self) -> Self:
        check_place(self.path)
        with ExitStack() as stack:
            self._thread = stack.enter_context(LoopThread(new_loop, "recording-server"))
            server = recording(self._settings, self._port, self._identity)
            self._recorder = self._thread.run(server.__aenter__())
            stack.callback(lambda: self._thread.run(server.__aexit__(None, None, None)))
            self._running = stack.pop_all()
        self.base_url, self.token = self._recorder.base_url, self._recorder.token
        self.environment: Mapping[str, str] = self._recorder.environment
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._running:
            if kind is None and not self.is_discarded:
                self._thread.run(self._recorder.save(self.path))


class ReplayAPI:
    """Replicate's API on loopback, which answers from a recording, without a network.

    A prediction goes through its recorded states in 0.2 s at most, and stays in the last state. A create request must
    have the path of a recorded one, the same body as JSON, and files with the same content. Equal recorded requests are
    used in order, each once. ``lenient`` ignores inputs, and uses any recorded prediction of the model, as often as
    needed. A request that was not recorded is answered 400, with the most similar recorded request and the differences,
    and added to ``unmatched`` as one line.

    ``faults`` is as in ``ScriptedAPI``; ``port`` and ``identity`` are as in ``RecordingAPI``. Inside ``with``, clients
    use this server by ``base_url`` and ``environment``, with any token. Raises RecordingError, or OSError for a port
    that is in use.
    """

    token = TOKEN

    def __init__(
        self,
        path: str | Path,
        *,
        lenient: bool = False,
        faults: Faults | str = "",
        port: int = 0,
        identity: Identity | None = None,
    ) -> None:
        self.path = Path(path)
        self.faults = Faults.parse(faults) if isinstance(faults, str) else faults
        self._options: dict[str, Any] = {"lenient": lenient, "port": port, "identity": identity}
        self._running = ExitStack()

    def __enter__(self) -> Self:
        server = replaying(self.path, faults=self.faults, **self._options)
        self._replayer = self._running.enter_context(in_loop_thread(server, "replay-server"))
        self.base_url: str = self._replayer.base_url
        self.environment: Mapping[str, str] = self._replayer.environment
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @property
    def unmatched(self) -> list[str]:
        return list(self._replayer.unmatched)

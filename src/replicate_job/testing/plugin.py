"""A pytest plugin with the fixtures ``replicate_api``, ``replicate_local`` and ``replicate_recording``.

pytest loads it in every project where this package is installed, so this module imports only pytest at its start.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from replicate_job.testing import LocalAPI, RecordingAPI, ReplayAPI, ScriptedAPI, ServerOptions
    from replicate_job.testing.recording.certificate import Identity

_RECORD = "--replicate-record"


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    # pytest rewrites the assert statements of every package that has a plugin, and compiles all its modules for that.
    # If the result cannot be stored (PYTHONDONTWRITEBYTECODE), this takes a second in each process. This package has no
    # assert statements that need it.
    getattr(early_config.pluginmanager.rewrite_hook, "_must_rewrite", set()).discard("replicate_job")


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "Record the tests with the fixture replicate_recording anew, from the API of REPLICATE_API_TOKEN."
    parser.getgroup("replicate-job").addoption(_RECORD, action="store_true", help=text)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "replicate_api(*models, **options): the arguments of ScriptedAPI for the fixture replicate_api"
    )
    config.addinivalue_line(
        "markers",
        "replicate_recording(file, lenient=False, faults=''): the recording of the fixture replicate_recording; "
        "the file is relative to the test's own",
    )


@pytest.fixture
def replicate_api(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    _replicate_ports: tuple[int, int],
) -> Iterator[ScriptedAPI]:
    """A scripted Replicate for one test, a ``replicate_job.testing.ScriptedAPI``.

    replicate-job and the official clients use it by REPLICATE_BASE_URL and REPLICATE_API_TOKEN, which are set for the
    test; REPLICATE_JOB_JOURNAL is a new journal.
    ``@pytest.mark.replicate_api(script=Script(output="hi"), faults="get:503=0.1")`` passes arguments to ScriptedAPI.
    All tests of a process use the same address, so that clients that read the environment only once keep working.
    Needs the extra ``[local]``.
    """
    with _told_plainly():
        from replicate_job.testing import ScriptedAPI  # noqa: PLC0415 - slow, and of an extra
    marker = request.node.get_closest_marker("replicate_api")
    options: dict[str, Any] = {"ports": _replicate_ports, **(marker.kwargs if marker else {})}
    models = marker.args if marker else ()
    try:
        api = ScriptedAPI(*models, **options)
    except OSError:  # the system has given one of the ports to another process since
        api = ScriptedAPI(*models, **options | {"ports": (0, 0)})
    with api:
        _set_environment(monkeypatch, tmp_path_factory, api.environment)
        yield api


@pytest.fixture
def replicate_local(
    replicate_local_options: ServerOptions,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    _replicate_local_servers: _LocalServers,
) -> LocalAPI:
    """A local Replicate with real models, a ``replicate_job.testing.LocalAPI``.

    replicate-job and the official clients use it by REPLICATE_BASE_URL and REPLICATE_API_TOKEN, which are set for the
    test; REPLICATE_JOB_JOURNAL is a new journal. The first test that uses the fixture starts the server. The
    server runs until the session ends, and keeps its models and predictions between tests. The fixture
    ``replicate_local_options`` returns its options. Needs the extra ``[local]``.
    """
    with _told_plainly():
        api = _replicate_local_servers.get(replicate_local_options)
    _set_environment(monkeypatch, tmp_path_factory, api.environment)
    return api


@pytest.fixture
def replicate_recording(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    _replicate_ports: tuple[int, int],
    _replicate_identity: _LazyIdentity,
) -> Iterator[ReplayAPI | RecordingAPI]:
    """Replicate from a recording, a ``replicate_job.testing.ReplayAPI``. The test's environment makes clients use it.

    ``@pytest.mark.replicate_recording("hello.json", lenient=False)`` names the file, relative to the test's
    file; by default it is ``recordings/<test file>/<test>.json``. With ``pytest --replicate-record`` the file is
    recorded anew, by a ``RecordingAPI`` that forwards requests to the API of REPLICATE_BASE_URL and
    REPLICATE_API_TOKEN; a test that fails writes nothing. A test that sends an unrecorded request fails, even if its
    code handles the error. Needs the extra ``[local]``.
    """
    marker = request.node.get_closest_marker("replicate_recording")
    options: dict[str, Any] = dict(marker.kwargs) if marker else {}
    path = _recording_of(request.node, marker.args if marker else ())
    with _told_plainly():
        from replicate_job.testing import RecordingAPI, ReplayAPI  # noqa: PLC0415 - slow, and of an extra

        if request.config.getoption(_RECORD):
            api: ReplayAPI | RecordingAPI = RecordingAPI(path, identity=_replicate_identity.get())
        elif path.is_file():
            port = _free(_replicate_ports[0])
            api = ReplayAPI(path, port=port, identity=_replicate_identity.get(), **options)
        else:
            raise pytest.fail.Exception(_how_to_record(path, request.node.nodeid), pytrace=False)
        with ExitStack() as running:
            running.enter_context(api)
            failed = request.session.testsfailed
            _set_environment(monkeypatch, tmp_path_factory, api.environment)
            yield api
            if isinstance(api, RecordingAPI):
                api.is_discarded = request.session.testsfailed > failed
            elif api.unmatched:
                raise pytest.fail.Exception("\n".join(api.unmatched), pytrace=False)


def _recording_of(test: Any, named: tuple[str, ...]) -> Path:
    """The file of a test's recording: the file that its mark names, or the default file of the test."""
    from pathlib import Path  # noqa: PLC0415 - most tests do not need it

    file = Path(test.path)
    return file.parent / (named[0] if named else Path("recordings", file.stem, f"{_plain(test.name)}.json"))


class _LazyIdentity:
    """One certificate for all tests of a process, because a client may be used in several tests."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._made: Identity | None = None

    def get(self) -> Identity:
        from replicate_job.testing.recording.certificate import Identity  # noqa: PLC0415 - most tests do not need it

        self._made = self._made or Identity(self._folders.mktemp("replicate-job"))
        return self._made


@pytest.fixture(scope="session")
def _replicate_identity(tmp_path_factory: pytest.TempPathFactory) -> _LazyIdentity:
    return _LazyIdentity(tmp_path_factory)


def _plain(name: str) -> str:
    """The name of a test, which may have parameters, as the name of a file."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip("-")


def _how_to_record(path: Path, test: str) -> str:
    return (
        f"there is no recording {path}: with REPLICATE_API_TOKEN set, which costs what the predictions cost, record it "
        f"once by `pytest {_RECORD} '{test}'`, and keep it with the test"
    )


def _free(port: int) -> int:
    """Return the port, or 0 if the system has given it to another process since."""
    import socket  # noqa: PLC0415 - most tests do not need it

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return 0
    return port


@pytest.fixture(scope="session")
def replicate_local_options() -> ServerOptions:
    """The options of ``replicate_local``, a ``replicate_job.testing.ServerOptions``.

    By default the server has the built-in models. A conftest.py may override this fixture, with scope session:
    ``return ServerOptions(models=[Path("models")])`` adds the models of a folder.
    """
    import logging  # noqa: PLC0415 - most tests do not need it

    with _told_plainly():
        from replicate_job.testing import ServerOptions  # noqa: PLC0415 - slow
    log = logging.getLogger("replicate_job.local")
    return ServerOptions(on_notice=log.info, on_warning=log.warning)


@pytest.fixture(scope="session")
def _replicate_ports() -> Iterator[tuple[int, int]]:
    """Two ports that no other process uses while this process runs its tests."""
    import socket  # noqa: PLC0415 - most tests do not need it

    with ExitStack() as reserved:
        sockets = [reserved.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", 0))
        first, second = (each.getsockname()[1] for each in sockets)
        if sys.platform != "linux":
            reserved.close()  # on other systems, an open socket would keep the test's server from listening there
        yield first, second


class _LocalServers:
    """The local servers: one for all tests with the same options, because test folders may have their own options."""

    def __init__(self) -> None:
        self.running = ExitStack()
        self._apis: list[tuple[ServerOptions, LocalAPI]] = []

    def get(self, options: ServerOptions) -> LocalAPI:
        from replicate_job.testing import local_api  # noqa: PLC0415 - slow, and of an extra

        for others, api in self._apis:
            if others == options:
                return api
        api = self.running.enter_context(local_api(options))
        self._apis.append((options, api))
        return api


@pytest.fixture(scope="session")
def _replicate_local_servers() -> Iterator[_LocalServers]:
    servers = _LocalServers()
    with servers.running:
        yield servers


@contextmanager
def _told_plainly() -> Iterator[None]:
    """Fails the test with one line instead of a traceback if an extra is missing or a server cannot start."""
    from replicate_job.errors import ReplicateJobError  # noqa: PLC0415 - most tests do not need it

    try:
        yield
    except (ModuleNotFoundError, ReplicateJobError) as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def _set_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, environment: Mapping[str, str]
) -> None:
    from replicate_job.testing.environment import environment_apart  # noqa: PLC0415 - most tests do not need it

    # Not in tmp_path, because a test may check everything in there.
    journal = tmp_path_factory.mktemp("replicate-job") / "journal.db"
    for name, value in environment_apart(environment, journal).items():
        monkeypatch.setenv(name, value)

"""A pytest plugin with the fixtures ``replicate_api`` and ``replicate_local``.

pytest loads it in every project where this package is installed, so at its import it brings in pytest alone.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from replicate_job.testing import LocalAPI, ScriptedAPI, ServerOptions


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    # pytest rewrites the assert statements of every package that has a plugin, and compiles all its modules for that: a
    # second in each process where the result cannot be kept (PYTHONDONTWRITEBYTECODE). This package has none.
    getattr(early_config.pluginmanager.rewrite_hook, "_must_rewrite", set()).discard("replicate_job")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "replicate_api(*models, **options): the arguments of ScriptedAPI for the fixture replicate_api"
    )


@pytest.fixture
def replicate_api(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    _replicate_ports: tuple[int, int],
) -> Iterator[ScriptedAPI]:
    """A scripted Replicate for one test, a ``replicate_job.testing.ScriptedAPI``, to which the environment leads.

    REPLICATE_BASE_URL and REPLICATE_API_TOKEN lead replicate-job and the official clients to it, REPLICATE_JOB_JOURNAL
    to a new journal. ``@pytest.mark.replicate_api(script=Script(output="hi"), faults="get:503=0.1")`` gives the
    arguments of ScriptedAPI. Every test of a process has the same address, so that clients that read the environment
    once go on working. Needs the extra ``[local]``.
    """
    with _told_plainly():
        from replicate_job.testing import ScriptedAPI  # noqa: PLC0415 - slow, and of an extra
    marker = request.node.get_closest_marker("replicate_api")
    options: dict[str, Any] = {"ports": _replicate_ports, **(marker.kwargs if marker else {})}
    models = marker.args if marker else ()
    try:
        api = ScriptedAPI(*models, **options)
    except OSError:  # the system has given a port to another process meanwhile
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
    """A local Replicate with real models, a ``replicate_job.testing.LocalAPI``, to which the environment leads.

    REPLICATE_BASE_URL and REPLICATE_API_TOKEN lead replicate-job and the official clients to it, REPLICATE_JOB_JOURNAL
    to a new journal. The server is started by the first test that asks and stays for the session, with its models and
    predictions. The fixture ``replicate_local_options`` has its options. Needs the extra ``[local]``.
    """
    with _told_plainly():
        api = _replicate_local_servers.get(replicate_local_options)
    _set_environment(monkeypatch, tmp_path_factory, api.environment)
    return api


@pytest.fixture(scope="session")
def replicate_local_options() -> ServerOptions:
    """The options of ``replicate_local``, ``replicate_job.testing.ServerOptions``, for a conftest.py to override.

    By default it has the built-in models. ``return ServerOptions(models=[Path("models")])``, with scope session, adds
    those of a folder.
    """
    import logging  # noqa: PLC0415 - only for whoever needs it

    with _told_plainly():
        from replicate_job.testing import ServerOptions  # noqa: PLC0415 - slow
    log = logging.getLogger("replicate_job.local")
    return ServerOptions(on_notice=log.info, on_warning=log.warning)


@pytest.fixture(scope="session")
def _replicate_ports() -> Iterator[tuple[int, int]]:
    """Two ports that stay this process's between its tests."""
    import socket  # noqa: PLC0415 - only for whoever needs it

    with ExitStack() as reserved:
        sockets = [reserved.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", 0))
        first, second = (each.getsockname()[1] for each in sockets)
        if sys.platform != "linux":
            reserved.close()  # elsewhere no other socket could listen there
        yield first, second


class _LocalServers:
    """One for all tests with the same options. Folders of tests may have options of their own."""

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
    """A test fails with one line, and no traceback, where an extra is not installed or a server cannot start."""
    from replicate_job.errors import ReplicateJobError  # noqa: PLC0415 - only for whoever needs it

    try:
        yield
    except (ModuleNotFoundError, ReplicateJobError) as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def _set_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, environment: Mapping[str, str]
) -> None:
    from replicate_job.testing.environment import environment_apart  # noqa: PLC0415 - only for whoever needs it

    # Not in tmp_path: a test may look at all that is in there.
    journal = tmp_path_factory.mktemp("replicate-job") / "journal.db"
    for name, value in environment_apart(environment, journal).items():
        monkeypatch.setenv(name, value)

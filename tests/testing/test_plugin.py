"""The pytest plugin: its fixtures here, and in separate pytest runs with other plugins or without the extra."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from replicate_job import run
from replicate_job.testing import LocalAPI, Script, ScriptedAPI, ScriptedModel

pytestmark = pytest.mark.long
HELLO = "replicate/hello-world"
OWN = ScriptedModel(name="me/own", official=True, script=Script(output="mine"))
PLUGIN = ("-p", "replicate_job.testing.plugin")
ASYNCIO = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function", "-o")
Pytest = Callable[..., str]
NOTHING: Mapping[str, str] = MappingProxyType({})


@pytest.fixture
def run_pytest(tmp_path: Path) -> Pytest:
    """Runs pytest on files in a new folder, with warnings as errors. It must end with ``code``; returns its output.

    By default, only the named plugins are loaded, because loading all installed ones takes seconds.
    """

    def run_pytest(
        *words: str, code: int = 0, loads_all: bool = False, environment: Mapping[str, str] = NOTHING, **files: str
    ) -> str:
        for name, content in files.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(content))
        others = ("PYTEST_", "CI", "BUILD_NUMBER", "REPLICATE_")
        environment = {n: value for n, value in os.environ.items() if not n.startswith(others)} | dict(environment)
        environment["PYTEST_DEBUG_TEMPROOT"] = str(tmp_path)  # pytest makes its root private: not the suite's
        if not loads_all:
            environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        outcome = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *words],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        assert outcome.returncode == code, outcome.stdout
        return outcome.stdout

    return run_pytest


def test_the_fixture_replicate_api_sets_the_environment_and_a_journal_of_its_own(
    replicate_api: ScriptedAPI, tmp_path: Path
) -> None:
    result = run(HELLO, {"text": "Ada"}, save_to=tmp_path / "out", key="mine")
    assert result.output == "hello Ada"
    assert [prediction.id for prediction in replicate_api.predictions] == [result.prediction_id]
    assert {name: os.environ[name] for name in replicate_api.environment} == dict(replicate_api.environment)
    assert run(HELLO, {"text": "Ada"}, save_to=tmp_path / "out", key="mine") == result
    assert replicate_api.created == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]  # the fixtures write nothing into the test's own folder
    assert Path(os.environ["REPLICATE_JOB_JOURNAL"]).exists()


@pytest.mark.parametrize("base", ["", "/v1", "/v1/"])
def test_the_base_url_works_with_and_without_v1(replicate_api: ScriptedAPI, ask: Callable[..., Any], base: str) -> None:
    for path in ("predictions", "account", "models/replicate/hello-world"):
        assert ask(replicate_api, "GET", f"{base.rstrip('/')}/{path}").status == 200
        assert ask(replicate_api, "GET", f"{base.rstrip('/')}/v1/{path}").status == 200
    assert {request.path for request in replicate_api.requests} == {
        "/v1/predictions",
        "/v1/account",
        "/v1/models/replicate/hello-world",
    }
    assert replicate_api.count("list") == 2


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment variables of a network with a proxy that cannot reach this machine."""
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", "near.example")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.mark.usefixtures("proxy")
def test_no_client_uses_a_proxy_for_the_scripted_api(request: pytest.FixtureRequest) -> None:
    api = request.getfixturevalue("replicate_api")
    with pytest.raises(HTTPError, match="401") as caught:
        urlopen(api.base_url)  # noqa: S310 - the test's own server
    caught.value.close()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "127.0.0.1,near.example"


@pytest.mark.replicate_api(OWN, script=None, faults="get:503=1", list_lag=2)
def test_arguments_of_the_mark_are_those_of_the_scripted_api(replicate_api: ScriptedAPI) -> None:
    assert "me/own" in replicate_api.models
    assert run("me/own", {}).output == "mine"
    assert os.environ["REPLICATE_JOB_LIST_LAG"] == "12"


def test_a_port_in_use_raises_an_error_and_leaves_no_open_socket() -> None:
    taken = ScriptedAPI()
    port = int(taken.base_url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        ScriptedAPI(ports=(0, port))  # an unclosed socket would be a warning
    taken.close()


def test_the_fixture_replicate_local_runs_real_models(replicate_local: LocalAPI) -> None:
    assert run(HELLO, {"text": "Ada"}).output == "hello Ada"
    assert os.environ["REPLICATE_BASE_URL"] == replicate_local.base_url


PROJECT = """
    import threading
    import unittest

    import pytest

    from replicate_job import arun, run
    from replicate_job.testing import Script

    HELLO = ("replicate/hello-world", {"text": "Ada"})
    ADDRESSES = set()
    THREADS = []

    @pytest.fixture(scope="module", autouse=True)
    def no_thread_outlives_the_interpreter():
        yield
        for thread in THREADS:
            thread.join()

    @pytest.mark.usefixtures("replicate_api")
    class TestByName(unittest.TestCase):
        def test_a_method_of_unittest_reaches_it(self):
            assert run(*HELLO).output == "hello Ada"

    class TestHeld(unittest.TestCase):
        @pytest.fixture(autouse=True)
        def hold(self, replicate_api):
            self.api = replicate_api

        def test_a_class_may_hold_it(self):
            run(*HELLO)
            assert self.api.created == 1

    @pytest.mark.asyncio
    async def test_a_coroutine_reaches_it(replicate_api):
        assert (await arun(*HELLO)).output == "hello Ada"

    @pytest.mark.parametrize("number", range(4))
    def test_its_address_stays_and_its_predictions_do_not(replicate_api, number):
        ADDRESSES.add(replicate_api.base_url)
        assert len(ADDRESSES) == 1
        assert replicate_api.created == 0
        run(*HELLO)

    @pytest.mark.replicate_api(script=Script(duration=float("inf")))
    def test_a_prediction_that_never_ends_keeps_no_test(replicate_api):
        THREADS.append(threading.Thread(target=run, args=HELLO, kwargs={"timeout": 2}))
        THREADS[0].start()
        replicate_api.wait_until(lambda: replicate_api.created)
"""
ANYIO = """
    import pytest

    from replicate_job import arun

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend():
        return "asyncio"

    async def test_a_coroutine_of_anyio_reaches_it(replicate_api):
        assert (await arun("replicate/hello-world", {"text": "Ada"})).output == "hello Ada"
"""


@pytest.mark.parametrize(
    "words", [["-p", "anyio", *ASYNCIO, "asyncio_mode=strict", "--strict-markers"], [*ASYNCIO, "asyncio_mode=auto"]]
)
def test_the_plugin_works_with_unittest_classes_and_other_plugins(run_pytest: Pytest, words: list[str]) -> None:
    files = {"test_project": PROJECT} | ({"test_anyio": ANYIO} if "anyio" in words else {})
    # After its test, the thread that still runs gets an error, because its API has ended.
    ignored = ("-W", "ignore::pytest.PytestUnhandledThreadExceptionWarning")
    assert f"{7 + len(files)} passed" in run_pytest(*PLUGIN, *words, *ignored, **files)


def test_each_xdist_worker_has_its_own_address(run_pytest: Pytest, tmp_path: Path) -> None:
    test = """
        import os
        import pytest
        from pathlib import Path

        @pytest.mark.parametrize("number", range(8))
        def test_it(replicate_api, number):
            Path(f"{os.environ['PYTEST_XDIST_WORKER']}-{replicate_api.base_url.rpartition(':')[2]}").touch()
        """
    assert "8 passed" in run_pytest(*PLUGIN, "-p", "xdist", "-n", "2", test_one=test)
    workers, ports = zip(*(path.name.split("-") for path in tmp_path.glob("gw*-*")), strict=True)
    assert len(set(workers)) == len(set(ports)) == 2


def test_the_plugin_can_be_named_in_conftest_or_disabled(run_pytest: Pytest) -> None:
    conftest = 'pytest_plugins = ["replicate_job.testing.plugin"]\n'
    test = "def test_it(replicate_api):\n    assert replicate_api.created == 0\n"
    assert "1 passed" in run_pytest(conftest=conftest, test_one=test)
    assert "1 passed" in run_pytest(*PLUGIN)
    left_out = ("-p", "no:replicate_job.testing.plugin")
    assert "fixture 'replicate_api' not found" in run_pytest(*left_out, code=1, conftest="")


def test_pytest_loads_the_plugin_without_being_told_and_without_importing_the_servers(run_pytest: Pytest) -> None:
    test = """
        import sys

        def test_nothing_of_it_is_there_but_the_plugin():
            ours = {name for name in sys.modules if name.startswith("replicate_job")}
            plugin = {"replicate_job", "replicate_job.version", "replicate_job.testing", "replicate_job.testing.plugin"}
            assert ours == plugin
            assert not {"starlette", "uvicorn", "msgspec", "jsonschema_rs"} & set(sys.modules)
        """
    slow = ("-p", "no:schemathesis", "-p", "no:asyncio", "-p", "no:hypothesispytest")
    assert "1 passed" in run_pytest(*slow, loads_all=True, test_nothing=test)


def test_pytest_does_not_rewrite_the_modules_of_the_package(run_pytest: Pytest) -> None:
    early = """
        def pytest_addoption(parser, pluginmanager):
            # As pytest does for each package with a plugin that is installed, and not editable.
            pluginmanager.rewrite_hook.mark_rewrite("replicate_job", "other")
        """
    test = """
        def test_nothing_is_rewritten(request):
            import replicate_job.job
            assert type(replicate_job.job.__loader__).__name__ == "SourceFileLoader"
            assert "other" in request.config.pluginmanager.rewrite_hook._must_rewrite
        """
    assert "1 passed" in run_pytest("-p", "early", *PLUGIN, early=early, test_one=test)


def test_without_the_extra_only_tests_with_the_fixtures_fail_and_show_one_line(run_pytest: Pytest) -> None:
    conftest = 'import sys\n\nsys.modules["uvicorn"] = None\n'
    test = """
        def test_of_something_else(): ...
        def test_scripted(replicate_api): ...
        def test_local(replicate_local): ...
        """
    printed = run_pytest(*PLUGIN, conftest=conftest, test_three=test, code=1)
    assert "1 passed, 2 errors" in printed
    lines = [line for line in printed.splitlines() if "which is not here" in line and not line.startswith("ERROR")]
    assert lines[0].startswith("replicate_job.testing needs uvicorn, which is not here: pip install ")
    assert len(lines) == 2
    assert "Traceback" not in printed
    assert "another exception" not in printed


def test_tests_with_the_same_options_share_one_local_server(run_pytest: Pytest) -> None:
    conftest = """
        import pytest
        from replicate_job.testing import ServerOptions

        @pytest.fixture(scope="session")
        def replicate_local_options():
            return ServerOptions(token="s3cret")
        """
    tests = """
        import os, urllib.request
        import pytest

        SEEN = []

        @pytest.mark.parametrize("number", range(2))
        def test_one(replicate_local, number):
            SEEN.append((replicate_local.base_url, os.environ["REPLICATE_JOB_JOURNAL"]))
            assert len({url for url, _ in SEEN}) == 1
            assert len({journal for _, journal in SEEN}) == number + 1
            assert replicate_local.token == os.environ["REPLICATE_API_TOKEN"] == "s3cret"
            bearer = {"Authorization": "Bearer s3cret"}
            url = os.environ["REPLICATE_BASE_URL"] + "/v1/account"
            assert urllib.request.urlopen(urllib.request.Request(url, headers=bearer)).status == 200
        """
    other = """
        import pytest
        from replicate_job.testing import ServerOptions

        @pytest.fixture(scope="session")
        def replicate_local_options():
            return ServerOptions()

        def test_other(replicate_local):
            assert replicate_local.token == "local"
        """
    assert "3 passed" in run_pytest(*PLUGIN, conftest=conftest, test_a=tests, test_other=other)


def test_pytest_lists_the_fixtures_with_their_docstrings(run_pytest: Pytest) -> None:
    printed = run_pytest("--fixtures", *PLUGIN)
    section = printed.partition("fixtures defined from replicate_job.testing.plugin")[2].partition("\n---")[0]
    names = [line.split()[0] for line in section.splitlines() if " -- " in line]
    assert sorted(names) == ["replicate_api", "replicate_local", "replicate_local_options", "replicate_recording"]
    assert "A scripted Replicate for one test" in section


RECORDED = """
    import pytest
    from replicate_job import run

    @pytest.mark.replicate_recording("hello.json")
    def test_hello(replicate_recording):
        assert run("replicate/hello-world", {"text": "Ada"}).output == "hello Ada"

    @pytest.mark.parametrize("name", ["Ada", "../Bo b"])
    def test_each(replicate_recording, name):
        assert run("replicate/hello-world", {"text": name}).output == f"hello {name}"
"""


def test_a_recording_is_made_on_request_and_is_otherwise_replayed_without_the_api(
    run_pytest: Pytest, tmp_path: Path
) -> None:
    told = run_pytest(*PLUGIN, code=1, test_mine=RECORDED)
    assert "3 errors" in told
    assert f"there is no recording {tmp_path / 'hello.json'}: " in told
    assert "`pytest --replicate-record 'test_mine.py::test_hello'`" in told
    assert "Traceback" not in told
    assert "REPLICATE_API_TOKEN is not set" in run_pytest(*PLUGIN, "--replicate-record", code=1)
    with ScriptedAPI() as api:
        real = {**api.environment, "REPLICATE_JOB_JOURNAL": str(tmp_path / "unused.db")}
        assert "3 passed" in run_pytest(*PLUGIN, "--replicate-record", environment=real)
        assert api.created == 3
    assert "3 passed" in run_pytest(*PLUGIN)
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")}
    assert names == {
        "hello.json",
        "recordings/test_mine/test_each-Ada.json",
        "recordings/test_mine/test_each-..-Bo-b.json",
    }
    assert not (tmp_path / "unused.db").exists()


def test_a_failing_test_records_nothing_and_a_test_fails_if_it_ignores_an_unrecorded_request(
    run_pytest: Pytest, tmp_path: Path
) -> None:
    failing = RECORDED.replace('"hello Ada"', '"something else"')
    with ScriptedAPI() as api:
        run_pytest(*PLUGIN, "--replicate-record", "-k", "hello", code=1, environment=api.environment, test_mine=failing)
        assert not (tmp_path / "hello.json").exists()
        run_pytest(*PLUGIN, "--replicate-record", "-k", "hello", environment=api.environment, test_mine=RECORDED)
    swallowing = RECORDED.replace("assert run(", "with pytest.raises(Exception): run(").replace('"Ada"}', '"Bo"}', 1)
    told = run_pytest(*PLUGIN, "-k", "hello", code=1, test_mine=swallowing)
    assert "1 passed" in told
    assert "1 error" in told
    assert 'input.text: "Ada" was recorded, "Bo" requested' in told
    lenient = swallowing.replace('"hello.json"', '"hello.json", lenient=True').replace(
        "with pytest.raises(Exception): ", ""
    )
    assert "1 passed" in run_pytest(*PLUGIN, "-k", "hello", test_mine=lenient)

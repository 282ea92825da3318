"""Programs with several processes: objects passed between them, and forks."""

from __future__ import annotations

import inspect
import math
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import replicate_job
from replicate_job import Job, Result, run
from replicate_job.errors import PaymentRequiredError, ReplicateJobError
from replicate_job.outputs.download import SavedFile
from replicate_job.testing import Script, ScriptedAPI

pytestmark = pytest.mark.long
RESULT = Result("p1", "failed", "acme/private", {"a": [1, None]}, error="boom", files=(Path("/x/a.png"),), line=3)
NOT_OURS_TO_IMPORT = (".__main__", ".in_model.worker", ".in_model.signature")
"""What is run, and what runs beside a model."""
THROWS = """
def throw(error):
    raise error

def give(value):
    return value
"""
VALUES: dict[str, Any] = {
    "str": "text",
    "int": 422,
    "int | None": 7,
    "float": 1.5,
    "float | None": 2.5,
    "Sequence[str]": ("one", "two"),
    "Sequence[dict[str, Any]]": ({"type": "t", "field": "f", "description": "d"},),
    "Any": RESULT,
    "Result": RESULT,
}
"""What the constructors take, by annotation."""


def kinds(base: type[ReplicateJobError] = ReplicateJobError) -> Iterator[type[ReplicateJobError]]:
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


def every_error() -> list[ReplicateJobError]:
    """One error of each class of this package, with all its fields set."""
    for module in pkgutil.walk_packages(replicate_job.__path__, "replicate_job."):
        if not module.name.endswith(NOT_OURS_TO_IMPORT):
            import_module(module.name)
    return [_make(kind) for kind in dict.fromkeys(kinds()) if kind.__module__.startswith("replicate_job.")]


def _make(kind: type[ReplicateJobError]) -> ReplicateJobError:
    if kind.__init__ is Exception.__init__:
        error = kind("what is wrong: what to do")
    else:
        taken = inspect.signature(kind.__init__).parameters.values()
        values = {each.name: VALUES[str(each.annotation)] for each in taken if each.name != "self"}
        error = kind(**values)
    if hasattr(error, "kept"):
        error.kept = (SavedFile(Path("/x/a.png"), 3, "ab", "https://example.com/a.png"),)
    error.add_note("a note")
    return error


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ProcessPoolExecutor]:
    """A pool of one freshly started process."""
    (tmp_path / "throws.py").write_text(THROWS)
    monkeypatch.syspath_prepend(tmp_path)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool


def test_every_error_keeps_its_fields_when_passed_between_processes(pool: ProcessPoolExecutor) -> None:
    throw = import_module("throws").throw
    errors = every_error()
    assert len(errors) > 25
    for error in errors:
        caught = pool.submit(throw, error).exception(timeout=60)
        assert type(caught) is type(error)
        assert str(caught) == str(error)
        assert vars(caught) == vars(error)


def test_jobs_and_results_can_be_passed_between_processes(pool: ProcessPoolExecutor) -> None:
    give = import_module("throws").give
    job = Job("acme/private", {"image": Path("a.png"), "n": 1}, cancel_after="5m", env=("X",))
    assert pool.submit(give, (job, RESULT)).result(timeout=60) == (job, RESULT)


def test_a_pool_of_processes_runs_jobs(api: ScriptedAPI, pool: ProcessPoolExecutor) -> None:
    result = pool.submit(run, "acme/private", {"n": 1}, key="mine").result(timeout=60)
    assert result == run("acme/private", {"n": 1}, key="mine")
    api.faults.next("create", "402")
    caught = pool.submit(run, "acme/private", {"n": 2}).exception(timeout=60)
    assert isinstance(caught, PaymentRequiredError)
    assert caught.status == 402
    assert len(api.predictions) == 1


FORKS = """
import asyncio, os, sys
from replicate_job import arun, batch, run, stream
from replicate_job.errors import ForkedError

CALLS = {
    "run": lambda: run("acme/private", {"n": 2}).status,
    "arun": lambda: asyncio.run(arun("acme/private", {"n": 2})).status,
    "batch": lambda: [result.status for result in batch("acme/private", [{"n": 2}])][0],
    "stream": lambda: "".join(stream("acme/private", {"n": 2})) and "succeeded",
    "local": lambda: run("replicate/hello-world", {"text": "x"}, local=True).status,
}

def in_a_fork(call):
    sys.stdout.flush()
    if pid := os.fork():
        assert os.waitpid(pid, 0)[1] == 0
        return
    try:
        print(call())
    except ForkedError as error:
        print("ForkedError", error)
    sys.stdout.flush()
    os._exit(0)
"""
AFTER = f"""{FORKS}
run("acme/private", {{"n": 1}})
in_a_fork(CALLS[sys.argv[1]])
print(run("acme/private", {{"n": 3}}).status)
"""
BEFORE = f"""{FORKS}
in_a_fork(CALLS[sys.argv[1]])
"""
AMID = f"""{FORKS}
results = iter(batch("acme/private", [{{"n": n}} for n in range(4)], rate="none"))
next(results)
in_a_fork(lambda: list(results))
in_a_fork(results.close)
print(len(list(results)))
"""
OWN = f"""{FORKS}
from pyreqwest.client import ClientBuilder
ClientBuilder().build()
in_a_fork(CALLS["run"])
"""
OPENED = f"""{FORKS}
from pathlib import Path
from replicate_job.api.transport import Transport
from replicate_job.journal.sqlite import SQLiteJournal
transport = Transport(os.environ["REPLICATE_BASE_URL"], None, user_agent="test")
journal = SQLiteJournal(Path(os.environ["REPLICATE_JOB_JOURNAL"]))
asyncio.run(journal.entries())
in_a_fork(lambda: asyncio.run(transport.send("GET", "/account", timeout=5)))
in_a_fork(lambda: asyncio.run(journal.entries()))
asyncio.run(journal.__aexit__())
"""
FORKED = "ForkedError this process was forked from one that had used replicate-job, whose threads stayed behind: "
WAYS = ["run", "arun", "batch", "stream"]


def says(program: str, *words: str) -> list[str]:
    """The lines that the program prints."""
    quiet = ["-W", "ignore:This process:DeprecationWarning"]  # Python 3.12 warns of forks itself
    ran = subprocess.run(
        [sys.executable, *quiet, "-c", program, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("way", [*WAYS, "local"])
def test_a_process_that_was_forked_after_the_package_was_used_gets_a_forked_error(way: str) -> None:
    told, after = says(AFTER, way)
    assert told.startswith(FORKED)
    assert told.endswith('open it after the fork, or start processes with multiprocessing\'s "spawn" or "forkserver"')
    assert after == "succeeded"


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("way", WAYS)
def test_a_process_that_was_forked_after_the_package_was_only_imported_works(way: str) -> None:
    assert says(BEFORE, way) == ["succeeded"]


@pytest.mark.usefixtures("api")
def test_a_process_that_was_forked_during_a_batch_gets_a_forked_error_and_the_batch_continues() -> None:
    told, closed, left = says(AMID)
    assert told.startswith(FORKED)
    assert (closed, left) == ("None", "3")


@pytest.mark.usefixtures("api")
def test_a_process_that_was_forked_after_the_http_library_was_used_gets_a_forked_error() -> None:
    (told,) = says(OWN)
    assert told.startswith(FORKED)


@pytest.mark.usefixtures("api")
def test_using_an_object_that_was_opened_before_the_fork_raises_a_forked_error() -> None:
    told = says(OPENED)
    assert [line.startswith(FORKED) for line in told] == [True, True]


PATCHED = """
import gevent.monkey
gevent.monkey.patch_all(thread=THREADS)
import asyncio, os, sys
from replicate_job import arun, batch, run, stream
from replicate_job.errors import ReplicateJobError
CALLS = {
    "run": lambda: run("acme/private", {"n": 1}).status,
    "arun": lambda: asyncio.run(arun("acme/private", {"n": 1})).status,
    "batch": lambda: [result.status for result in batch("acme/private", [{"n": 1}])][0],
    "stream": lambda: "".join(stream("acme/private", {"n": 1})) and "succeeded",
}
try:
    print(CALLS[sys.argv[1]]())
except ReplicateJobError as error:
    print(error)
"""


@pytest.mark.parametrize("threads", ["True", "False"])
@pytest.mark.parametrize("way", WAYS)
def test_a_process_patched_by_gevent_or_eventlet_gets_a_clear_error(api: ScriptedAPI, way: str, threads: str) -> None:
    (told,) = says(PATCHED.replace("THREADS", threads), way)
    assert told.startswith("gevent has patched this process, and replicate-job needs its threads as they were: ")
    assert api.requests == []


UNPATCHED = f"import gevent.monkey\n{FORKS}\nprint(CALLS['run']())"


@pytest.mark.usefixtures("api")
def test_gevent_may_be_imported_without_patching() -> None:
    assert says(UNPATCHED) == ["succeeded"]


@pytest.mark.parametrize("call", ["run(*HELLO, key='job')", "Client().run(*HELLO, key='job')", "list(batch(*BATCH))"])
def test_calls_of_daemon_threads_end_before_the_interpreter_and_their_predictions_run_on(
    api: ScriptedAPI, tmp_path: Path, call: str
) -> None:
    """A thread of the HTTP library once aborted the process when it returned to an ending interpreter."""
    api.next(Script(boot=0, duration=math.inf))
    program = tmp_path / "program.py"
    program.write_text(f"""
import atexit, threading
atexit.register(lambda: (thread.join(10), print(*ends)))  # it was registered first, and runs last
from replicate_job import Client, batch, run

HELLO = ("replicate/hello-world", {{"text": "Ada"}})
BATCH = (HELLO[0], [HELLO[1]])
ends = []

def work():
    while len(ends) < 2:
        try:
            {call}
        except Exception as error:
            ends.append(type(error).__name__)

thread = threading.Thread(target=work, daemon=True)
thread.start()
input()
""")
    process = subprocess.Popen(
        [sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    api.wait_until(lambda: api.created)
    out, err = process.communicate("\n", timeout=60)
    assert (out, err, process.returncode) == ("ClosedError ClosedError\n", "", 0)
    assert [prediction.status for prediction in api.predictions] == ["processing"]
    if "key" in call:
        api.predictions[0].finish()
        assert run("replicate/hello-world", {"text": "Ada"}, key="job").status == "succeeded"
        assert api.created == 1

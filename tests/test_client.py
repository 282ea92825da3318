"""The client for applications: many calls share one pool, one journal and one rate limit."""

from __future__ import annotations

import asyncio
import copy
import inspect
import math
import pickle
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pytest
from tests.asked import asked
from tests.subclasses import Real, Text, Whole

import replicate_job
from replicate_job import AsyncClient, Client, Job, Progress, arun, batch, run
from replicate_job.errors import (
    ClosedError,
    InputError,
    JobError,
    JobTimeoutError,
    JournalError,
    MissingVariableError,
    ModelNotFoundError,
    PaymentRequiredError,
    PredictionFailedError,
    UncertainError,
    UnknownJobError,
)
from replicate_job.testing import OutputFile, Script, ScriptedAPI, Stream

FOX = ("black-forest-labs/flux-schnell", {"prompt": "a fox"})
ENDLESS = Script(duration=math.inf)


class Size(NamedTuple):
    width: Any
    height: Any


class Style(str, Enum):  # noqa: UP042 - unlike a StrEnum, its text is not its value
    BOLD = "bold"


class Level(IntEnum):
    HIGH = 3


def test_the_second_call_of_a_client_sends_only_one_request(api: ScriptedAPI) -> None:
    """The first call resolved the model."""
    with Client() as client:
        client.run(*FOX)
        before = len(asked(api))
        client.run(*FOX)
    assert [request.operation for request in asked(api)[before:]] == ["create"]


def test_a_client_whose_journal_is_removed_creates_nothing_more(api: ScriptedAPI, tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    with Client(journal=journal) as client:
        client.run(*FOX)
        journal.unlink()
        with pytest.raises(JournalError, match="was removed or replaced while it was open"):
            client.run(*FOX)
    assert len(api.predictions) == 1
    assert not journal.exists()


def test_a_relative_journal_of_a_client_stays_the_same_file_if_the_working_folder_changes(
    api: ScriptedAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Client(journal="journal.db") as client:
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        client.run(*FOX, key="once")
    assert (tmp_path / "journal.db").exists()
    monkeypatch.chdir(tmp_path)
    with Client(journal="journal.db") as client:
        client.run(*FOX, key="once")
    assert len(api.predictions) == 1


def test_an_impossible_name_of_a_journal_is_an_error_that_names_it(api: ScriptedAPI) -> None:
    with pytest.raises(JournalError, match=r"the journal .* cannot be used"), Client(journal="a\0b") as client:
        client.run(*FOX)
    with Client(journal="a\0b"):
        pass
    assert not api.predictions


@pytest.mark.long
async def test_calls_of_a_client_share_its_connections(api: ScriptedAPI, tmp_path: Path) -> None:
    async with AsyncClient(save_to=tmp_path / "out") as client:
        results = await asyncio.gather(*(client.run(*FOX, key=f"order-{number}") for number in range(50)))
    assert [result.key for result in results] == [f"order-{number}" for number in range(50)]
    assert len({result.prediction_id for result in results}) == api.count("create") == 50
    assert all(path.parent == tmp_path / "out" / result.prediction_id for result in results for path in result.files)


async def test_calls_with_equal_keys_at_the_same_time_create_one_prediction(api: ScriptedAPI) -> None:
    async with AsyncClient() as client:
        results = await asyncio.gather(*(client.run("acme/private", {"n": 1}, key="order-17") for _ in range(10)))
    assert len({result.prediction_id for result in results}) == api.count("create") == 1


async def test_submit_returns_once_the_prediction_exists(api: ScriptedAPI, tmp_path: Path) -> None:
    api.next(Script(duration=math.inf, output=[OutputFile(name="out.gif", content=b"GIF89a")]))
    async with AsyncClient(save_to=tmp_path) as client:
        job = await client.submit(*FOX, key="order-18")
        assert (job.key, job.prediction_id) == ("order-18", api.predictions[0].id)
        assert await job.status() in {"starting", "processing"}
        api.predictions[0].finish()
        result = await job.result()
        assert [path.read_bytes() for path in result.files] == [b"GIF89a"]
        requests = len(asked(api))
        assert (await job.result()) == result
        assert len(asked(api)) == requests
        assert (await client.get("order-18")).status == "succeeded"
    assert api.count("create") == 1


def test_a_submitted_job_can_be_canceled(api: ScriptedAPI) -> None:
    api.next(ENDLESS)
    with Client() as client:
        job = client.submit("acme/private", {"n": 1})
        assert repr(job) == f"<JobHandle {job.key}: prediction {job.prediction_id}>"
        assert job.cancel().status == "canceled"
        assert job.result().status == job.status() == "canceled"
        assert client.cancel(job.key) == client.cancel(job.prediction_id)
    assert api.count("cancel") == 1


def test_after_a_timeout_a_submitted_job_can_be_waited_for_again(api: ScriptedAPI) -> None:
    api.next(ENDLESS)
    with Client() as client:
        job = client.submit("acme/private", {"n": 1}, timeout=30)
        with pytest.raises(JobTimeoutError) as caught:
            job.result(timeout=0.3)
        assert (caught.value.result.prediction_id, caught.value.result.key) == (job.prediction_id, job.key)
        with pytest.raises(JobTimeoutError):
            client.run("acme/private", {"n": 1}, key=job.key, timeout=0.3)
        api.predictions[0].finish()
        assert job.result().status == "succeeded"
    assert (len(api.predictions), api.count("cancel")) == (1, 0)


def test_a_job_is_canceled_while_another_thread_waits_for_it(api: ScriptedAPI) -> None:
    api.next(ENDLESS)
    with Client() as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.run, "acme/private", {"n": 1}, key="order-17")
        api.wait_until(lambda: api.predictions)
        canceled = client.cancel(api.predictions[0].id)
        assert canceled
        assert waiting.result(timeout=30).status == canceled.status == "canceled"


@pytest.mark.parametrize("others", [False, True], ids=["of this client", "of another client"])
def test_a_job_whose_create_request_is_open_is_seen_and_canceled_by_its_key(api: ScriptedAPI, others: bool) -> None:  # noqa: FBT001 - a parameter of the test
    api.next(ENDLESS)
    with Client() as client, Client() as other, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.run, "acme/private", {"n": 1}, key="order-17")
        api.wait_until(lambda: api.predictions)
        asking, began = other if others else client, time.monotonic()
        seen = asking.get("order-17")
        assert (seen.prediction_id, seen.key) == (api.predictions[0].id, "order-17")
        assert seen.status in {"starting", "processing"}
        canceled = asking.cancel("order-17")
        assert canceled
        assert (canceled.status, canceled.key) == ("canceled", "order-17")
        assert waiting.result(timeout=30).status == "canceled"
        assert time.monotonic() - began < 20  # the create request would have waited for 60 s
        assert client.get("order-17").status == "canceled"
    assert api.count("create") == 1


@pytest.mark.replicate_api(list_lag=1.5)
def test_a_job_is_canceled_by_its_key_as_soon_as_the_list_shows_its_prediction(api: ScriptedAPI) -> None:
    api.next(ENDLESS)
    with Client() as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.run, "acme/private", {"n": 1}, key="order-17")
        api.wait_until(lambda: api.predictions)
        with pytest.raises(UncertainError, match="has no answer"):
            client.get("order-17")
        canceled = client.cancel("order-17")
        assert canceled
        assert canceled.status == waiting.result(timeout=30).status == "canceled"


def test_of_two_equal_jobs_whose_create_requests_are_open_none_is_taken_for_the_other(api: ScriptedAPI) -> None:
    api.next(ENDLESS, ENDLESS)
    with Client() as client, ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(client.run, "acme/private", {"n": 1}, key=key) for key in ("one", "two")]
        api.wait_until(lambda: len(api.predictions) == 2)
        with pytest.raises(UncertainError, match="has no answer"):
            client.get("one")
        canceling = pool.submit(client.cancel, "one")
        api.wait_until(lambda: api.count("list") > 2)
        assert api.count("cancel") == 0
        for prediction in api.predictions:
            prediction.finish()
        assert [each.result(timeout=30).status for each in waiting] == ["succeeded", "succeeded"]
        ended = canceling.result(timeout=30)
        assert ended
        assert ended.status == "succeeded"


def test_a_stream_left_open_after_its_client_does_not_hide_the_programs_own_error(api: ScriptedAPI) -> None:
    api.next(Script(duration=30, output=list("abc"), stream=Stream(interval=0.1)))
    client = Client()

    def read() -> None:
        with client.stream("acme/private", {"n": 1}) as pieces:
            assert next(pieces) == "a"
            client.close()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read()


def test_the_timeout_of_a_call_covers_reading_an_input_that_never_ends(api: ScriptedAPI) -> None:
    ends = threading.Event()

    class Pipe:
        def read(self, _size: int = -1) -> bytes:
            ends.wait(30)
            return b""

    with Client() as client:
        try:
            with pytest.raises(JobTimeoutError, match="the input was not read within 200 ms: nothing was created"):
                client.run("acme/private", {"n": Pipe()}, timeout=0.2)
            assert not ends.is_set()
        finally:
            ends.set()
    assert api.count("create") == 0


def test_ctrl_c_while_an_input_is_read_that_never_ends_ends_the_process(api: ScriptedAPI) -> None:
    program = """if True:
        import os, signal, sys, threading
        from replicate_job import run
        class Pipe:
            def read(self, size=-1):
                os.kill(os.getpid(), signal.SIGINT)
                threading.Event().wait()
        try:
            run("acme/private", {"n": Pipe()})
        except KeyboardInterrupt:
            sys.exit(5)
    """
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert ended.returncode == 5
    assert api.count("create") == 0


def test_the_commands_in_errors_name_the_journal_of_the_client(api: ScriptedAPI, tmp_path: Path) -> None:
    api.next(ENDLESS, ENDLESS)
    named = rf"`replicate-job wait \w+ --journal {tmp_path}/own.db`"
    with Client(journal=tmp_path / "own.db") as client, pytest.raises(JobTimeoutError, match=named):
        client.run("acme/private", {"n": 1}, timeout=0.5)
    with Client() as client, pytest.raises(JobTimeoutError, match=r"`replicate-job wait \w+`"):
        client.run("acme/private", {"n": 1}, key="order-17", timeout=0.5)


def test_an_unknown_name_raises_a_clear_error(api: ScriptedAPI) -> None:
    with Client() as client:
        for ask in (client.get, client.cancel, client.wait):
            with pytest.raises(UnknownJobError, match=f"no prediction nothing at {api.base_url}"):
                ask("nothing")
        with pytest.raises(ModelNotFoundError):
            client.schema("acme/nothing")


def test_wait_saves_the_outputs_of_a_prediction_that_another_program_created(api: ScriptedAPI, tmp_path: Path) -> None:
    with Client(journal=tmp_path / "other.db") as other:
        made = other.submit(*FOX).prediction_id
    with Client(save_to=tmp_path / "out") as client:
        result = client.wait(made, key="order-17")
        assert (result.prediction_id, result.key) == (made, "order-17")
        assert [path.parent for path in result.files] == [tmp_path / "out" / made]
        assert client.wait("order-17") == result
    assert api.count("create") == 1


def test_resume_finishes_an_interrupted_job(api: ScriptedAPI, tmp_path: Path) -> None:
    api.next(ENDLESS, ENDLESS, Script(duration=math.inf, end="failed", error="out of memory"))
    with Client(save_to=tmp_path / "out") as client:
        keys = [client.submit("acme/private", {"n": number}, key=f"order-{number}").key for number in range(3)]
    for prediction in api.predictions:
        prediction.finish()
    with Client() as client:
        results = {result.key: result for result in client.resume()}
        assert list(client.resume()) == []
    assert sorted(results) == keys
    assert [results[key].status for key in keys] == ["succeeded", "succeeded", "failed"]
    assert api.count("create") == 3


def test_the_result_of_a_job_that_cannot_be_resumed_has_its_problem(api: ScriptedAPI) -> None:
    api.next(ENDLESS)
    with Client() as client:
        client.submit("acme/private", {"n": 1}, key="order-17")
    api.faults.next("get", "401")
    with Client() as client:
        (result,) = client.resume()
    assert (result.key, result.status) == ("order-17", "error")
    assert "401" in result.problem


def test_stream_yields_the_pieces_of_the_text(api: ScriptedAPI) -> None:
    api.next(Script(output=["Hel", "lo"], stream=Stream()))
    with Client() as client:
        text = client.stream("meta/llama-2-70b-chat", {"prompt": "Hi"})
        assert "".join(text) == "Hello"
        assert text.result.status == "succeeded"
        api.next(Script(end="failed", error="no"))
        broken = client.stream("meta/llama-2-70b-chat", {"prompt": "Hi"})
        with pytest.raises(PredictionFailedError):
            list(broken)
        assert broken.result.status == "failed"


@pytest.mark.long
def test_batches_of_a_client_run_at_the_same_time(api: ScriptedAPI) -> None:
    rows = [{"n": number} for number in range(20)]
    with Client() as client, ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda key: sorted(r.line for r in client.batch("acme/private", rows, key=key)), "ab")
        results = client.batch("acme/private", rows, key="a")
        assert sorted(result.line for result in results) == first == second == list(range(1, 21))
        assert results.tally.stored == 20
    assert api.count("create") == 40


@pytest.mark.long
def test_progress_is_reported_to_the_function_of_the_caller(api: ScriptedAPI) -> None:
    reported: list[Progress] = []
    logs = "loading\n 50%|█████     | 2/4 [00:01<00:01]\n"
    api.next(Script(boot=0.05, duration=3, output="done", logs=logs))
    with Client(on_progress=reported.append) as client:
        result = client.run("acme/private", {"n": 1})
        assert {progress.prediction_id for progress in reported} == {result.prediction_id}
        assert reported[-1] == Progress(result.prediction_id, "succeeded", result.logs, 0.5, "done")
        assert any(progress.status == "processing" for progress in reported)
        own: list[Progress] = []
        before = len(reported)
        list(client.batch("acme/private", [{"n": 1}], on_progress=own.append))
        assert own
        assert len(reported) == before


@pytest.mark.long
def test_the_progress_of_a_batch_is_reported_while_its_predictions_run(api: ScriptedAPI) -> None:
    """Three predictions that run together are polled by the account's list."""
    reported: dict[str, list[Progress]] = {}
    logs = " 50%|█████     | 2/4 [00:01<00:01]\n"

    def show(progress: Progress) -> None:
        reported.setdefault(progress.prediction_id, []).append(progress)
        if all(any(each.status == "processing" for each in reported.get(one.id, [])) for one in api.predictions):
            for prediction in api.predictions:
                prediction.finish()

    api.next(*[Script(boot=0.05, duration=math.inf, output="done", logs=logs)] * 3)
    with Client() as client:
        results = list(client.batch("acme/private", [{"n": n} for n in range(3)], on_progress=show))
    assert [result.status for result in results] == ["succeeded"] * 3
    for seen in reported.values():
        assert (seen[-1].status, seen[-1].text) == ("succeeded", "done")
        assert any(each.fraction == 0.5 for each in seen)


async def test_a_closed_client_raises_closed_error_and_can_be_closed_again(api: ScriptedAPI) -> None:
    client = AsyncClient()
    await client.run(*FOX)
    await client.aclose()
    await client.aclose()
    with pytest.raises(ClosedError, match="this client is closed"):
        await client.run(*FOX)
    blocking = Client()
    blocking.close()
    blocking.close()
    for ask in (
        lambda: blocking.run(*FOX),
        lambda: list(blocking.batch("acme/private", [{}])),
        lambda: blocking.get("x"),
    ):
        with pytest.raises(ClosedError, match="this client is closed"):
            ask()
    assert api.count("create") == 1


async def test_closing_ends_running_calls_and_leaves_their_predictions_running(api: ScriptedAPI) -> None:
    """Another client can continue with the same keys."""
    api.next(*[ENDLESS] * 4)
    client = AsyncClient()
    running = asyncio.create_task(client.run("acme/private", {"n": 1}, key="order-17"))
    text = client.stream("acme/private", {"n": 2}, key="order-18")
    streaming = asyncio.create_task(anext(text))
    rows = client.batch("acme/private", [{"n": 3}, {"n": 4}], key="orders").__aiter__()
    first = asyncio.create_task(anext(rows))
    await asyncio.to_thread(api.wait_until, lambda: len(api.predictions) == 4)
    await client.aclose()
    for ended in (running, streaming, first):
        with pytest.raises(ClosedError):
            await ended
    assert api.count("cancel") == 0
    for prediction in api.predictions:
        prediction.finish()
    async with AsyncClient() as other:
        assert (await other.run("acme/private", {"n": 1}, key="order-17")).status == "succeeded"
    assert api.count("create") == 4


async def test_an_unfinished_batch_raises_after_its_client_was_closed(api: ScriptedAPI) -> None:
    """So the caller does not take the first rows for all rows."""
    async with AsyncClient() as client:
        rows = client.batch("acme/private", [{"n": number} for number in range(5)]).__aiter__()
        await anext(rows)
        await asyncio.to_thread(api.wait_until, lambda: len(api.predictions) == 5)
    with pytest.raises(ClosedError):
        [result async for result in rows]


@pytest.mark.usefixtures("api")
def test_a_client_belongs_to_the_loop_in_which_it_was_opened() -> None:
    client = AsyncClient()
    assert asyncio.run(client.run(*FOX)).status == "succeeded"
    with pytest.raises(ClosedError, match="another event loop"):
        asyncio.run(client.run(*FOX))
    with pytest.raises(ClosedError, match="another event loop"):
        asyncio.run(client.aclose())


@pytest.mark.usefixtures("api")
def test_a_process_with_open_clients_can_exit() -> None:
    program = """
import asyncio
from replicate_job import AsyncClient, Client
client, other = AsyncClient(), Client()
print(asyncio.run(client.run("acme/private", {"n": 1})).status)
print(other.run("acme/private", {"n": 2}).status)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("succeeded\nsucceeded\n", "")


@pytest.mark.usefixtures("api")
def test_the_error_for_an_open_client_in_a_forked_process_says_what_to_do() -> None:
    program = """
import os
from replicate_job import Client
from replicate_job.errors import ForkedError
client = Client()
client.run("acme/private", {"n": 1})
if os.fork():
    print(os.waitstatus_to_exitcode(os.wait()[1]), client.run("acme/private", {"n": 2}).status)
    client.close()
else:
    try:
        client.run("acme/private", {"n": 3})
    except ForkedError as error:
        client.close()
        os._exit(7 if "open it after the fork" in str(error) else 1)
"""
    words = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]  # Python 3.12 warns of such forks
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("7 succeeded\n", "")


def test_an_unused_client_works_in_both_processes_after_a_fork(api: ScriptedAPI) -> None:
    """A server that imports its application before it forks may have such clients in its modules."""
    program = """
import os
from replicate_job import Client
client = Client()
print(client.run("acme/private", {"n": 1}).status if os.fork() else client.run("acme/private", {"n": 2}).status)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("succeeded\nsucceeded\n", "")
    assert api.count("create") == 2


def test_an_unused_client_has_no_thread_and_can_be_closed(api: ScriptedAPI) -> None:
    threads = own_threads()
    client = Client()
    assert own_threads() == threads
    client.close()
    assert own_threads() == threads
    with pytest.raises(ClosedError):
        client.run(*FOX)
    assert not api.requests


def test_a_pruned_jobs_key_creates_no_second_prediction(api: ScriptedAPI) -> None:
    with Client() as client:
        client.run(*FOX, key="order-17")
        assert client.prune(older_than=timedelta(days=30)).jobs == 0
        assert client.prune(older_than=timedelta(0), dry_run=True).jobs == 1
        assert client.prune(older_than=timedelta(0)).jobs == 1
        assert client.run(*FOX, key="order-17").status == "succeeded"
    assert api.count("create") == 1


def test_a_schema_is_requested_once(api: ScriptedAPI) -> None:
    with Client() as client:
        schema = client.schema(FOX[0])
        assert client.schema(FOX[0]) is schema
    assert "prompt" in schema["components"]["schemas"]["Input"]["properties"]
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    "function",
    [run, arun, replicate_job.stream, replicate_job.astream, batch]
    + [getattr(kind, name) for kind in (AsyncClient, Client) for name in ("run", "submit", "stream", "batch")],
    ids=lambda function: function.__qualname__,
)
def test_the_help_of_a_function_names_every_option_with_its_default(function: Callable[..., Any]) -> None:
    parameters = inspect.signature(function).parameters
    assert all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    assert {"key", "save_to", "webhook", "on_progress", "cancel_after"} <= parameters.keys()
    assert parameters["key"].default is None
    if not isinstance(getattr(function, "__qualname__", ""), str) or "." not in function.__qualname__:
        assert parameters["rate"].default == "600/min"


def test_the_clients_have_the_same_methods_and_options() -> None:
    def methods(kind: type) -> dict[str, list[tuple[str, object]]]:
        found = {}
        for name, function in vars(kind).items():
            if not name.startswith("_") and callable(function):
                parameters = inspect.signature(function).parameters.values()
                found[name.removeprefix("a") if name == "aclose" else name] = [(p.name, p.default) for p in parameters]
        return found

    assert methods(AsyncClient) == methods(Client)
    assert inspect.signature(AsyncClient).parameters == inspect.signature(Client).parameters


def test_an_unknown_option_raises_a_type_error(api: ScriptedAPI) -> None:
    with Client() as client, pytest.raises(TypeError, match="there is no option 'kee'"):
        client.run(*FOX, kee="order-17")  # type: ignore[call-arg] # a wrong name on purpose
    with pytest.raises(JobError, match="rate: 'fast' is no rate"):
        Client(rate="fast")
    assert not api.requests


def own_threads() -> list[str]:
    """The names of all threads except those of the event loop's pool, which has at most six."""
    return sorted(thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_"))


def descriptors() -> int:
    """The number of this process's file descriptors, if the system reports it."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


@pytest.mark.long
async def test_a_thousand_cancelled_calls_leave_no_open_resources(api: ScriptedAPI) -> None:
    """Calls cancelled at any step leave no task, no table entry, no thread and no descriptor."""
    chance = random.Random(7)  # noqa: S311 - repeatable, not secret
    async with AsyncClient(rate="none") as client:
        await client.run("acme/private", {"n": 0})
    files = descriptors()
    async with AsyncClient(rate="none") as client:
        await asyncio.gather(*(client.run("acme/private", {"n": -number}) for number in range(64)))
        tasks, threads = len(asyncio.all_tasks()), own_threads()
        cancelled = 0
        for _ in range(10):
            calls = [asyncio.create_task(client.run("acme/private", {"n": number})) for number in range(100)]
            for call in calls:
                asyncio.get_running_loop().call_later(chance.uniform(0, 0.1), call.cancel)
            ended = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(each, asyncio.CancelledError | replicate_job.Result) for each in ended), ended
            cancelled += sum(isinstance(each, asyncio.CancelledError) for each in ended)
        assert cancelled > 100
        assert len(asyncio.all_tasks()) == tasks
        assert own_threads() == threads
        await asyncio.gather(*(client.run("acme/private", {"n": -number}) for number in range(64)))
    assert len(asyncio.all_tasks()) == 1
    await asyncio.to_thread(api.wait_until, lambda: descriptors() <= files)  # the server's ends close a little later


async def test_a_client_is_closed_even_if_its_closing_is_cancelled(api: ScriptedAPI) -> None:
    """Any number of tasks close it only one time."""
    api.next(ENDLESS, ENDLESS)
    client = AsyncClient()
    calls = [asyncio.create_task(client.run("acme/private", {"n": number})) for number in range(2)]
    await asyncio.to_thread(api.wait_until, lambda: len(api.predictions) == 2)
    closing = [asyncio.create_task(client.aclose()) for _ in range(3)]
    await asyncio.sleep(0)
    closing[0].cancel()
    ended = await asyncio.gather(*closing, return_exceptions=True)
    assert [type(each) for each in ended] == [asyncio.CancelledError, type(None), type(None)]
    assert [type(each) for each in await asyncio.gather(*calls, return_exceptions=True)] == [ClosedError] * 2
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await client.aclose()


def test_several_threads_can_close_a_client(api: ScriptedAPI) -> None:
    api.next(ENDLESS)
    client = Client()
    with ThreadPoolExecutor(4) as pool:
        running = pool.submit(client.run, "acme/private", {"n": 1})
        api.wait_until(lambda: api.predictions)
        for closed in [pool.submit(client.close) for _ in range(3)]:
            closed.result(timeout=30)
        assert isinstance(running.exception(timeout=30), ClosedError)


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts what Linux lists")
@pytest.mark.usefixtures("api")
def test_closed_clients_leave_no_descriptors() -> None:
    """Not even a client whose closing was cancelled leaves any."""
    program = """
import asyncio, os, time
from replicate_job import AsyncClient, Client

def count():
    return len(os.listdir("/proc/self/fd"))

def settles(most):
    until = time.monotonic() + 20
    while count() > most and time.monotonic() < until:
        time.sleep(0.01)
    return count() <= most

async def use(cancels):
    client = AsyncClient(rate="none")
    await asyncio.gather(*(client.run("acme/private", {"n": number}) for number in range(8)))
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)
    if cancels:
        closing.cancel()
    await asyncio.wait([closing])

def use_blocking():
    with Client(rate="none") as client:
        client.run("acme/private", {"n": 1})

asyncio.run(use(False)); use_blocking()
time.sleep(0.1)
before = count()
for _ in range(5):
    asyncio.run(use(True)); asyncio.run(use(False)); use_blocking()
print(settles(before), count(), before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout[:4], done.stderr) == ("True", ""), done


def test_wait_and_resume_end_at_their_timeout(api: ScriptedAPI) -> None:
    """The predictions run on, and can be waited for again."""
    api.next(ENDLESS, ENDLESS)
    with Client() as client:
        made = client.submit("acme/private", {"n": 1}, key="order-17").prediction_id
        client.submit("acme/private", {"n": 2}, key="order-18")
        with pytest.raises(JobTimeoutError) as caught:
            client.wait("order-17", timeout=0.2)
        assert (caught.value.result.prediction_id, caught.value.result.key) == (made, "order-17")
        late = list(client.resume(timeout=0.2))
        assert {(result.key, "still" in result.problem) for result in late} == {("order-17", True), ("order-18", True)}
        for prediction in api.predictions:
            prediction.finish()
        assert client.wait("order-17", timeout=30).status == "succeeded"
        assert [result.key for result in client.resume(timeout=30)] == ["order-18"]
    assert (api.count("create"), api.count("cancel")) == (2, 0)


def test_the_timeout_of_wait_includes_the_search_for_the_prediction(api: ScriptedAPI, tmp_path: Path) -> None:
    with Client(journal=tmp_path / "other.db") as other:
        made = other.submit(*FOX).prediction_id
    api.faults.next("get", *["503"] * 50)
    with Client() as client, pytest.raises(JobTimeoutError, match=f"did not tell of {made} within") as caught:
        client.wait(made, timeout=0.2)
    assert caught.value.result.prediction_id == made


def test_the_docstrings_of_the_blocking_client_mention_no_coroutines() -> None:
    for kind in (Client, replicate_job.JobHandle):
        for name, function in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_"):
                told = inspect.getdoc(function) or ""
                assert told, name
                assert not {"await", "async", "coroutine", "See"} & set(told.replace("`", " ").split()), name


async def test_the_job_of_a_call_that_waits_for_a_rate_limit_slot_is_in_the_journal(api: ScriptedAPI) -> None:
    """If the process ends during the wait, the job is not lost."""
    api.next(*[Script(output="done")] * 12)
    async with AsyncClient(rate="5/s") as client:
        await client.run("acme/private", {"n": 0})
        calls = [asyncio.create_task(client.run("acme/private", {"n": number})) for number in range(1, 12)]
        await asyncio.to_thread(api.wait_until, lambda: api.created >= 6)
        await client.aclose()
        assert len(api.predictions) < 12
        await asyncio.gather(*calls, return_exceptions=True)
    async with AsyncClient() as client:
        numbers = {result.input["n"] async for result in client.resume()}
        numbers |= {prediction.input["n"] for prediction in api.predictions}
    assert numbers == set(range(12))
    assert api.count("create") == 12


def test_an_invalid_input_is_refused_for_a_cached_model_too(api: ScriptedAPI) -> None:
    with Client() as client:
        client.run(*FOX)
        for key in (None, "order-17"):
            with pytest.raises(InputError, match="colour"):
                client.run(FOX[0], {"prompt": "a fox", "colour": "red"}, key=key)
    assert api.count("create") == 1


def test_a_client_that_cannot_be_opened_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPLICATE_API_TOKEN", raising=False)
    monkeypatch.setenv("REPLICATE_BASE_URL", "https://api.replicate.com")
    threads = own_threads()
    with pytest.raises(MissingVariableError), Client():
        pass
    assert own_threads() == threads


async def test_a_second_loop_over_the_results_of_a_batch_raises_an_error(api: ScriptedAPI) -> None:
    """A second loop would find no rows, and look as if there had been none."""
    rows = [{"n": 1}, {"n": 2}]
    with Client() as client:
        results = client.batch("acme/private", rows)
        assert len(list(results)) == 2
        with pytest.raises(JobError, match="read already: call batch again"):
            list(results)
    async with AsyncClient() as other:
        asynchronous = other.batch("acme/private", rows)
        assert len([result async for result in asynchronous]) == 2
        with pytest.raises(JobError, match="read already: call batch again"):
            [result async for result in asynchronous]
    alone = batch("acme/private", rows)
    assert len(list(alone)) == 2
    with pytest.raises(JobError, match="read already: call batch again"):
        list(alone)
    assert api.count("create") == 6


@pytest.mark.parametrize("kind", [AsyncClient, Client])
def test_a_client_cannot_be_pickled(kind: type[AsyncClient | Client]) -> None:
    client = kind(token="r8_0123456789")  # noqa: S106 - not a real token
    for duplicate in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied: make one in each process"):
            duplicate(client)


@pytest.mark.long
async def test_log_records_name_their_job(api: ScriptedAPI, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="replicate_job")
    api.faults.next("create", "503")
    async with AsyncClient() as client:
        result = await client.run("acme/private", {"n": 1}, key="mine")
    told = {record.getMessage(): record.__dict__ for record in caplog.records if record.name == "replicate_job"}
    (broken,) = [record for message, record in told.items() if "looking whether" in message]
    assert (broken["key"], broken["model"]) == ("mine", "acme/private")
    (ended,) = [record for message, record in told.items() if message.endswith("is succeeded")]
    assert (ended["key"], ended["prediction"]) == ("mine", result.prediction_id)


async def test_an_error_names_its_job(api: ScriptedAPI) -> None:
    api.faults.next("create", "402")
    async with AsyncClient() as client:
        with pytest.raises(PaymentRequiredError) as caught:
            await client.run("acme/private", {"n": 1}, key="mine")
    assert caught.value.about == {"key": "mine", "model": "acme/private"}
    assert pickle.loads(pickle.dumps(caught.value)).about == caught.value.about  # noqa: S301 - the test's own data


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (Text("a fox"), "a fox"),
        (Whole(5), 5),
        (Real(1.5), 1.5),
        (Style.BOLD, "bold"),
        (Level.HIGH, 3),
        (Decimal("1.50"), 1.5),
        (Decimal(5), 5),
        (date(2026, 5, 1), "2026-05-01"),
        (datetime(2026, 5, 1, 12, tzinfo=UTC), "2026-05-01T12:00:00+00:00"),
        (time_of_day(12, 30), "12:30:00"),
        (timedelta(minutes=1), 60.0),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (np.longdouble(1.5), 1.5),
        (np.array([1.5], dtype=np.longdouble), [1.5]),
        (np.datetime64("2026-05-01"), "2026-05-01"),
        (np.datetime64("2026-05-01T12:00:00.000001999"), "2026-05-01T12:00:00.000001"),
        (np.timedelta64(1_500_000_000, "ns"), 1.5),
        ({np.str_("a"): 1, Text("b"): [np.str_("c")]}, {"a": 1, "b": ["c"]}),
        (Size(np.int64(1), Whole(2)), [1, 2]),
        ([(1, 2), (3, 4)], [[1, 2], [3, 4]]),
        ([{"a": (Text("x"), Decimal("0.5"))}], [{"a": ["x", 0.5]}]),
    ],
    ids=repr,
)
def test_values_of_python_and_numpy_are_sent_in_json_s_types_by_a_single_job_and_by_a_batch(
    api: ScriptedAPI, value: Any, sent: Any
) -> None:
    with Client() as client:
        results = [
            client.run("acme/private", {"n": value}),
            client.run(Job("acme/private", {"n": value})),
            client.run("acme/private", {Text("n"): value}),
            client.submit("acme/private", {"n": value}).result(),
            *client.batch("acme/private", [{"n": value}]),
            *client.batch(Job("acme/private", {"n": value}), [{"text": "x"}]),
            *client.batch("acme/private", [{"text": "x"}], grid={"n": [value]}),
        ]
        with client.stream("acme/private", {"n": value}) as text:
            list(text)
    assert [result.input["n"] for result in results] == [sent] * len(results)
    assert [prediction.input["n"] for prediction in api.predictions] == [sent] * (len(results) + 1)


@pytest.mark.usefixtures("api")
def test_a_single_job_sends_none_where_a_batch_leaves_a_missing_value_out() -> None:
    values = {"n": 1, "a": None, "b": [None], "c": {"d": None}}
    with Client() as client:
        assert client.run("acme/private", values).input == values
        assert [result.input for result in client.batch("acme/private", [values])] == [{"n": 1, "b": [None], "c": {}}]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (math.nan, "nan is not a number that JSON can carry"),
        (Real("nan"), "nan is not a number that JSON can carry"),
        (np.float32("nan"), "nan is not a number that JSON can carry"),
        (np.longdouble("inf"), "inf is not a number that JSON can carry"),
        (Decimal("NaN"), "NaN is not a number that JSON can carry"),
        (Decimal("sNaN"), "sNaN is not a number that JSON can carry"),
        (Whole(10**300), "a number of more than 300 digits is not one that JSON can carry"),
        (Text("\ud800"), r"'\\ud800' is not valid Unicode"),
        ({1, 2}, "a set is not a JSON value; a file is a pathlib.Path, an open file or bytes"),
        (1j, "a complex is not a JSON value"),
        (np.complex128(1j), "a complex is not a JSON value"),
        (np.add, "a ufunc is not a JSON value"),
        (object, "a type is not a JSON value"),
    ],
    ids=repr,
)
def test_a_value_without_a_form_in_json_is_an_error_of_a_single_job(api: ScriptedAPI, value: Any, problem: str) -> None:
    with Client() as client:
        for call in (client.run, client.submit, client.stream):
            for values in (value, [value], {"a": value}):
                with pytest.raises(InputError, match=problem):
                    call("acme/private", {"n": values})
    assert not api.created

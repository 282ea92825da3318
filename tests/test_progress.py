"""Reports to the caller's own function, and errors in that function."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest

from replicate_job import AsyncClient, Client, Progress, run
from replicate_job.errors import JobError, ReplicateJobError
from replicate_job.testing import Script, ScriptedAPI

MODEL = "acme/private"


def raising(error: BaseException) -> Callable[[Progress], None]:
    def on_progress(_: Progress) -> None:
        raise error

    return on_progress


def make_one(api: ScriptedAPI) -> str:
    """Submit a job, end its prediction, and return the job's key."""
    api.next(Script(duration=math.inf))
    with Client() as other:
        key = other.submit(MODEL, {"n": 5}).key
    api.predictions[-1].finish()
    return key


CALLS: dict[str, Callable[[Client, ScriptedAPI], object]] = {
    "run": lambda client, _: client.run(MODEL, {"n": 1}),
    "submit": lambda client, _: client.submit(MODEL, {"n": 1}),
    "stream": lambda client, _: list(client.stream(MODEL, {"n": 1})),
    "batch": lambda client, _: list(client.batch(MODEL, [{"n": 1}, {"n": 2}])),
    "wait": lambda client, api: client.wait(make_one(api)),
    "resume": lambda client, api: (make_one(api), list(client.resume())),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ZeroDivisionError("callback")], ids=repr)
def test_an_error_in_on_progress_is_raised_by_the_call_and_the_client_can_be_used_further(
    api: ScriptedAPI, error: BaseException, name: str
) -> None:
    """The client's thread survives a SystemExit. The prediction is left running."""
    with Client(on_progress=raising(error)) as client:
        with pytest.raises(type(error)) as caught:
            CALLS[name](client, api)
        assert caught.value is error
        assert client.run(MODEL, {"n": 9}, on_progress=lambda _: None).status == "succeeded"
    assert api.count("cancel") == 0


@pytest.mark.usefixtures("api")
def test_a_system_exit_in_on_progress_ends_only_its_own_call() -> None:
    with Client() as client:
        outcomes: list[object] = []

        def call(number: int) -> None:
            on_progress = raising(SystemExit(3)) if number == 2 else None
            try:
                outcomes.append(client.run(MODEL, {"n": number}, on_progress=on_progress).status)
            except SystemExit as error:
                outcomes.append(error.code)

        threads = [threading.Thread(target=call, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(outcomes, key=str) == [3, *["succeeded"] * 5]


def test_a_cancelled_error_in_on_progress_does_not_cancel_the_call(api: ScriptedAPI) -> None:
    """Otherwise a batch would lose the row."""
    with Client(on_progress=raising(asyncio.CancelledError())) as client:
        for call in (CALLS["run"], CALLS["batch"]):
            with pytest.raises(RuntimeError, match="on_progress raised CancelledError"):
                call(client, api)


def test_a_blocking_call_in_on_progress_raises_a_clear_error(api: ScriptedAPI) -> None:
    with Client() as client:
        blocking: list[Callable[[Progress], object]] = [
            lambda seen: client.get(seen.prediction_id),
            lambda _: client.close(),
        ]
        for on_progress in blocking:
            with pytest.raises(ReplicateJobError, match="in another thread"):
                client.run(MODEL, {"n": 1}, on_progress=on_progress)
    with pytest.raises(ReplicateJobError, match="in another thread"):
        run(MODEL, {"n": 1}, on_progress=lambda _: run(MODEL, {"n": 2}))
    assert api.count("create") == 3


async def asynchronous(_: Progress) -> None:
    """Never awaited."""


class Asynchronous:
    async def __call__(self, _: Progress) -> None:
        """Never awaited."""


@pytest.mark.parametrize("function", [asynchronous, Asynchronous(), 5], ids=["function", "object", "number"])
async def test_an_on_progress_argument_that_is_not_a_plain_function_is_refused_before_anything_is_sent(
    api: ScriptedAPI, function: Any
) -> None:
    async with AsyncClient() as client:
        for call in (client.run, client.submit):
            with pytest.raises(JobError, match=r"on_progress is .*: give a function that is not async"):
                await call(MODEL, {"n": 1}, on_progress=function)
        for begin in (client.stream, lambda *a, **o: client.batch(a[0], [a[1]], **o)):
            with pytest.raises(JobError, match=r"on_progress is .*: give a function that is not async"):
                begin(MODEL, {"n": 1}, on_progress=function)
    with pytest.raises(JobError, match=r"on_progress is .*: give a function that is not async"):
        AsyncClient(on_progress=function)
    assert not api.requests


@pytest.mark.usefixtures("api")
def test_an_on_progress_function_that_returns_a_coroutine_raises_a_clear_error() -> None:
    def hand_on(seen: Progress) -> object:
        return asynchronous(seen)

    with Client() as client, pytest.raises(TypeError, match="on_progress returned a coroutine"):
        client.run(MODEL, {"n": 1}, on_progress=hand_on)

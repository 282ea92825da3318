"""An argument of a wrong type is one error that names it, before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from tests.asked import asked

from replicate_job import AsyncClient, Client, Job, Result, arun, batch, run, stream
from replicate_job.arguments import _KINDS
from replicate_job.calls import OneShotBatchOptions, OneShotOptions
from replicate_job.errors import JobError
from replicate_job.testing import ScriptedAPI

MODEL = "acme/private"
TOO_LARGE = (10**400, 10**5000)
"""The first is no float, and the second is no text either: Python refuses to write so many digits."""
NO_SECONDS: tuple[Any, ...] = (
    0,
    -1,
    math.nan,
    -math.inf,
    True,
    Decimal(5),
    Decimal("sNaN"),
    Fraction(5, 2),
    *TOO_LARGE,
)
NO_COUNT: tuple[Any, ...] = (0, -1, 1.5, math.nan, math.inf, True, Decimal(5), Fraction(5), 2**63, *TOO_LARGE)
WRONG: dict[str, list[Any]] = {
    "token": [5, b"r8_secret", ""],
    "base_url": [5, b"http://127.0.0.1", Path("x"), ""],
    "headers": [5, "a: secret", [("a", "secret")]],
    "journal": [5, True, b"x", "", " "],
    "rate": [10, None, b"10/s"],
    "local": ["yes", 1, None],
    "allow_private_outputs": ["no", 0],
    "key": [17, b"x", "", " ", "a\ud800", True],
    "save_to": [5, b"x", True, ""],
    "on_progress": [5, "print"],
    "cancel_after": [5, timedelta(minutes=5)],
    "webhook": [5, b"http://example.com"],
    "webhook_events_filter": ["completed", 5, ("ended",), {"completed": 1}],
    "allow_unknown": ["yes", 1],
    "wait_for_completion": ["yes", 1],
    "poll_interval": ["5", *NO_SECONDS, math.inf, timedelta(seconds=1)],
    "max_poll_attempts": ["5", *NO_COUNT],
    "timeout": ["5m", *NO_SECONDS, timedelta(minutes=5)],
    "id": [5, ["a"], ""],
    "rename": [5, ["a"], {"a": 5}, None],
    "ignore_columns": [5, None],
    "set": [5, "a={b}", {"a": 5}, None],
    "grid": [5, ["a"], {"a": 5}, {"a": "bc"}, {5: [1]}, None],
    "models": [5, [5], {"a": 1}, None],
    "format": [5, ""],
    "delimiter": [5, b","],
    "encoding": [5],
    "header": [5, "a", None],
    "quotes": ["no", 1],
    "concurrency": ["5", *NO_COUNT],
    "limit": ["5", *NO_COUNT],
    "retry_failed": ["no", 1],
    "retry_uncertain": ["no", 1],
    "fail_fast": ["no", None],
    "max_predict_time": ["5", *NO_SECONDS, math.inf],
    "max_cost": ["5", 0, -1, math.nan, math.inf, True, Decimal("sNaN"), Fraction(5), 10**400],
    "price": [5, b"x"],
    "dedupe": ["no", 1],
    "retries": ["2", -1, True, 1.5, None, Decimal(2), 2**63, 10**5000],
    "retry_on": [5],
    "fallback": [5, [5], {"acme/other": {}}],
    "reuse": ["30d", 30, timedelta(0)],
}


def test_every_option_has_a_check() -> None:
    options = OneShotOptions.__annotations__.keys() | OneShotBatchOptions.__annotations__.keys()
    assert options <= _KINDS.keys()
    assert options == WRONG.keys()


@pytest.mark.parametrize("name", [name for name in WRONG if name in OneShotOptions.__annotations__])
async def test_the_error_names_an_option_of_a_call_that_has_a_wrong_type(api: ScriptedAPI, name: str) -> None:
    for value in WRONG[name]:
        for call in (lambda **options: run(MODEL, {}, **options), lambda **options: list(stream(MODEL, {}, **options))):
            with pytest.raises(JobError, match=f"^{name} is .*: give ") as caught:
                call(**{name: value})
            assert "secret" not in str(caught.value)
        with pytest.raises(JobError, match=f"^{name} is .*: give "):
            await arun(MODEL, {}, **{name: value})
    assert not api.requests


@pytest.mark.parametrize("name", [name for name in WRONG if name in OneShotBatchOptions.__annotations__])
def test_the_error_names_an_option_of_a_batch_that_has_a_wrong_type(api: ScriptedAPI, name: str) -> None:
    for value in WRONG[name]:
        with pytest.raises(JobError, match=f"^{name} is .*: give "):
            batch(MODEL, [{"n": 1}], **{name: value})
    assert not api.requests


@pytest.mark.parametrize("name", ["token", "base_url", "headers", "journal", "rate", "local", "save_to"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_the_error_names_an_option_of_a_client_that_has_a_wrong_type(kind: Any, name: str) -> None:
    for value in WRONG[name]:
        with pytest.raises(JobError, match=f"^{name} is .*: give "):
            kind(**{name: value})


@pytest.mark.parametrize("values", [[1], [], "text", "", 5, 0, b"x", [("n", 1)]], ids=repr)
def test_an_input_that_is_not_a_mapping_raises_an_error(api: ScriptedAPI, values: Any) -> None:
    with Client() as client:
        for call in (client.run, client.submit, client.stream):
            with pytest.raises(JobError, match=r"^input is a .*: give a dict of the model's inputs"):
                call(MODEL, values)
        with pytest.raises(JobError, match=r"^the job's input_data is a .*: give a dict"):
            client.run(Job(MODEL, values))
    assert not api.requests


@pytest.mark.parametrize("job", [5, None, b"acme/private", {"model": MODEL}, Path("run.xs")], ids=repr)
def test_a_value_that_is_not_a_job_raises_an_error(api: ScriptedAPI, job: Any) -> None:
    with Client() as client:
        for call in (client.run, client.submit, client.stream, lambda job: client.batch(job, [])):
            with pytest.raises(JobError, match=r"^job is a "):
                call(job)
    for alone in (run, lambda job: list(stream(job)), lambda job: batch(job, []), lambda job: run(job, local=True)):
        with pytest.raises(JobError, match=r"^job is a "):
            alone(job)
    assert not api.requests


@pytest.mark.parametrize("rows", [5, None, {"n": 1}, b"x", Job(MODEL)], ids=repr)
def test_a_value_that_does_not_give_rows_raises_an_error(api: ScriptedAPI, rows: Any) -> None:
    with Client() as client, pytest.raises(JobError, match=r"^rows is a .*: give a list of inputs"):
        client.batch(MODEL, rows)
    assert not api.requests


async def test_a_key_or_model_name_that_is_not_text_raises_an_error(api: ScriptedAPI) -> None:
    async with AsyncClient() as client:
        with Client() as blocking:
            asks: list[tuple[Callable[[Any], object], Callable[[Any], Awaitable[object]]]] = [
                (blocking.get, client.get),
                (blocking.cancel, client.cancel),
                (blocking.wait, client.wait),
            ]
            for name in (5, None, b"x", "", " "):
                for ask, aask in asks:
                    with pytest.raises(JobError, match=r"^name is .*: give a job's key or a prediction's id"):
                        ask(name)
                    with pytest.raises(JobError, match=r"^name is .*: give a job's key or a prediction's id"):
                        await aask(name)
            for model in (5, None, b"acme/private"):
                with pytest.raises(JobError, match=r"^model is .*: give a model's name"):
                    blocking.schema(model)  # type: ignore[arg-type] # a wrong type on purpose
    assert not api.requests


def test_the_error_names_a_wrong_argument_of_the_less_common_methods(api: ScriptedAPI) -> None:
    with Client() as client:
        handle = client.submit(MODEL, {"n": 1})
        sent = len(asked(api))
        wrong: dict[str, Callable[[Any], object]] = {
            "older_than": lambda value: client.prune(older_than=value),
            "since": lambda value: list(client.predictions(since=value)),
            "forget": lambda value: client.prune(older_than=timedelta(days=30), forget=value),
            "dry_run": lambda value: client.prune(older_than=timedelta(days=30), dry_run=value),
            "timeout": lambda value: handle.result(timeout=value),
            "key": lambda value: client.wait("x", key=value),
            "save_to": lambda value: client.resume(save_to=value),
            "limit": lambda value: client.search("cats", limit=value),
        }
        wrong_values = {**WRONG, "forget": ["30d"], "dry_run": ["30d"]}
        for name, call in wrong.items():
            for value in (30, timedelta(-1)) if name in ("older_than", "since") else wrong_values[name]:
                with pytest.raises(JobError, match=f"^{name} is .*: give "):
                    call(value)
        assert len(asked(api)) == sent


def test_the_error_names_a_wrong_timeout_in_every_function_that_has_one(api: ScriptedAPI) -> None:
    with Client() as client:
        calls: list[Callable[[Any], object]] = [
            lambda timeout: client.submit(MODEL, {"n": 1}, timeout=timeout),
            lambda timeout: client.wait("x", timeout=timeout),
            lambda timeout: list(client.resume(timeout=timeout)),
            lambda timeout: client.train(f"{MODEL}:{'a' * 64}", "acme/new", {}, timeout=timeout),
        ]
        for call in calls:
            for timeout in NO_SECONDS:
                with pytest.raises(JobError, match=r"^timeout is .*: give a number of seconds above 0, or None"):
                    call(timeout)
    assert not api.requests


def test_the_error_names_a_wrong_poll_interval_or_number_of_attempts_of_a_job(api: ScriptedAPI) -> None:
    """A Decimal was written into the journal as text, and its job was damaged."""
    for interval in (*NO_SECONDS, math.inf):
        with pytest.raises(JobError, match=r"^poll_interval is .*: give a number of seconds above 0"):
            run(Job(MODEL, {"n": 1}, poll_interval=interval))
    for count in NO_COUNT:
        with pytest.raises(JobError, match=r"^max_poll_attempts is .*: give a whole number from 1"):
            run(Job(MODEL, {"n": 1}, max_poll_attempts=count))
    with pytest.raises(JobError, match="poll_interval"):
        run(Job(MODEL, {"n": 1}, poll_interval=10**308, max_poll_attempts=2**63 - 1))
    assert not api.requests


def test_a_period_that_begins_before_all_predictions_lists_all_of_them(api: ScriptedAPI) -> None:
    with Client(base_url=api.base_url) as client:
        made = client.run(MODEL, {"n": 1})
        for age in (timedelta(days=20_000), timedelta(days=20_000 * 365), timedelta.max):
            assert [each.prediction_id for each in client.predictions(since=age)] == [made.prediction_id]


def test_a_string_as_ignored_columns_is_the_name_of_one_column(api: ScriptedAPI) -> None:
    """The string is not taken as a list of its letters."""
    results: list[Result] = list(batch(MODEL, [{"n": 1, "note": "x"}], ignore_columns="note"))
    assert [result.input for result in results] == [{"n": 1}]
    assert api.count("create") == 1

"""An argument of a wrong type is one error that names it, before anything is sent."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.asked import asked
from tests.subclasses import Real, Text, Whole

from replicate_job import (
    AsyncClient,
    Chain,
    Client,
    Fallback,
    Job,
    Result,
    Step,
    arun,
    batch,
    replicate_run_prediction,
    run,
    stream,
)
from replicate_job.arguments import _KINDS
from replicate_job.calls import OneShotBatchOptions, OneShotOptions
from replicate_job.errors import JobError, JobTimeoutError
from replicate_job.testing import Script, ScriptedAPI
from replicate_job.testing.models import ScriptedModel

MODEL = "acme/private"
OTHER = "acme/other"
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
    np.int64(0),
    np.float32(-1),
    np.float64("nan"),
    np.bool_(True),
    np.array([5]),
    np.complex128(5),
    *TOO_LARGE,
)
NO_COUNT: tuple[Any, ...] = (
    *(0, -1, 1.5, math.nan, math.inf, True, Decimal(5), Fraction(5), 2**63, *TOO_LARGE),
    *(np.int64(0), np.float64(5), np.float64("inf"), np.bool_(True), np.uint64(2**63)),
)
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


@pytest.mark.parametrize("name", ["key", "base_url", "token", "journal", "save_to", "webhook", "fallback"])
def test_the_error_says_that_a_text_is_not_valid_unicode(api: ScriptedAPI, name: str) -> None:
    call: Any = run
    for value in ("\ud800", "a\udfff"):
        with pytest.raises(JobError, match=f"^{name} is .*: give text that is valid Unicode$") as caught:
            call(MODEL, {}, **{name: value})
        str(caught.value).encode()  # it can be printed
    with pytest.raises(JobError, match=r"^models is .*: give text that is valid Unicode$"):
        batch(MODEL, [{"n": 1}], models=[MODEL, "a/\ud800"])
    assert not api.requests


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


NUMBERS = (np.int64(5), np.uint8(5), np.float32(5), np.float64(5), np.longdouble(5), Whole(5), Real(5))
COUNTS = (np.int64(5), np.uint8(5), Whole(5), np.array(5))
TEXTS = (np.str_, Text)
YES, NO = np.True_, np.False_
OF_NUMPY: dict[str, list[Any]] = {
    "rate": [text("10/s") for text in TEXTS],
    "local": [NO],
    "allow_private_outputs": [YES],
    "key": [text("order-17") for text in TEXTS],
    "save_to": [text("out") for text in TEXTS],
    "cancel_after": [text("5m") for text in TEXTS],
    "webhook": [text("http://127.0.0.1:9/hook") for text in TEXTS],
    "webhook_events_filter": [["completed"], [np.str_("start")], (Text("start"),), np.array(["start", "output"])],
    "allow_unknown": [YES, NO],
    "wait_for_completion": [YES],
    "poll_interval": [*NUMBERS],
    "max_poll_attempts": [*COUNTS],
    "timeout": [*NUMBERS, np.float64("inf")],
    "retries": [*COUNTS, np.int64(0)],
    "retry_on": [np.str_("failed"), [Text("failed")]],
    "fallback": [np.str_(OTHER), [Text(OTHER)], Fallback(np.str_(OTHER))],
    "reuse": [np.timedelta64(30, "D")],
    "retry_failed": [NO],
    "id": [np.str_("n")],
    "rename": [{np.str_("n"): Text("seed")}],
    "ignore_columns": [np.str_("note"), [Text("note")]],
    "set": [{np.str_("text"): Text("{n}")}],
    "grid": [{np.str_("text"): ["a"]}],
    "models": [np.str_(OTHER), [Text(OTHER)]],
    "concurrency": [*COUNTS],
    "limit": [*COUNTS],
    "retry_uncertain": [YES],
    "fail_fast": [YES],
    "max_predict_time": [*NUMBERS],
    "max_cost": [*NUMBERS],
    "price": [np.str_("0.003/image"), {np.str_("acme/private"): Text("0.003/image")}],
    "dedupe": [YES],
}
"""Values of numpy and of subclasses, which are the same as Python's own values."""


@pytest.mark.replicate_api(ScriptedModel(name=OTHER, official=True, script=Script(output="done")))
@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("name", [name for name in OF_NUMPY if name in OneShotOptions.__annotations__])
async def test_an_option_of_a_call_may_be_a_scalar_of_numpy_or_of_a_subclass(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    more: dict[str, Any] = {"retries": 1} if name == "retry_on" else {}
    for value in OF_NUMPY[name]:
        assert run(MODEL, {"n": 1}, **{name: value}, **more).status == "succeeded"
        assert (await arun(Text(MODEL), {"n": 1}, **{name: value}, **more)).status == "succeeded"
        if name not in ("retries", "retry_on", "fallback", "reuse"):
            assert "".join(stream(np.str_(MODEL), {"n": 1}, **{name: value})) == "done"


@pytest.mark.replicate_api(ScriptedModel(name=OTHER, official=True, script=Script(output="done")))
@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("name", [name for name in OF_NUMPY if name in OneShotBatchOptions.__annotations__])
def test_an_option_of_a_batch_may_be_a_scalar_of_numpy_or_of_a_subclass(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    more: dict[str, Any] = {"retries": 1} if name == "retry_on" else {}
    if name == "max_cost":
        more = {"price": "0.0001/s"}
    for value in OF_NUMPY[name]:
        results = list(batch(np.str_(MODEL), [{"n": 1}], **{name: value}, **more))
        assert results
        assert {(result.status, result.problem) for result in results} == {("succeeded", "")}


def test_options_of_numpy_are_sent_like_those_of_python(api: ScriptedAPI) -> None:
    with Client(token=np.str_(api.token), base_url=Text(api.base_url), headers={np.str_("x-a"): Text("b")}) as client:
        client.run(
            Text(MODEL),
            {"n": 1},
            webhook=np.str_("http://127.0.0.1:9/hook"),
            webhook_events_filter=["completed"],
            cancel_after=Text("5m"),
        )
    (request,) = [request for request in api.requests if request.operation == "create"]
    body = json.loads(request.body)
    assert (body["webhook"], body["webhook_events_filter"]) == ("http://127.0.0.1:9/hook", ["completed"])
    assert (request.headers["cancel-after"], request.headers["x-a"]) == ("5m", "b")
    assert request.headers["authorization"] == f"Bearer {api.token}"


@pytest.mark.usefixtures("api")
def test_a_job_s_own_values_may_be_scalars_of_numpy_or_of_a_subclass() -> None:
    for job in (
        Job(np.str_(MODEL), {"n": 1}, poll_interval=np.float64(0.1), max_poll_attempts=np.int64(50)),  # type: ignore[arg-type] # as numpy's users have it
        Job(Text(MODEL), {"n": 1}, poll_interval=Whole(1), max_poll_attempts=Whole(50), wait_for_completion=YES),  # type: ignore[arg-type] # as above
        Job(MODEL, {"n": 1}, cancel_after=Text("5m"), title=np.str_("A title"), allow_unknown=YES),  # type: ignore[arg-type] # as above
    ):
        assert run(job).status == "succeeded"
        assert [result.status for result in batch(job, [{"n": 2}])] == ["succeeded"]
    assert replicate_run_prediction(np.str_(MODEL), {"n": 1}, YES, np.float32(1), np.int64(9))["status"] == "succeeded"  # type: ignore[arg-type] # as above


@pytest.mark.usefixtures("api")
def test_arguments_of_the_less_common_methods_may_be_scalars_of_numpy_or_of_a_subclass() -> None:
    with Client() as client:
        handle = client.submit(MODEL, {"n": 1}, key=np.str_("order-17"))
        for number in NUMBERS:
            timeout: Any = number
            assert handle.result(timeout=timeout).status == "succeeded"
            assert client.wait(np.str_("order-17"), timeout=timeout).status == "succeeded"
            assert list(client.resume(timeout=timeout)) == []
        assert client.get(Text("order-17")).key == "order-17"
        assert client.cancel(np.str_("order-17")).status == "succeeded"  # type: ignore[union-attr] # it has a prediction
        assert client.schema(Text("replicate/hello-world"))
        limit: Any = np.int64(1)
        assert len(client.search(np.str_("acme"), limit=limit)) <= 1
        dry: Any = YES
        assert client.prune(older_than=timedelta(0), dry_run=dry).jobs == 1


def test_a_job_waits_as_long_as_a_number_of_numpy_says(api: ScriptedAPI) -> None:
    api.next(Script(duration=math.inf))
    timeout: Any = np.float32(0.25)
    with Client() as client, pytest.raises(JobTimeoutError):
        client.run(MODEL, {"n": 1}, timeout=timeout)


def test_a_call_does_not_wait_where_numpy_says_false(api: ScriptedAPI) -> None:
    api.next(Script(duration=math.inf))
    assert run(MODEL, {"n": 1}, wait_for_completion=NO).status in ("starting", "processing")  # type: ignore[arg-type] # numpy's
    with pytest.raises(JobError, match="a local run ends with its call"):
        run(MODEL, {"n": 1}, wait_for_completion=NO, local=YES)  # type: ignore[arg-type] # numpy's


@pytest.mark.replicate_api(ScriptedModel(name=OTHER, official=True))
def test_the_input_of_a_fallback_is_sent_in_json_s_types_too(api: ScriptedAPI) -> None:
    api.next(Script(error="no"))
    fallback = Fallback(np.str_(OTHER), {Text("n"): np.str_("seed")}, {"scale": Decimal("0.5")})
    result = run("acme/private", {"n": Whole(3)}, fallback=fallback)
    assert result.input == {"seed": 3, "scale": 0.5}


@pytest.mark.usefixtures("api")
def test_values_of_a_chain_s_step_may_be_those_of_numpy_or_of_a_subclass() -> None:
    values = {"n": np.int64(3), "m": Decimal("0.5"), "day": date(2026, 5, 1), "text": Text("{x}")}
    chain = Chain([Step(np.str_("draw"), Text(MODEL), values, cancel_after=np.str_("5m"))], title=Text("A title"))
    results = [run(chain, {"x": np.float32(0.5)}), *batch(chain, [{"x": np.float32(0.5)}])]
    assert [result.input for result in results] == [{"n": 3, "m": 0.5, "day": "2026-05-01", "text": 0.5}] * 2

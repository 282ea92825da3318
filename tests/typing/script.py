"""A user's script, for type checkers: every option by its name, and the returned types. It is checked, and never run."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, assert_type

from replicate_job import (
    AsyncClient,
    AsyncJobHandle,
    AsyncTextStream,
    BatchOptions,
    Client,
    ClientOptions,
    Fallback,
    Job,
    JobHandle,
    OneShotOptions,
    OnProgress,
    Progress,
    Result,
    RunOptions,
    TextStream,
    arun,
    astream,
    batch,
    load_job,
    replicate_run_prediction,
    run,
    stream,
)
from replicate_job.errors import JobTimeoutError, PredictionFailedError, ReplicateJobError


def show(progress: Progress) -> None:
    assert_type(progress.fraction, float | None)
    assert_type(progress.text, str | None)


def blocking() -> None:
    with Client(
        token="r8_x",
        base_url="https://api.replicate.com",
        headers={"cf-aig-authorization": "x"},
        journal=Path("jobs.db"),
        rate="10/s",
        local=False,
        save_to="outputs",
        allow_private_outputs=False,
        on_progress=show,
    ) as client:
        assert_type(client, Client)
        result = client.run(
            "owner/model",
            {"image": Path("a.png"), "mask": BytesIO(b"x"), "n": 3},
            key="order-17",
            save_to=Path("outputs"),
            on_progress=lambda progress: print(progress.status),
            cancel_after="5m",
            webhook="https://example.com/hook",
            webhook_events_filter=("start", "completed"),
            allow_unknown=True,
            wait_for_completion=True,
            poll_interval=1,
            max_poll_attempts=60,
            timeout=300,
            retries=2,
            retry_on=("interrupted", "empty"),
            fallback="owner/other",
            reuse=timedelta(days=30),
        )
        assert_type(result, Result)
        assert_type((result.reused, result.earlier), tuple[bool, tuple[Result, ...]])
        assert_type(result.text, str | None)
        assert_type(result.files, tuple[Path | Any, ...])  # a file, or the URL of an object in a store
        assert_type(result.raise_for_status(), Result)
        assert_type(client.run("owner/model", input={"prompt": "a fox"}), Result)

        events: list[Literal["start", "completed"]] = ["completed"]
        client.run("owner/model", {"n": 1}, webhook_events_filter=["start", "completed"])
        client.run("owner/model", {"n": 1}, webhook_events_filter=events)
        client.run("owner/model", {"n": 1}, webhook_events_filter=None)

        job = client.submit(Job("owner/model", {"n": 1}), key=None, timeout=None)
        assert_type(job, JobHandle)
        assert_type(job.status(), str)
        assert_type(job.result(timeout=60), Result)
        assert_type(job.cancel(), Result)
        assert_type((job.key, job.prediction_id), tuple[str, str])

        with client.stream("owner/model", {"prompt": "Hi"}, timeout=1.5) as text:
            assert_type(text, TextStream)
            assert_type(list(text), list[str])
            assert_type(text.result, Result)

        results = client.batch(
            "owner/model",
            [{"n": 1}, {"n": 2}],
            key="orders",
            save_to=None,
            on_progress=show,
            id="n",
            rename={"text": "prompt"},
            ignore_columns=["note"],
            concurrency=8,
            limit=100,
            retry_failed=True,
            retry_uncertain=False,
            fail_fast=True,
            max_predict_time=3600,
            max_cost=5,
            price="0.003/image",
            dedupe=False,
            retries=1,
            fallback=["owner/other", Fallback("owner/third", {"n": "count"}, {"steps": 4})],
        )
        for row in results:
            assert_type(row, Result)
        assert_type(results.tally.succeeded, int)

        assert_type(client.get("order-17"), Result)
        assert_type(client.cancel("order-17"), Result | None)
        assert_type(client.wait("order-17", key=None, save_to="outputs", timeout=60), Result)
        for row in client.resume(save_to=Path("outputs"), timeout=60):
            assert_type(row, Result)
        assert_type(client.schema("owner/model"), dict[str, Any])
        assert_type(client.prune(older_than=timedelta(days=30), forget=False, dry_run=True).jobs, int)


async def awaiting() -> None:
    async with AsyncClient(save_to="outputs", rate="none", on_progress=show) as client:
        assert_type(client, AsyncClient)
        assert_type(await client.run("owner/model", {"n": 1}, key="order-17", timeout=300), Result)
        job = await client.submit("owner/model", {"n": 1}, webhook="https://example.com/hook")
        assert_type(job, AsyncJobHandle)
        assert_type(await job.status(), str)
        assert_type(await job.result(timeout=60), Result)
        assert_type(await job.cancel(), Result)
        text = client.stream("owner/model", {"prompt": "Hi"})
        assert_type(text, AsyncTextStream)
        async for piece in text:
            assert_type(piece, str)
        async for row in client.batch("owner/model", "rows.csv", delimiter=";", encoding="cp1252", header=True):
            assert_type(row, Result)
        assert_type(await client.get("order-17"), Result)
        assert_type(await client.cancel("order-17"), Result | None)
        assert_type(await client.wait("order-17", timeout=60), Result)
        async for row in client.resume(timeout=60):
            assert_type(row, Result)
        assert_type(await client.schema("owner/model"), dict[str, Any])


async def for_one_call(rows: AsyncIterable[dict[str, Any]], more: Iterable[dict[str, int]]) -> None:
    assert_type(run("owner/model", {"n": 1}, local=True, key="order-17", journal="jobs.db"), Result)
    assert_type(await arun(load_job("run.xs"), token="r8_x", timeout=300), Result)
    for piece in stream("owner/model", {"prompt": "Hi"}, headers={"a": "b"}):
        assert_type(piece, str)
    async for piece in astream("owner/model", {"prompt": "Hi"}, base_url="http://127.0.0.1:5005"):
        assert_type(piece, str)
    async for row in batch("owner/model", rows, rate="10/s", format=None, quotes=False):
        assert_type(row, Result)
    for row in batch("owner/model", more, allow_private_outputs=True):
        assert_type(row, Result)
    assert_type(replicate_run_prediction("owner/model", {"n": 1}, wait_for_completion=False), dict[str, Any])


def by_a_dictionary(show: OnProgress) -> None:
    of_client: ClientOptions = {"rate": "10/s", "token": None}
    of_call: RunOptions = {"key": "order-17", "timeout": 300, "on_progress": show}
    of_batch: BatchOptions = {"limit": 3, "rename": {"text": "prompt"}}
    of_both: OneShotOptions = {"key": "order-17", "local": True}
    with Client(**of_client) as client:
        assert_type(client.run("owner/model", {"n": 1}, **of_call), Result)
        for row in client.batch("owner/model", "rows.jsonl", **of_batch):
            assert_type(row, Result)
    assert_type(run("owner/model", {"n": 1}, **of_both), Result)


def failing(client: Client) -> str:
    try:
        return client.run("owner/model", {"n": 1}, timeout=60).raise_for_status().status
    except (JobTimeoutError, PredictionFailedError) as error:
        assert_type(error.result, Result)
        return error.result.status
    except ReplicateJobError as error:
        return str(error)


def wrong(client: Client) -> None:
    client.run("owner/model", {}, kee="order-17")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.run("owner/model", {}, timeout="5m")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.run("owner/model", {}, "order-17")  # type: ignore[call-arg, misc, arg-type, unused-ignore]  # pyright: ignore[reportCallIssue]
    client.run(17, {})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.batch("owner/model", 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.run("owner/model", on_progress=print, webhook_events_filter=("ended",))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.run("owner/model", webhook_events_filter="completed")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.run("owner/model", webhook_events_filter=["ended"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    Client(rate=10)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

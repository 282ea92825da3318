"""Jobs in OpenTelemetry: child spans of the caller's span, metrics, and no imports if OpenTelemetry is not in use."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from replicate_job import AsyncClient, Client
from replicate_job.errors import InputError, PaymentRequiredError, UncertainError
from replicate_job.flow.context import Context
from replicate_job.flow.job_run import Ask
from replicate_job.flow.run import run_job
from replicate_job.job import Job
from replicate_job.otel import CAPTURE
from replicate_job.serving.listener import bind, listen, origin_of
from replicate_job.telemetry import COUNTS, is_traced
from replicate_job.testing import OutputFile, Script, ScriptedAPI, openapi_schema
from replicate_job.testing.models import ScriptedModel

Connect = Callable[..., AbstractAsyncContextManager[Context]]
MODEL = "acme/private"
JOB = Job(MODEL, {"n": 1}, poll_interval=0.05)

SPANS, METRICS = InMemorySpanExporter(), InMemoryMetricReader()


@pytest.fixture(scope="session", autouse=True)
def _sdk() -> None:
    """Configure the SDK once, as a program does: the API accepts only one in a process.

    This is not a module fixture: a test worker that returns to the module would configure a second SDK.
    """
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(SPANS))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([METRICS]))


@pytest.fixture(autouse=True)
def _traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    SPANS.clear()


def spans(name: str = "") -> list[ReadableSpan]:
    """The ended spans, ordered by their start."""
    found = [span for span in SPANS.get_finished_spans() if not name or span.name.startswith(name)]
    return sorted(found, key=lambda span: span.start_time or 0)


def the_job() -> ReadableSpan:
    (job,) = spans("generate_content")
    return job


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def points(name: str) -> list[Any]:
    data = METRICS.get_metrics_data()
    if data is None:  # this process has counted nothing yet
        return []
    return [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def number(name: str, **labels: str) -> float:
    """The sum of a metric's points with these labels. For a histogram, the number of its values."""
    found = [point for point in points(name) if labels.items() <= dict(point.attributes or {}).items()]
    return sum(point.count if isinstance(point, HistogramDataPoint) else point.value for point in found)


async def test_a_job_is_a_span_with_its_steps_below_it(api: ScriptedAPI, tmp_path: Path) -> None:
    api.next(Script(duration=0.2, output=[OutputFile(content=b"\x89PNG\r\n", name="a.png")]))
    async with AsyncClient() as client:
        result = await client.run(
            "black-forest-labs/flux-schnell", {"prompt": "x"}, key="mine", save_to=tmp_path, wait_for_completion=True
        )
    job = the_job()
    assert job.name == "generate_content black-forest-labs/flux-schnell"
    assert job.parent is None
    assert job.kind is trace.SpanKind.CLIENT
    assert job.context
    steps = [span for span in spans() if span.parent and span.parent.span_id == job.context.span_id]
    assert [step.name for step in steps] == ["prepare", "create", "wait", "collect"]
    found = attributes(job)
    assert found.pop("server.port") > 0
    assert found.pop("replicate.version")
    assert found == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "replicate",
        "gen_ai.request.model": "black-forest-labs/flux-schnell",
        "gen_ai.response.id": result.prediction_id,
        "server.address": "127.0.0.1",
        "replicate.model": "black-forest-labs/flux-schnell",
        "replicate.key": "mine",
        "replicate.prediction.id": result.prediction_id,
        "replicate.status": "succeeded",
        "replicate.predict_time": result.metrics["predict_time"],
        "replicate.attempts": 1,
        "replicate.throttled": 0,
    }
    assert job.status.status_code is StatusCode.UNSET


@pytest.mark.usefixtures("api")
async def test_the_upload_of_a_file_is_a_child_span_of_the_prepare_span(tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(b"\x00\xff" * 200_000)
    async with AsyncClient() as client:
        await client.run(MODEL, {"image": tmp_path / "large.bin"})
    (upload,), (prepare,) = spans("upload"), spans("prepare")
    assert upload.parent
    assert prepare.context
    assert upload.parent.span_id == prepare.context.span_id


async def test_the_operation_of_a_training_is_train(api: ScriptedAPI, connect: Connect) -> None:
    schema = openapi_schema({"prompt": {"type": "string"}}, {"type": "string"})
    schema["components"]["schemas"] |= {"TrainingInput": {"type": "object"}, "TrainingOutput": {"type": "object"}}
    api.models["acme/trainer"] = ScriptedModel(name="acme/trainer", schema=schema)
    async with connect(api) as context:
        result = await run_job(context, Ask(Job("acme/trainer", {"steps": 1}, destination="acme/fox")))
    (training,) = spans("train acme/trainer")
    assert attributes(training)["gen_ai.operation.name"] == "train"
    assert attributes(training)["replicate.prediction.id"] == result.prediction_id


async def test_the_look_up_after_a_lost_response_is_a_child_span_of_the_create_span(
    api: ScriptedAPI, connect: Connect
) -> None:
    api.faults.next("create", "drop-after")
    async with connect(api, overtaken=0) as context:
        await run_job(context, Ask(JOB))
    (look_up,), (create,) = spans("look up"), spans("create")
    assert look_up.parent
    assert create.context
    assert look_up.parent.span_id == create.context.span_id


async def test_429s_and_create_requests_are_recorded_in_the_span_and_counted(
    api: ScriptedAPI, connect: Connect, fast: Any
) -> None:
    before = number("replicate.requests.throttled", **{"replicate.request": "create"})
    api.faults.next("create", "429")
    async with connect(api, clock=fast) as context:
        await run_job(context, Ask(JOB))
    found = attributes(the_job())
    assert (found["replicate.attempts"], found["replicate.throttled"]) == (2, 1)
    assert number("replicate.requests.throttled", **{"replicate.request": "create"}) == before + 1


async def test_an_error_is_recorded_by_its_type_and_without_an_input(api: ScriptedAPI, connect: Connect) -> None:
    schema = openapi_schema({"size": {"type": "integer"}}, {"type": "string"})
    api.models["acme/sized"] = ScriptedModel(name="acme/sized", schema=schema)
    async with connect(api) as context:
        with pytest.raises(InputError):
            await run_job(context, Ask(Job("acme/sized", {"size": "not-for-others"})))
        api.faults.next("create", "402")
        with pytest.raises(PaymentRequiredError):
            await run_job(context, Ask(JOB))
    wrong, unpaid = spans("generate_content")
    assert (wrong.status.status_code, unpaid.status.status_code) == (StatusCode.ERROR, StatusCode.ERROR)
    assert attributes(wrong)["error.type"] == "InputError"
    assert attributes(unpaid)["error.type"] == "PaymentRequiredError"
    assert attributes(unpaid)["http.response.status_code"] == 402
    shown = "".join(span.to_json() for span in spans())
    assert "not-for-others" not in shown
    assert api.token not in shown


async def test_a_prediction_that_fails_is_recorded_as_an_error_and_counted_by_its_status(
    api: ScriptedAPI, connect: Connect
) -> None:
    before = number("replicate.predictions.ended", **{"replicate.status": "failed"})
    api.next(Script(end="failed", error="out of memory"))
    async with connect(api) as context:
        await run_job(context, Ask(JOB))
    assert the_job().status.status_code is StatusCode.ERROR
    assert attributes(the_job())["error.type"] == "failed"
    assert number("replicate.predictions.ended", **{"replicate.status": "failed"}) == before + 1
    assert number("gen_ai.client.operation.duration", **{"error.type": "failed"}) >= 1


async def test_an_uncertain_job_is_counted(api: ScriptedAPI, connect: Connect) -> None:
    before = number("replicate.jobs.uncertain")
    api.faults.next("create", "drop-after")
    for _ in range(9):
        api.faults.next("list", "401")
    async with connect(api) as context:
        with pytest.raises(UncertainError):
            await run_job(context, Ask(JOB))
    assert number("replicate.jobs.uncertain") == before + 1
    assert attributes(the_job())["error.type"] == "UncertainError"


async def test_latencies_and_jobs_in_flight_are_measured(api: ScriptedAPI) -> None:
    names = ("replicate.create.duration", "replicate.prediction.duration", "gen_ai.client.operation.duration")
    before = [number(name) for name in (*names, "replicate.predictions.created")]
    api.next(Script(duration=60))
    async with AsyncClient() as client:
        handle = await client.submit(MODEL, {"n": 1})
        api.predictions[-1].finish()
        await handle.result()
    assert [number(name) for name in (*names, "replicate.predictions.created")] == [
        before[0] + 1,
        before[1] + 1,
        before[2] + 2,  # the submit and the wait
        before[3] + 1,
    ]
    assert number("replicate.jobs.in_flight") == COUNTS.in_flight


async def test_inputs_and_outputs_are_recorded_only_on_request(
    api: ScriptedAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CAPTURE, "true")
    api.next(Script(output="a haiku"))
    async with AsyncClient() as client:
        await client.run(MODEL, {"prompt": "write"})
    found = attributes(the_job())
    assert msgspec.json.decode(found["replicate.input"]) == {"prompt": "write"}
    assert found["replicate.output"] == '"a haiku"'


@pytest.mark.usefixtures("api")
async def test_the_spans_of_a_batchs_rows_are_children_of_its_span() -> None:
    with trace.get_tracer("test").start_as_current_span("nightly") as caller:
        async with AsyncClient() as client:
            results = [result async for result in client.batch(MODEL, [{"n": 1}, {"n": 2}, {"n": 3}], key="b")]
    assert len(results) == 3
    (batch,) = spans("batch")
    assert batch.context
    assert batch.parent
    assert batch.parent.span_id == caller.get_span_context().span_id
    rows = spans("generate_content")
    assert {row.parent and row.parent.span_id for row in rows} == {batch.context.span_id}
    assert {attributes(row)["replicate.key"] for row in rows} == {result.key for result in results}
    found = attributes(batch)
    assert (found["replicate.batch"], found["replicate.rows.succeeded"], found["replicate.rows.created"]) == ("b", 3, 3)


@pytest.mark.usefixtures("api")
def test_the_context_of_the_caller_is_used_in_the_thread_of_a_blocking_client() -> None:
    with Client() as client, trace.get_tracer("test").start_as_current_span("request") as caller:
        client.run(MODEL, {"n": 1})
        assert len(list(client.batch(MODEL, [{"n": 1}, {"n": 2}]))) == 2
    single, *rows = spans("generate_content")
    (batch,) = spans("batch")
    for span in (single, batch):
        assert span.parent
        assert span.parent.span_id == caller.get_span_context().span_id
    assert len(rows) == 2


@pytest.mark.usefixtures("api")
async def test_the_span_of_a_web_request_is_the_parent_of_its_job() -> None:
    app = FastAPI()

    @app.get("/")
    async def index() -> int:
        with trace.get_tracer("web").start_as_current_span("GET /") as request:
            async with AsyncClient() as client:
                await client.run(MODEL, {"n": 1})
            return request.get_span_context().span_id

    with bind() as listening:
        async with listen(app, listening):
            answer = await asyncio.to_thread(urllib.request.urlopen, origin_of(listening), timeout=10)
            parent = int(answer.read())
    job = the_job()
    assert job.parent
    assert job.parent.span_id == parent


@pytest.mark.parametrize(
    ("environment", "traced"),
    [({"OTEL_SERVICE_NAME": "x"}, True), ({"OTEL_SERVICE_NAME": "x", "OTEL_SDK_DISABLED": "True"}, False)],
)
def test_opentelemetrys_variables_turn_tracing_on_or_off(environment: dict[str, str], *, traced: bool) -> None:
    assert is_traced(environment) is traced


NOT_ASKED = """
import sys
from replicate_job import run
run("acme/private", {"n": 1})
assert "replicate_job.telemetry" in sys.modules
assert not [name for name in sys.modules if name.startswith(("opentelemetry", "replicate_job.otel"))]
"""
NOT_INSTALLED = """
import sys
sys.modules["opentelemetry"] = None  # an import of it raises ModuleNotFoundError
from replicate_job import run
from replicate_job.serving.listener import bind, listen, origin_of
from replicate_job.telemetry import COUNTS
run("acme/private", {"n": 1})
assert COUNTS.created == 1 and COUNTS.in_flight == 0 and COUNTS.ended["succeeded"] == 1
"""


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("program", [NOT_ASKED, NOT_INSTALLED])
def test_opentelemetry_is_not_imported_if_it_is_not_in_use(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

"""Spans and metrics of jobs for OpenTelemetry. Uses only the API: an application that exports them configures an SDK.

Names follow the semantic conventions for generative AI clients
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/). Names that the conventions lack begin with
``replicate.``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar, Token
from functools import cache
from types import MappingProxyType, TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec
from opentelemetry import context, metrics, trace
from opentelemetry.metrics import CallbackOptions, Histogram, Observation
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from replicate_job.decoding import decode
from replicate_job.telemetry import (
    BOUNDS,
    COUNTS,
    PREDICTION,
    BatchScope,
    Ended,
    JobScope,
    Outcome,
    Progress,
    Telemetry,
    now,
)
from replicate_job.version import __version__

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The variable that turns on inputs and outputs in spans: ``true``, ``span_only`` or ``span_and_event``."""
_CAPTURES = {"true", "1", "span_only", "span_and_event"}
_SCOPE = "replicate_job"
_PROVIDER: dict[str, Any] = {"gen_ai.provider.name": "replicate"}
_FLUSH = 5000
"""Milliseconds that an export at the end may take."""
_PORTS = {"https": 443, "http": 80}
_NOTHING = nullcontext()
_PROPAGATOR = TraceContextTextMapPropagator()

_job: ContextVar[_JobSpan | _JobPart | None] = ContextVar("replicate_job_span", default=None)


class OpenTelemetry(Telemetry):
    """Hooks that create spans and metrics, in addition to the counts."""

    def __init__(self, base_url: str, environment: Mapping[str, str]) -> None:
        self.captures = environment.get(CAPTURE, "").strip().lower() in _CAPTURES
        self.tracer = trace.get_tracer(_SCOPE, __version__)
        self.instruments = _instruments()
        url = urlsplit(base_url)
        self.common = _PROVIDER | {"server.address": url.hostname or ""}
        if port := url.port or _PORTS.get(url.scheme):
            self.common["server.port"] = port

    def job(self, operation: str, model: str, key: str, batch: str | None) -> JobScope:
        return _JobSpan(self, operation, model, key, batch)

    def batch(self, model: str, batch: str, tally: Progress) -> BatchScope:
        return _BatchSpan(self, model, batch, tally)

    def submit(self, model: str, batch: str) -> AbstractContextManager[None]:
        facts = {"replicate.model": model, "replicate.batch": batch}
        return self._span(f"submit {model}", facts, SpanKind.PRODUCER)

    def trace(self) -> str:
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        return msgspec.json.encode(carrier).decode() if carrier else ""

    @contextmanager
    def part(self, model: str, key: str, batch: str, trace: str) -> Iterator[None]:
        attached = context.attach(_PROPAGATOR.extract(_carrier(trace)))
        before = _job.set(_JobPart(self, PREDICTION, model, key, batch))
        try:
            yield
        finally:
            _job.reset(before)
            context.detach(attached)

    def step(self, name: str) -> AbstractContextManager[None]:
        job = _job.get()
        if job is None or not job.is_recording:
            return _NOTHING
        return self._span(name, {**job.step_attributes, "replicate.step": name})

    @contextmanager
    def _span(self, name: str, attributes: Mapping[str, Any], kind: SpanKind = SpanKind.INTERNAL) -> Iterator[None]:
        """A span for the block. Spans started inside are its children."""
        with self.tracer.start_as_current_span(
            name, kind=kind, record_exception=False, set_status_on_exception=False, attributes=attributes
        ) as span:
            try:
                yield
            except BaseException as error:
                note_error(span, error, captures=self.captures)
                raise

    def tried(self, sends: int, throttles: int) -> None:
        facts = {"replicate.attempts": sends, "replicate.throttled": throttles}
        trace.get_current_span().set_attributes(facts)
        if job := _job.get():
            job.span.set_attributes(facts)

    def created(self, prediction_id: str, seconds: float, *, blocking: bool) -> None:
        super().created(prediction_id, seconds, blocking=blocking)
        if job := _job.get():
            job.span.set_attributes(_of_prediction(prediction_id))
            self.instruments.create.record(seconds, job.labels | {"replicate.blocking_wait": blocking})

    def ended(self, prediction: Ended, seconds: float) -> None:
        super().ended(prediction, seconds)
        if job := _job.get():
            if version := prediction.version:
                job.span.set_attribute("replicate.version", version)
            self.instruments.end.record(seconds, job.labels | {"replicate.status": prediction.status})


class _Traced:
    """A traced job. ``labels`` are for its metrics. ``attributes`` are for its span, or else for its steps' spans."""

    def __init__(self, telemetry: OpenTelemetry, operation: str, model: str, key: str, batch: str | None) -> None:
        self.labels = telemetry.common | {"gen_ai.operation.name": operation, "gen_ai.request.model": model}
        self.attributes = self.labels | {"replicate.model": model, "replicate.key": key}
        if batch:
            self.attributes["replicate.batch"] = batch


class _JobSpan(_Traced, JobScope):
    """The span of a job, the parent of its steps' spans. In the conventions' words it is a call to a model."""

    step_attributes: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, telemetry: OpenTelemetry, operation: str, model: str, key: str, batch: str | None) -> None:
        super().__init__(telemetry, operation, model, key, batch)
        self._telemetry, self._name = telemetry, f"{operation} {model}"

    def __enter__(self) -> Self:
        super().__enter__()
        self.span = self._telemetry.tracer.start_span(self._name, kind=SpanKind.CLIENT, attributes=self.attributes)
        self.is_recording = self.span.is_recording()
        self._fault, self._began = "", now()
        self._attached = context.attach(trace.set_span_in_context(self.span))
        self._set: Token[_JobSpan | _JobPart | None] = _job.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        if error is not None:
            self._fault = note_error(self.span, error, captures=self._telemetry.captures)
        labels = self.labels | {"error.type": self._fault} if self._fault else self.labels
        self._telemetry.instruments.operation.record(now() - self._began, labels)
        _job.reset(self._set)
        context.detach(self._attached)
        self.span.end()

    def over(self, result: Outcome) -> None:
        if result.status in {"failed", "aborted"}:
            self._fault = result.status
            self.span.set_attribute("error.type", result.status)
            self.span.set_status(Status(StatusCode.ERROR))
        if not self.is_recording:
            return
        facts: dict[str, Any] = _of_prediction(result.prediction_id) | {"replicate.status": result.status}
        for name, metric in _METRICS.items():
            if isinstance(number := result.metrics.get(metric), int | float):
                facts[name] = number
        if self._telemetry.captures:
            facts |= {"replicate.input": _text(result.input), "replicate.output": _text(result.output)}
        self.span.set_attributes(facts)


class _JobPart(_Traced):
    """One process's part of a fleet's job. It has only the spans of its steps, as children of the submitter's span."""

    is_recording = True  # the tracer decides for each step

    @property
    def step_attributes(self) -> Mapping[str, Any]:
        return self.attributes

    @property
    def span(self) -> Span:
        return trace.get_current_span()


def _of_prediction(prediction_id: str) -> dict[str, str]:
    return {"gen_ai.response.id": prediction_id, "replicate.prediction.id": prediction_id}


def _carrier(trace: str) -> dict[str, str]:
    try:
        return decode(trace or "{}", dict[str, str])
    except msgspec.DecodeError:
        return {}


class _BatchSpan(BatchScope):
    """The span of a batch, the parent of its rows' spans."""

    def __init__(self, telemetry: OpenTelemetry, model: str, batch: str, tally: Progress) -> None:
        self._telemetry, self._model, self._batch, self._tally = telemetry, model, batch, tally

    def __enter__(self) -> Self:
        facts = {"replicate.model": self._model, "replicate.batch": self._batch}
        self._span = self._telemetry.tracer.start_span(f"batch {self._model}", attributes=facts)
        self._attached = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self.failed(error)
        names = ("succeeded", "failed", "wrong", "stored", "created")
        self._span.set_attributes({f"replicate.rows.{name}": getattr(self._tally, name) for name in names})
        context.detach(self._attached)
        self._span.end()

    def failed(self, error: BaseException) -> None:
        note_error(self._span, error, captures=self._telemetry.captures)


_METRICS = {
    "replicate.predict_time": "predict_time",
    "gen_ai.usage.input_tokens": "input_token_count",
    "gen_ai.usage.output_tokens": "output_token_count",
}
"""Maps a span attribute to the name of the prediction's metric that it shows."""


def note_error(span: Span, error: BaseException, *, captures: bool) -> str:
    """Record an error's type on the span, and return the type. The message is recorded only if inputs may be captured.

    A cancelled task is not recorded as a failure, because the prediction may run on.
    """
    kind = type(error).__qualname__
    span.set_attribute("error.type", kind)
    if isinstance(status := getattr(error, "status", None), int):
        span.set_attribute("http.response.status_code", status)
    if not isinstance(error, asyncio.CancelledError | GeneratorExit):
        span.set_status(Status(StatusCode.ERROR, str(error) if captures else None))
    return kind


def _text(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


class _Instruments(msgspec.Struct, frozen=True):
    create: Histogram
    end: Histogram
    operation: Histogram


@cache
def _instruments() -> _Instruments:
    """The metrics of this process. Existing counts are read when metrics are exported."""
    meter = metrics.get_meter(_SCOPE, __version__)
    meter.create_observable_up_down_counter(
        "replicate.jobs.in_flight", [_in_flight], unit="{job}", description="Jobs that run now."
    )
    meter.create_observable_counter(
        "replicate.predictions.created",
        [_created],
        unit="{prediction}",
        description="Predictions that this process created.",
    )
    meter.create_observable_counter(
        "replicate.predictions.ended", [_ended], unit="{prediction}", description="Ended predictions by status."
    )
    meter.create_observable_counter(
        "replicate.requests.throttled", [_throttled], unit="{request}", description="Requests that got a 429."
    )
    meter.create_observable_counter(
        "replicate.jobs.uncertain",
        [_uncertain],
        unit="{job}",
        description="Jobs for which it is not known whether they have a prediction.",
    )
    meter.create_observable_gauge(
        "replicate.poller.lag",
        [_lag],
        unit="s",
        description="The greatest age of the known states of running predictions.",
    )
    return _Instruments(
        create=_seconds(meter, "replicate.create.duration", "From a create request to the prediction's id."),
        end=_seconds(meter, "replicate.prediction.duration", "From a create request to the prediction's known end."),
        operation=_seconds(meter, "gen_ai.client.operation.duration", "From the call of a job to its result."),
    )


def _seconds(meter: metrics.Meter, name: str, description: str) -> Histogram:
    return meter.create_histogram(name, unit="s", description=description, explicit_bucket_boundaries_advisory=BOUNDS)


def _in_flight(_: CallbackOptions) -> Iterable[Observation]:
    return [Observation(COUNTS.in_flight)]


def _created(_: CallbackOptions) -> Iterable[Observation]:
    return [Observation(COUNTS.created)]


def _ended(_: CallbackOptions) -> Iterable[Observation]:
    return [Observation(number, {"replicate.status": status}) for status, number in COUNTS.ended.items()]


def _throttled(_: CallbackOptions) -> Iterable[Observation]:
    return [Observation(number, {"replicate.request": kind}) for kind, number in COUNTS.throttled.items()]


def _uncertain(_: CallbackOptions) -> Iterable[Observation]:
    return [Observation(COUNTS.uncertain)]


def _lag(_: CallbackOptions) -> Iterable[Observation]:
    return [] if (lag := COUNTS.lag) is None else [Observation(lag)]


def flush() -> None:
    """Export the SDK's remaining data, within some seconds. Without an SDK there is nothing to export."""
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        with suppress(Exception):  # the exporter has logged its error, which must not change the command's exit code
            getattr(provider, "force_flush", _nothing)(_FLUSH)


def _nothing(_: int) -> None:
    pass

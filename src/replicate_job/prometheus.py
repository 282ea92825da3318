"""The counts of this process and of the journal in Prometheus's text format 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from replicate_job.journal.entry import JobCount
from replicate_job.telemetry import BOUNDS, Counts, Latencies
from replicate_job.version import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OLDER = "(older)"
"""The common label of all batches that have no label of their own."""

_Sample = tuple[str, Mapping[str, str], float]


def of_process(counts: Counts) -> Iterator[str]:
    yield from _family("build_info", "gauge", "The release.", [("", {"version": __version__}, 1)])
    yield from _family("jobs_in_flight", "gauge", "Jobs that run now.", [("", {}, counts.in_flight)])
    yield from _family(
        "predictions_created_total", "counter", "Predictions that this process created.", [("", {}, counts.created)]
    )
    yield from _family(
        "predictions_ended_total", "counter", "Ended predictions by status.", _labelled("status", counts.ended)
    )
    yield from _family(
        "requests_throttled_total", "counter", "Requests that got a 429.", _labelled("request", counts.throttled)
    )
    yield from _family(
        "jobs_uncertain_total",
        "counter",
        "Jobs for which it is not known whether they have a prediction.",
        [("", {}, counts.uncertain)],
    )
    yield from _family(
        "create_duration_seconds",
        "histogram",
        "From a create request to the prediction's id; a blocking request stays open until the prediction ends.",
        [
            *_histogram(counts.creates, {"blocking": "false"}),
            *_histogram(counts.blocking_creates, {"blocking": "true"}),
        ],
    )
    told = "From a create request to the prediction's known end."
    yield from _family("prediction_duration_seconds", "histogram", told, _histogram(counts.ends, {}))
    if (lag := counts.lag) is not None:
        told = "The greatest age of the known states of running predictions."
        yield from _family("poller_lag_seconds", "gauge", told, [("", {}, lag)])


def of_journal(counts: Iterable[JobCount], named: Collection[str]) -> Iterator[str]:
    """``named`` are the batches that get a label of their own."""
    jobs, rows = Counter[tuple[str, str]](), Counter[tuple[str, str, str]]()
    for each in counts:
        if each.batch is None:
            jobs[each.state, each.status] += each.number
        else:
            rows[each.batch if each.batch in named else OLDER, each.state, each.status] += each.number
    alone: list[_Sample] = [
        ("", {"state": state, "status": status}, number) for (state, status), number in sorted(jobs.items())
    ]
    of_batches: list[_Sample] = [
        ("", {"batch": batch, "state": state, "status": status}, number)
        for (batch, state, status), number in sorted(rows.items())
    ]
    yield from _family("jobs", "gauge", "Jobs of the journal without rows of batches.", alone)
    yield from _family("batch_rows", "gauge", "Claimed rows of the journal's batches.", of_batches)


def journal_up(*, up: bool) -> Iterator[str]:
    yield from _family("journal_up", "gauge", "Whether the journal answers.", [("", {}, int(up))])


def _labelled(label: str, counts: Mapping[str, int]) -> list[_Sample]:
    return [("", {label: value}, number) for value, number in sorted(counts.items())]


def _histogram(latencies: Latencies, labels: Mapping[str, str]) -> Iterator[_Sample]:
    so_far = 0
    for bound, number in zip((*map(str, BOUNDS), "+Inf"), latencies.buckets, strict=True):
        so_far += number
        yield "_bucket", {**labels, "le": bound}, so_far
    yield "_sum", labels, latencies.total
    yield "_count", labels, so_far


def _family(name: str, kind: str, told: str, samples: Iterable[_Sample]) -> Iterator[str]:
    yield f"# HELP replicate_job_{name} {told}\n"
    yield f"# TYPE replicate_job_{name} {kind}\n"
    for suffix, labels, value in samples:
        written = ",".join(f'{label}="{_escape(text)}"' for label, text in labels.items())
        yield f"replicate_job_{name}{suffix}{f'{{{written}}}' if written else ''} {value}\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

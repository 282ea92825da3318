"""``/healthz`` and ``/metrics``: the responses to a probe and to Prometheus, and the limits for bad clients."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from replicate_job import health
from replicate_job.clock import Moment
from replicate_job.errors import JobError
from replicate_job.health import Address, parse_address, serve_health
from replicate_job.job import Job
from replicate_job.journal.entry import BatchEntry, CreateRequest, JobCount
from replicate_job.journal.sqlite import SQLiteJournal
from replicate_job.prometheus import OLDER, of_journal, of_process
from replicate_job.telemetry import Counts
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import Target

API = "https://api.example.com/v1"
JOB = Job("acme/model", {"n": 1})
REQUEST = CreateRequest(Target("model", "acme", "model"), "/models/acme/model/predictions", b"{}")


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SQLiteJournal]:
    async with SQLiteJournal(tmp_path / "journal.db") as journal:
        yield journal


@pytest.fixture
async def served(journal: SQLiteJournal) -> AsyncIterator[Address]:
    async with serve_health(parse_address("0"), journal) as address:
        yield address


async def ask(address: Address, request: str) -> tuple[int, str, str]:
    """The status, the head and the body of the response. The status is 0 without one."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(request.encode())
    answer = await reader.read()
    writer.close()
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split()[1]) if head else 0, head, body


async def get(address: Address, path: str) -> tuple[int, str, str]:
    return await ask(address, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_process_whose_journal_answers_is_healthy(served: Address) -> None:
    status, head, body = await get(served, "/healthz")
    assert (status, body) == (200, "ok\n")
    assert "Connection: close" in head


async def test_a_journal_that_cannot_be_read_causes_a_503_with_the_reason(
    served: Address, journal: SQLiteJournal, tmp_path: Path
) -> None:
    await journal.get("")
    with closing(sqlite3.connect(tmp_path / "journal.db")) as other:
        other.execute("DROP TABLE jobs")
    status, _, body = await get(served, "/healthz")
    assert status == 503
    assert "journal.db" in body
    _, _, metrics = await get(served, "/metrics")
    assert samples(metrics)["replicate_job_journal_up", ()] == 0


async def test_a_journal_that_does_not_answer_in_time_causes_a_503(
    served: Address, journal: SQLiteJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await journal.get("")
    monkeypatch.setattr(health, "ANSWER", 0.05)
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(journal.claim("a", API, JOB, None))
        await asyncio.sleep(0)
        assert (await get(served, "/healthz"))[::2] == (503, "the journal has not answered for 0.05 s\n")
        other.execute("ROLLBACK")
    await writing
    monkeypatch.undo()
    assert (await get(served, "/healthz"))[0] == 200


async def test_metrics_count_the_jobs_of_the_journal(served: Address, journal: SQLiteJournal) -> None:
    await journal.begin_batch(BatchEntry("nightly", API, "", "", 1.0))
    for key, batch in (("one", None), ("nightly/1", "nightly"), ("nightly/2", "nightly")):
        await journal.claim(key, API, JOB, None, batch=batch)
    held = await journal.intend(await journal.claim("two", API, JOB, None), REQUEST, Moment(1.0, "boot", 1.0))
    await journal.created(held, Prediction("p", "failed"), collected=True)
    status, head, body = await get(served, "/metrics?x=1")
    assert status == 200
    assert "Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
    found = samples(body)
    assert found["replicate_job_journal_up", ()] == 1
    assert found["replicate_job_jobs", (("state", "claimed"), ("status", ""))] == 1
    assert found["replicate_job_jobs", (("state", "collected"), ("status", "failed"))] == 1
    rows = (("batch", "nightly"), ("state", "claimed"), ("status", ""))
    assert found["replicate_job_batch_rows", rows] == 2


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\n", 405),
        ("HEAD /healthz HTTP/1.1\r\n\r\n", 405),
        ("GET /other HTTP/1.1\r\n\r\n", 404),
        ("GET /\r\n\r\n", 400),
        ("\x16\x03\x01\r\n\r\n", 400),
        (f"GET /healthz HTTP/1.1\r\nX: {'x' * 20_000}\r\n\r\n", 431),
    ],
)
async def test_only_a_get_of_a_known_path_succeeds(served: Address, request_: str, status: int) -> None:
    assert (await ask(served, request_))[0] == status


async def test_clients_that_send_nothing_are_disconnected_and_lock_no_client_out(
    served: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PATIENCE", 0.1)
    slow = [await asyncio.open_connection(served.host, served.port) for _ in range(health.TOGETHER + 1)]
    assert [await received(reader) for reader, _ in slow] == [b""] * len(slow)
    for _, writer in slow:
        writer.close()
    assert (await get(served, "/healthz"))[0] == 200


async def received(reader: asyncio.StreamReader) -> bytes:
    """The bytes that come until the connection ends or is reset."""
    with suppress(ConnectionError):
        return await reader.read()
    return b""


async def test_a_port_in_use_raises_a_clear_error(served: Address, journal: SQLiteJournal) -> None:
    with pytest.raises(JobError, match=rf"--health-port 127.0.0.1:{served.port}: .*in use"):
        async with serve_health(served, journal):
            pass


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9090", Address("127.0.0.1", 9090)),
        ("10.0.0.1:80", Address("10.0.0.1", 80)),
        ("[::1]:80", Address("::1", 80)),
        ("pod.local:0", Address("pod.local", 0)),
    ],
)
def test_an_address_is_a_local_port_or_a_host_and_port(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "x", "host:", ":80", "host:99999", "host:80/x", "me@host:80", "::1:x"])
def test_a_malformed_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a port"):
        parse_address(text)


def test_the_counts_of_the_process_are_printed_as_prometheus_text() -> None:
    counts = Counts()
    counts.created, counts.in_flight, counts.uncertain = 3, 2, 1
    counts.ended["succeeded"], counts.throttled["create"] = 2, 4
    for seconds in (0.01, 0.3, 5000):
        counts.ends.add(seconds)
    counts.polled("poller", began=0)
    found = samples("".join(of_process(counts)))
    assert found["replicate_job_predictions_created_total", ()] == 3
    assert found["replicate_job_predictions_ended_total", (("status", "succeeded"),)] == 2
    assert found["replicate_job_requests_throttled_total", (("request", "create"),)] == 4
    assert found["replicate_job_jobs_uncertain_total", ()] == 1
    assert found["replicate_job_jobs_in_flight", ()] == 2
    assert found["replicate_job_poller_lag_seconds", ()] > 0
    name = "replicate_job_prediction_duration_seconds"
    assert [found[f"{name}_bucket", (("le", bound),)] for bound in ("0.05", "0.5", "3600.0", "+Inf")] == [1, 2, 2, 3]
    assert (found[f"{name}_count", ()], found[f"{name}_sum", ()]) == (3, 5000.31)


def test_older_batches_share_a_label_and_any_batch_name_is_a_valid_label() -> None:
    odd = 'a "b"\\\n'
    counts = [JobCount(batch, "claimed", "", 2) for batch in (odd, "old", "older")]
    found = samples("".join(of_journal(counts, {odd})))
    states = (("state", "claimed"), ("status", ""))
    assert found["replicate_job_batch_rows", (("batch", odd), *states)] == 2
    assert found["replicate_job_batch_rows", (("batch", OLDER), *states)] == 4

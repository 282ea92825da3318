"""``--health-port`` of a command while it runs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from replicate_job.testing import Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command


def test_a_running_batch_serves_its_health(
    command: Command, api: ScriptedAPI, raw: Callable[[str, str], bytes]
) -> None:
    api.next(Script(duration=math.inf), Script(duration=math.inf))
    (command.folder / "rows.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    words = ("batch", "acme/private", "rows.jsonl", "--results", "r.jsonl", "--no-save", "--health-port", "0")
    running = command.start(*words)
    told = re.search(r"http://127\.0\.0\.1:\d+", running.line())
    assert told
    api.wait_until(lambda: api.created == 2)
    assert raw(told[0], "GET /healthz HTTP/1.1\r\n\r\n").endswith(b"ok\n")
    metrics = raw(told[0], "GET /metrics HTTP/1.1\r\n\r\n").decode()
    assert "replicate_job_jobs_in_flight 2\n" in metrics
    assert re.search(r'replicate_job_batch_rows{batch="rows-\w+",state="\w+",status=""} 2\n', metrics)
    assert api.token not in metrics
    for prediction in api.predictions:
        prediction.finish()
    assert running.end().code == 0


def test_an_invalid_health_port_is_a_usage_error(command: Command) -> None:
    outcome = command("batch", "acme/private", "rows.jsonl", "--results", "r.jsonl", "--health-port", "many")
    assert outcome.code == 2
    assert "'many' is not a port" in outcome.err

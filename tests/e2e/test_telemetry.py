"""A command that was started with ``opentelemetry-instrument`` exports its spans before it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.fleet import SDXL, fleet_of

from replicate_job.testing import ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command
    from tests.postgres import Postgres


def test_a_command_under_opentelemetry_instrument_exports_its_spans(
    api: ScriptedAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    (tmp_path / "rows.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    folder = Path(sys.executable).parent
    exporters = ["--traces_exporter", "console", "--metrics_exporter", "console", "--logs_exporter", "none"]
    words = ["replicate-job", "batch", "acme/private", "rows.jsonl", "--results", "results.jsonl", "--no-save"]
    done = subprocess.run(
        [folder / "opentelemetry-instrument", *exporters, folder / words[0], *words[1:], "--journal", "j.db"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.count('"name": "generate_content acme/private"') == 2
    assert done.stdout.count('"name": "batch acme/private"') == 1
    assert '"name": "replicate.predictions.created"' in done.stdout
    assert api.token not in done.stdout + done.stderr


def spans(printed: bytes) -> list[dict[str, Any]]:
    """What the console's exporter has written, one span after the other."""
    decoder, text, found = json.JSONDecoder(), printed.decode(), list[dict[str, Any]]()
    while (start := text.find("{")) >= 0:
        span, end = decoder.raw_decode(text[start:])
        found.append(span)
        text = text[start + end :]
    return [span for span in found if "context" in span]


def test_the_workers_of_a_fleet_continue_the_submitters_trace(
    command: Command, postgres: Postgres, api: ScriptedAPI
) -> None:
    folder = Path(sys.executable).parent
    exporters = ["--traces_exporter", "console", "--metrics_exporter", "none", "--logs_exporter", "none"]
    traced = [str(folder / "opentelemetry-instrument"), *exporters, str(folder / "replicate-job")]
    with fleet_of(command, postgres, api) as fleet:
        (command.folder / "rows.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
        done = command.execute([*traced, "batch", SDXL, "rows.jsonl", "--fleet", "--detach"]).end()
        assert done.code == 0, done
        (submit,) = (span for span in spans(done.out) if span["name"] == f"submit {SDXL}")
        worker = command.execute([*traced, "worker"])
        fleet.wait(lambda: fleet.states() == {"collected": 2})
        worker.signal(signal.SIGTERM)
        found = [span for span in spans(worker.end().out) if "replicate.step" in span["attributes"]]
    assert sorted(span["name"] for span in found) == ["collect"] * 2 + ["create"] * 2 + ["wait"] * 2
    for span in found:
        assert span["context"]["trace_id"] == submit["context"]["trace_id"]
        assert span["parent_id"] == submit["context"]["span_id"]
        assert span["attributes"]["replicate.batch"] == submit["attributes"]["replicate.batch"]
    assert len({span["attributes"]["replicate.key"] for span in found}) == 2
    made = {span["attributes"]["replicate.prediction.id"] for span in found if span["name"] == "create"}
    assert made == {prediction.id for prediction in api.predictions}

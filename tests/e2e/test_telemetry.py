"""A command that was started with ``opentelemetry-instrument`` exports what it did before it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from replicate_job.testing import ScriptedAPI


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

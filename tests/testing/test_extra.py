"""Importing ``replicate_job.testing`` without the packages of its extra."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("name", ["starlette", "uvicorn", "httptools"])
def test_without_the_extra_the_import_says_what_to_install(name: str) -> None:
    code = f"import sys; sys.modules[{name!r}] = None; from replicate_job.testing import ScriptedAPI"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert outcome.returncode == 1
    said = outcome.stderr.splitlines()[-1]
    assert said.startswith(f"ModuleNotFoundError: replicate_job.testing needs {name}, which is not here: pip install ")
    assert f" '{name}" in said

"""The programs of ``examples/``, each run as its page says: a process of its own, against a scripted API."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from replicate_job.testing import ScriptedAPI

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PATIENCE = 60
"""Seconds until what should have happened is a failure."""


class Program:
    """A process with its child processes. Its output, stderr included, is read line by line."""

    def __init__(self, words: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._popen = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.pid = self._popen.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout
        for line in self._popen.stdout:
            with self._said:
                self.lines.append(line)
                self._said.notify_all()

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def wait_for(self, pattern: str) -> str:
        """Block until the output matches, and return the first group."""
        with self._said:
            found = self._said.wait_for(lambda: re.search(pattern, self.output), PATIENCE)
        assert found, f"no {pattern} in:\n{self.output}"
        return str(found[1] if found.re.groups else found[0])

    def end(self) -> int:
        """Wait for the end by itself, and return the exit code."""
        code = self._popen.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def stop(self) -> int:
        """End it as a service manager does, and return the exit code."""
        self._popen.terminate()
        return self.end()

    def kill(self) -> None:
        """Send SIGKILL to the program and all processes that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.end()
        assert self._popen.stdout
        self._popen.stdout.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder in which the programs are and run."""
    return Path(shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture
def environment(api: ScriptedAPI, tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "default",
        "REPLICATE_JOB_JOURNAL": str(tmp_path / "journal.db"),
        **api.environment,
    }


Start = Callable[..., Program]


@pytest.fixture
def start(folder: Path, environment: dict[str, str]) -> Iterator[Start]:
    """``start("python", "threads.py", CREATE_RATE="none")``: a program among the examples, ended with the test."""
    started: list[Program] = []

    def start(*words: str, **variables: str) -> Program:
        started.append(Program(list(words), folder, environment | variables))
        return started[-1]

    yield start
    for program in started:
        program.kill()
        assert "never awaited" not in program.output, program.output

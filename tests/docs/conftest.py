"""The blocks of a page run in a folder and an environment of their own, against a Replicate of their own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
import yaml
from uv import find_uv_bin

from replicate_job import load_chain, load_job
from replicate_job.serving.listener import bind
from replicate_job.testing import Script, ScriptedAPI, ScriptedModel, ScriptedTraining, Stream, openapi_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.docs.blocks import Block

ROOT = Path(__file__).resolve().parents[2]
STREAMED = {"x-cog-array-type": "iterator", "x-cog-array-display": "concatenate"}
TEXT = {"type": "array", "items": {"type": "string"}, **STREAMED}
LLAMA = ScriptedModel(
    name="meta/meta-llama-3-8b-instruct",
    official=True,
    script=Script(output=["Once", " upon", " a", " time", "."], stream=Stream()),
    schema=openapi_schema({"prompt": {"type": "string"}, "max_tokens": {"type": "integer"}}, TEXT, required=["prompt"]),
)
TRAINING = ScriptedTraining(
    id="zz4ibbonubfz7carwiefibzgga",
    model="stability-ai/sdxl",
    output={"version": "acme/fox:" + "0123" * 16, "weights": "https://replicate.delivery/xezq/weights.tar"},
)
LONGEST = 60
"""Seconds that a block may take."""
SHELL = """
replicate-job() {
  [ "$1" != serve ] || { shift; set -- serve --port "$PORT" "$@"; }
  [ "$1" != worker ] || exec replicate-job "$@"  # in the background: its number is the process's own
  command replicate-job "$@"
}
"""


class Reader:
    """A reader who runs a page block by block. Each block gets the environment that the one before left."""

    def __init__(self, folder: Path, cache: Path, api: ScriptedAPI, temporary: str) -> None:
        self._folder, self._said = folder, ""
        self._running: list[subprocess.Popen[bytes]] = []
        self._notes = folder.with_name("notes")
        self._notes.mkdir()
        with bind() as server, bind() as receiver:
            self._ports = {"5005": str(server.getsockname()[1]), "8000": str(receiver.getsockname()[1])}
        self._port = self._ports["5005"]
        home = folder.with_name("home")
        (home / ".cache").mkdir(parents=True)
        (home / ".cache" / "replicate-job").symlink_to(cache)
        others = ("REPLICATE_", "XDG_", "PYTHON", "PYTEST_", "OTEL_", "CI", "BUILD_NUMBER")  # pytest says more in a CI
        given = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        self._environment = {
            **given,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "TMPDIR": temporary,
            "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(Path("~/.cache/uv").expanduser())),
            "PORT": self._port,
            "PYTEST_ADDOPTS": "-p no:schemathesis",  # a reader has none, and it takes a second to load
            **api.environment,
        }

    def follow(self, block: Block) -> None:
        match block.language:
            case _ if "output" in block.asks:
                self._compare(block)
            case _ if "not run" in block.asks:
                assert len(block.asks["not run"]) > 10, f"{block.place}: say why it is not run"
            case "sh" | "python":
                self._run(block)
            case "json":
                msgspec.json.decode(block.text)
            case "yaml":
                yaml.safe_load(block.text)
            case "toml" | "xs":
                self._load(block)
            case language:
                assert language in {"text", "mermaid"}, f"{block.place}: a block of {language or 'no language'}"

    def _load(self, block: Block) -> None:
        path = self._write(block, block.file or f"job.{block.language}")
        if block.language == "xs" or "model" in msgspec.toml.decode(block.text):
            load_job(path)
        elif "step" in msgspec.toml.decode(block.text):
            load_chain(path)

    def _with_ports(self, text: str) -> str:
        for written, port in self._ports.items():
            text = re.sub(rf"\b{written}\b", port, text)
        return text

    def _write(self, block: Block, name: str) -> Path:
        path = self._folder / name
        path.write_text(self._with_ports(block.text))
        return path

    def _run(self, block: Block) -> None:
        for tool in ("curl", "jq"):
            if re.search(rf"\b{tool}\b", block.text) and not shutil.which(tool):
                pytest.skip(f"{block.place} needs {tool}, which is not installed")
        script = self._notes / f"{block.line}.{block.language}"
        text = self._with_ports(block.text)
        if block.language == "python":
            if block.file:
                self._write(block, block.file)  # the page goes on to run it
                return
            words = ["python", str(script)]
        else:
            kept = "" if "background" in block.asks else f"export -p > {self._notes}/environment\n"
            text = f"set -e\n{SHELL}cd {self._folder}\n{text}\n{kept}"
            words = ["bash", str(script)]
        script.write_text(text)
        if package := block.asks.get("with"):
            alone = [find_uv_bin(), "run", "--quiet", "--no-project", "--python", sys.executable]
            words = [*alone, "--with", package, *words]
        if "background" in block.asks:
            self.stop()
            self._start(words, block)
            self._await_port(block)
            return
        running = self._start(words, block)
        try:
            code = running.wait(LONGEST)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{block.place} takes longer than {LONGEST} s: {self._printed(block)}")
        self._said = self._printed(block)
        wanted = int(block.asks.get("exits", "0"))
        assert code == wanted, f"{block.place} exits with {code}, not {wanted}:\n{block.text}\n{self._said}"
        assert "Traceback" not in self._said, f"{block.place}:\n{self._said}"

    def _start(self, words: list[str], block: Block) -> subprocess.Popen[bytes]:
        with (self._notes / f"{block.line}.out").open("wb") as out:
            self._running.append(
                subprocess.Popen(
                    words,
                    cwd=self._folder,
                    env=self._known(),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        return self._running[-1]

    def _known(self) -> dict[str, str]:
        """The environment, with the variables that earlier blocks exported."""
        exported = self._notes / "environment"
        if not exported.exists():
            return self._environment
        words = ["bash", "-c", f"set -a; . {exported}; exec env -0"]
        found = subprocess.run(words, env=self._environment, stdout=subprocess.PIPE, check=True).stdout
        return dict(entry.split("=", 1) for entry in found.decode().split("\0") if entry)

    def _await_port(self, block: Block) -> None:
        end = time.monotonic() + LONGEST
        while self._running[-1].poll() is None and time.monotonic() < end:
            with suppress(OSError), socket.create_connection(("127.0.0.1", int(self._port)), timeout=1):
                return
            with suppress(subprocess.TimeoutExpired):
                self._running[-1].wait(0.05)
        pytest.fail(f"{block.place} does not listen:\n{self._printed(block)}")

    def _printed(self, block: Block) -> str:
        said = (self._notes / f"{block.line}.out").read_text("utf-8", "replace")
        for written, port in self._ports.items():
            said = said.replace(port, written)
        return said

    def _compare(self, block: Block) -> None:
        pattern = ".*?".join(map(re.escape, block.text.strip().split("…")))
        said = self._said.strip().replace(str(self._folder), "/home/me")
        assert re.fullmatch(pattern, said, re.DOTALL), f"{block.place} is not what was printed:\n{said}"

    def stop(self) -> None:
        """End the running program and all processes that it started."""
        for process in self._running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT if process.poll() is None else signal.SIGKILL)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._running.clear()


@pytest.fixture
def reader(tmp_path: Path, cache: Path, replicate_api: ScriptedAPI) -> Iterator[Reader]:
    folder = tmp_path / "work"
    (folder / "docs").mkdir(parents=True)
    shutil.copy(ROOT / "run.xs", folder)
    shutil.copy(ROOT / "docs" / "demo.webp", folder / "docs")
    shutil.copy(ROOT / "docs" / "demo.webp", folder / "sketch.png")
    schnell = replicate_api.models["black-forest-labs/flux-schnell"]
    dev = msgspec.structs.replace(schnell, name="black-forest-labs/flux-dev")
    replicate_api.models.update({LLAMA.name: LLAMA, dev.name: dev})
    replicate_api.trainings[TRAINING.id] = TRAINING
    # The name of a socket is short: PostgreSQL's would not fit into the test's own folder.
    with tempfile.TemporaryDirectory(prefix="rj-", ignore_cleanup_errors=True) as temporary:
        reader = Reader(folder, cache, replicate_api, temporary)
        yield reader
        reader.stop()

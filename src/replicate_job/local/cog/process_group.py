"""The processes of one model server: a group of its own, in folders of its own, which ends when we do."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import signal
import tempfile
from collections import deque
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from replicate_job.local.environment.document import streaming
from replicate_job.local.environment.process import Program
from replicate_job.local.environment.venv import model_environment
from replicate_job.wire.openapi import json_schema

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from replicate_job.local.cog.coglet_client import ServerAddress
    from replicate_job.local.environment.preparation import Launch

# The group's leader is a shell that reads its standard input to the end, which is held by us alone. When we die, by
# whatever signal, the server and its worker go too, with the folder $0 and what coglet keeps of the predictions that
# are marked in it; when the server ends, so does the rest. A model may write while its folder is being removed: hence
# twice.
_WATCHED = """
("$@" </dev/null; kill -KILL 0) &
while read -r _; do :; done
set -- "$0"
for mark in "$0"/running/*; do set -- "$@" {scratch}/"${{mark##*/}}"; done
rm -rf "$@" || rm -rf "$@"
kill -KILL 0
"""
SCRATCH = Path("/tmp/coglet/predictions")  # noqa: S108 - the place is coglet's choice
# Cog's server starts its worker as "python", from PATH, where this comes first. How the worker ended is written down
# before the server can know of it, for its pipes are closed when this shell ends.
_WORKER = """#!/bin/sh
PATH={path} {python} -c {prelude} {folder} "$@"
code=$?
echo "$code" >{ended}
exit "$code"
"""
_PRELUDE = Path(__file__).with_name("worker.py")
_LAST_LINES = 200
_PAUSE, _MOST_PAUSES = 0.15, 10  # seconds
_ABOVE_SIGNALS = 128
_LINE = 2**20
_OWN_WORDS = {"coglet::setup", "coglet::user"}  # where Cog's server logs what the model's code prints


@asynccontextmanager
async def scratch(id: str, folder: Path) -> AsyncIterator[None]:  # noqa: A002 - the API's own name
    """Around a prediction: what coglet keeps of it is removed at its end, or when we die with groups in ``folder``.

    ``id`` becomes a folder's name: it must be one that we made.
    """
    mark = folder / "running" / id
    mark.parent.mkdir(exist_ok=True)
    mark.touch()
    try:
        yield
    finally:
        if not _is_removed_empty(SCRATCH / id):  # a model may leave a great deal
            await asyncio.to_thread(shutil.rmtree, SCRATCH / id, ignore_errors=True)
        mark.unlink(missing_ok=True)


def _is_removed_empty(folder: Path) -> bool:
    """Remove it if there are only empty folders in it, as mostly: that takes less than handing it to a thread."""
    try:
        for part in folder.iterdir():
            part.rmdir()
        folder.rmdir()
    except OSError:
        return False
    return True


class ProcessGroup:
    """Started once. It works below ``folder``, which goes when this process dies; ``memory`` is in bytes, 0 for any."""

    def __init__(self, launch: Launch, folder: Path, memory: int) -> None:
        self._launch, self._folder, self._memory = launch, folder, memory
        self._work = Path(tempfile.mkdtemp(prefix="model-", dir=folder))
        self._program: Program | None = None
        self._reader: asyncio.Task[None] | None = None
        self._count = 0
        self.said: deque[str] = deque(maxlen=_LAST_LINES)
        self.printed: deque[str] = deque(maxlen=_LAST_LINES)

    @property
    def is_up(self) -> bool:
        """Whether the server and its worker run, as far as is known."""
        return self._program is not None and self._program.is_up and not self._ended.exists()

    @property
    def crash(self) -> str:
        """How the worker ended, as in "exit code 3"; empty where that is not known."""
        try:
            code = int(self._ended.read_text())
        except (OSError, ValueError):
            return ""
        if code <= _ABOVE_SIGNALS:
            return f"exit code {code}"
        try:
            name = signal.Signals(code - _ABOVE_SIGNALS).name
        except ValueError:
            return f"exit code {code}"
        return f"{name}; the machine may be out of memory" if name == "SIGKILL" else name

    def runs(self, id: str) -> bool:  # noqa: A002 - the API's own name
        """Whether the model still works at this prediction, whatever Cog's server says of it."""
        return (self._work / "running" / id).exists() and self.is_up  # in this order: mostly it is not there

    def start(self, address: ServerAddress) -> None:
        room = self._furnish()
        limit = f"ulimit -d {self._memory // 1024}\n" if self._memory else ""
        server = (str(self._launch.python), "-m", "cog.server.http", "--host", address.host)
        script = limit + _WATCHED.format(scratch=SCRATCH)
        words = (str(self._folder), *server)
        self._program = Program(script, words, self._environment(address.port), room, _LINE)
        self._reader = asyncio.create_task(self._read(self._program.output))

    async def settle(self) -> None:
        """After a setup that failed, wait until all is said: what the model printed can come after what became of it.

        The traceback is the last of it.
        """
        for _ in range(_MOST_PAUSES):
            before = self._count
            await asyncio.sleep(_PAUSE)
            if self._count == before:
                break
        with suppress(FileNotFoundError):
            self.printed.extend((self._work / "failure").read_text("utf-8").splitlines())

    def kill(self) -> None:
        """End every process at once."""
        if self._program is not None:
            self._program.kill()

    async def close(self) -> None:
        """End it, and remove what it wrote."""
        if self._program is not None and self._reader is not None:
            await self._program.close()
            await self._reader
            self._program.leave()
        await asyncio.to_thread(shutil.rmtree, self._work, ignore_errors=True)

    @property
    def _ended(self) -> Path:
        return self._work / "ended"

    def _furnish(self) -> Path:
        """Make its folders; gives the one that it runs in.

        A model writes where it runs. Its own folder may be read-only, and another server of it may run: so it runs in
        a folder of links.
        """
        room, tools = self._work / "model", self._work / "bin"
        for made in (room / ".cog", self._work / "tmp", self._work / "running", tools):
            made.mkdir(parents=True)
        for entry in self._launch.model.folder.iterdir():
            if entry.name not in {".cog", "__pycache__"}:
                (room / entry.name).symlink_to(entry)
        document = json_schema(streaming(self._launch.schema))
        (room / ".cog" / "openapi_schema.json").write_bytes(msgspec.json.encode(document))
        worker = {
            "path": model_environment(self._launch.venv, self._launch.model.environment)["PATH"],
            "python": str(self._launch.python),
            "prelude": _PRELUDE.read_text("utf-8"),
            "folder": str(self._work),
            "ended": str(self._ended),
        }
        script = _WORKER.format(**{name: shlex.quote(text) for name, text in worker.items()})
        (tools / "python").write_text(script, "utf-8")
        (tools / "python").chmod(0o755)
        return room

    def _environment(self, port: int) -> dict[str, str]:
        model = self._launch.model
        base = model_environment(self._launch.venv, model.environment)
        direct = ",".join(filter(None, ("127.0.0.1,localhost", base.get("no_proxy", base.get("NO_PROXY")))))
        return base | {
            "PATH": f"{self._work / 'bin'}:{base['PATH']}",
            "COG_PREDICT_TYPE_STUB": model.target,
            "COG_MAX_CONCURRENCY": str(model.concurrency),
            "PORT": str(port),
            "TMPDIR": str(self._work / "tmp"),
            "PYTHONUNBUFFERED": "1",
            "RUST_LOG": "info,coglet::prediction=warn",  # what predictions print comes in their streams already
            "NO_PROXY": direct,
            "no_proxy": direct,  # where both are set, most libraries take this one
        }

    async def _read(self, pipe: asyncio.StreamReader) -> None:
        """Keep the pipe empty, or the model would stop on a full one; remember the end of what was said."""
        while True:
            try:
                line = await pipe.readline()
            except ValueError:  # a line longer than the limit: the reader has dropped it
                continue
            if not line:
                return
            words, is_own = _message(line)
            self._count += 1
            self.said.append(words)
            if is_own:
                self.printed.append(words)


def _message(line: bytes) -> tuple[str, bool]:
    """The words of a line of coglet's log, which is JSON, or the line as it is; and whether the model printed them."""
    try:
        entry = msgspec.json.decode(line)
        fields = entry["fields"]
        return str(fields.get("error") or fields["message"]), entry.get("target") in _OWN_WORDS
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return line.decode(errors="replace").rstrip(), True

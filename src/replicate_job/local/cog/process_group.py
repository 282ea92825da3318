"""The processes of one model server: a process group with its own folders, which is killed when this process dies."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import signal
import tempfile
from collections import deque
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from replicate_job.local.environment.document import streaming
from replicate_job.local.environment.process import Program
from replicate_job.local.in_model import WORKER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from replicate_job.local.cog.coglet_client import ServerAddress
    from replicate_job.local.environment.preparation import Launch

# The group's leader is a shell that reads its standard input to the end. Only this process has the other end of that
# pipe: when it dies, by whatever signal, the shell kills the server and its worker. It also removes the folder $0, and
# coglet's folder for each prediction that has a file in $0/running. When the server ends, the shell and the other
# processes end too. A model may write into a folder while it is being removed: hence "rm" runs twice, and has a time
# limit. The worker has the same pipe as file descriptor 3 and also waits for its end, in case the shell was killed
# together with this process.
_WATCHED_SERVER = """
exec 3<&0
("$@" </dev/null; kill -KILL 0) &
while read -r _; do :; done
(sleep 5; kill -KILL 0) &
set -- "$0"
for mark in "$0"/running/*; do set -- "$@" {scratch}/"${{mark##*/}}"; done
rm -rf "$@" || rm -rf "$@"
kill -KILL 0
"""
SCRATCH = Path("/tmp/coglet/predictions")  # noqa: S108 - coglet uses this path
# Cog's server starts its worker as "python" from PATH, where this script comes first. The script writes the worker's
# exit code to a file. The server cannot notice the worker's end earlier, because the script has the same pipes open.
_WORKER = """#!/bin/sh
PATH={path} {python} -c {prelude} {folder} "$@"
code=$?
echo "$code" >{ended}
exit "$code"
"""

_LAST_LINES = 200
_PAUSE, _MOST_PAUSES = 0.15, 10  # seconds
_SIGNAL_BASE = 128  # if a signal ends a process, its exit code in a shell is the signal's number plus this
_LONGEST_LINE = 2**20  # bytes of a line in the log
_MODEL_TARGETS = {"coglet::setup", "coglet::user"}  # the log targets of text that the model's code prints


@asynccontextmanager
async def scratch(id: str, folder: Path) -> AsyncIterator[None]:  # noqa: A002 - the API's own name
    """A context for a prediction, at whose end coglet's folder for it is removed.

    If this process dies first, the shell of a process group in ``folder`` removes it. The file ``running/ID`` tells the
    shell to do so. ``id`` becomes a folder's name, so it must come from ``new_id``.
    """
    mark = folder / "running" / id
    mark.parent.mkdir(exist_ok=True)
    mark.touch()
    try:
        yield
    finally:
        if not _is_removed_empty(SCRATCH / id):  # removing many files takes long
            await asyncio.to_thread(shutil.rmtree, SCRATCH / id, ignore_errors=True)
        mark.unlink(missing_ok=True)


def _is_removed_empty(folder: Path) -> bool:
    """Try to remove a folder that contains at most empty folders. Returns False if it contains more.

    Most folders are almost empty, and removing one in a thread would take longer.
    """
    try:
        for part in folder.iterdir():
            part.rmdir()
        folder.rmdir()
    except OSError:
        return False
    return True


class ProcessGroup:
    """The processes of a model server, which can be started once. They work below ``folder``.

    ``folder`` is removed when this process dies. ``memory`` is the limit of each process in bytes; 0 is no limit.
    ``log`` has the last lines of the server's log, and ``printed`` the last lines that the model's own code printed.
    """

    def __init__(self, launch: Launch, folder: Path, memory: int) -> None:
        self._launch, self._folder, self._memory = launch, folder, memory
        self._work = Path(tempfile.mkdtemp(prefix="model-", dir=folder))
        self._program: Program | None = None
        self._reader: asyncio.Task[None] | None = None
        self._line_count = 0
        self._claim: IO[bytes] | None = None
        self._preparing: asyncio.Future[None] | None = None
        self.source = launch.workspace.source
        """The folder that the model runs in, with its files."""
        self.log: deque[str] = deque(maxlen=_LAST_LINES)
        self.printed: deque[str] = deque(maxlen=_LAST_LINES)

    @property
    def is_up(self) -> bool:
        """Whether the server and its worker run, as far as is known."""
        return self._program is not None and self._program.is_up and not self._exit_code.exists()

    @property
    def crash(self) -> str:
        """How the worker ended, as in "exit code 3"; empty if that is not known."""
        try:
            code = int(self._exit_code.read_text())
        except (OSError, ValueError):
            return ""
        if code <= _SIGNAL_BASE:
            return f"exit code {code}"
        try:
            name = signal.Signals(code - _SIGNAL_BASE).name
        except ValueError:
            return f"exit code {code}"
        return f"{name}; the machine may be out of memory" if name == "SIGKILL" else name

    def runs(self, id: str) -> bool:  # noqa: A002 - the API's own name
        """Whether the model still works on this prediction. It may do so after Cog's server has sent the response."""
        return (self._work / "running" / id).exists() and self.is_up  # usually the file does not exist

    async def start(self, address: ServerAddress) -> None:
        """Start the server. Raises OSError if the disk has no room for the model's files."""
        # In a thread, because files may be large. The thread continues if this task is canceled, so ``close`` waits for
        # it.
        self._preparing = asyncio.ensure_future(asyncio.to_thread(self._prepare_folders))
        await asyncio.shield(self._preparing)
        limit = f"ulimit -d {self._memory // 1024}\n" if self._memory else ""
        server = (str(self._launch.workspace.python), "-m", "cog.server.http", "--host", address.host)
        script = limit + _WATCHED_SERVER.format(scratch=SCRATCH)
        words = (str(self._folder), *server)
        self._program = Program(script, words, self._environment(address.port), self.source, _LONGEST_LINE)
        self._reader = asyncio.create_task(self._read(self._program.output))

    async def settle(self) -> None:
        """Wait for the end of the log after a setup that failed, and add the traceback to ``printed``.

        The server reports the failure before it has logged everything that the model printed.
        """
        for _ in range(_MOST_PAUSES):
            lines_before = self._line_count
            await asyncio.sleep(_PAUSE)
            if self._line_count == lines_before:
                break
        with suppress(FileNotFoundError):
            self.printed.extend((self._work / "failure").read_text("utf-8").splitlines())

    def kill(self) -> None:
        """Kill every process of the group at once."""
        if self._program is not None:
            self._program.kill()

    async def close(self) -> None:
        """Kill the group, and remove its folder."""
        if self._preparing is not None:
            await asyncio.wait((self._preparing,))
        if self._program is not None and self._reader is not None:
            await self._program.close()
            await self._reader
            self._program.stop_reading()
        await asyncio.to_thread(self._clean_up)
        if self._claim is not None:
            self._claim.close()

    @property
    def _exit_code(self) -> Path:
        """The file that holds the worker's exit code, once it has ended."""
        return self._work / "ended"

    def _clean_up(self) -> None:
        """Remove the group's folder, and outputs in the model's source folder. This server has copies of these outputs.

        Large files that the model has not changed become links again, which frees disk space.
        """
        with suppress(FileNotFoundError):
            for name in set((self._work / "given").read_text("utf-8").splitlines()):
                if not self._launch.workspace.ships(Path(name)):
                    (self.source / name).unlink(missing_ok=True)
        if self._claim is not None:
            with suppress(OSError):  # the next server tries again
                self._launch.workspace.link_unchanged()
        shutil.rmtree(self._work, ignore_errors=True)

    def _prepare_folders(self) -> None:
        """Make the group's folders. If another process runs this version, they get a new copy of the model's files."""
        workspace, tools = self._launch.workspace, self._work / "bin"
        self._claim = workspace.claim()
        if self._claim is None:
            self.source = self._work / "src"
            workspace.copy(self.source)
            workspace.copy_linked(self.source)
        for folder in (self.source / ".cog", self._work / "tmp", self._work / "running", tools):
            folder.mkdir(parents=True, exist_ok=True)
        # Cog's own form of the schema: its server needs ``nullable``, which JSON Schema lacks, to set a missing input
        # to None.
        document = streaming(self._launch.schema)
        (self.source / ".cog" / "openapi_schema.json").write_bytes(msgspec.json.encode(document))
        worker = {
            "path": workspace.variables()["PATH"],
            "python": str(workspace.python),
            "prelude": WORKER.read_text("utf-8"),
            "folder": str(self._work),
            "ended": str(self._exit_code),
        }
        script = _WORKER.format(**{name: shlex.quote(text) for name, text in worker.items()})
        (tools / "python").write_text(script, "utf-8")
        (tools / "python").chmod(0o755)

    def _environment(self, port: int) -> dict[str, str]:
        model = self._launch.model
        base = self._launch.workspace.variables(self.source)
        # The model fetches its input files from this server, which a proxy could not reach.
        no_proxy = ",".join(filter(None, ("127.0.0.1,localhost", base.get("no_proxy", base.get("NO_PROXY")))))
        return base | {
            "PATH": f"{self._work / 'bin'}:{base['PATH']}",
            "COG_PREDICT_TYPE_STUB": model.target,
            "COG_MAX_CONCURRENCY": str(model.concurrency),
            "PORT": str(port),
            "TMPDIR": str(self._work / "tmp"),
            "PYTHONUNBUFFERED": "1",  # so that the log arrives while the model prints it
            "RUST_LOG": "info,coglet::prediction=warn",  # a prediction's output comes in its event stream already
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,  # if both variables are set, most libraries use this one
        }

    async def _read(self, pipe: asyncio.StreamReader) -> None:
        """Read the log to its end, and keep its last lines. Otherwise the model would block on a full pipe."""
        while True:
            try:
                line = await pipe.readline()
            except ValueError:  # the reader has dropped a line that is longer than the limit
                continue
            if not line:
                return
            text, is_models = _log_text(line)
            self._line_count += 1
            self.log.append(text)
            if is_models:
                self.printed.append(text)


def _log_text(line: bytes) -> tuple[str, bool]:
    """The text of a line of the log, and whether the model printed it.

    Lines that coglet writes are JSON. Any other line is returned unchanged.
    """
    try:
        record = msgspec.json.decode(line)
        fields = record["fields"]
        return str(fields.get("error") or fields["message"]), record.get("target") in _MODEL_TARGETS
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return line.decode(errors="replace").rstrip(), True

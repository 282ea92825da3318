"""The results file of a batch while it is being written."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, Self

from replicate_job.batches.results.lock import Lock
from replicate_job.batches.results.record import encode, is_record
from replicate_job.errors import JobError, OutputError, ReplicateJobError
from replicate_job.terminal import plain
from replicate_job.wire.bounds import LARGEST

STDOUT = "-"

_BEGINNING = b'{"line":'  # of every line that is written here
_BLOCK = 1024 * 1024  # bytes


class ResultsFile:
    """JSON Lines, one a record, appended to what is there already. A context manager; every method blocks.

    ``path`` is made with its folder if missing. ``-`` is stdout, and any other path that is neither a file nor a
    folder (a pipe, a device) is written the same way: without a lock, and ``rewriting`` cannot take back what is out.

    Entering raises JobError where the path cannot be written, holds something else than results, or is being written by
    another process; writing raises OutputError.
    """

    def __init__(self, path: Path) -> None:
        self._name, self._is_stdout = str(path), str(path) == STDOUT
        self._is_stream = self._is_stdout or _is_special(path)
        # A link's target is what is locked and replaced, so that the link stays one.
        self.path = path if self._is_stream else Path(os.path.realpath(path))
        self._lock = Lock(self.path, self._name)
        self._part = self.path.with_name(f".{self.path.name}.part")
        self._file: FileIO

    @property
    def folder(self) -> Path:
        """What the files in the records are relative to."""
        return self.path.parent

    def __enter__(self) -> Self:
        if self._is_stdout:
            return self
        try:
            with _told(JobError, self._name, "opened", "name another file"):
                if self._is_stream:
                    self._file = FileIO(self.path, "w")
                else:
                    self._open()
        except BaseException:
            self._lock.release()
            raise
        return self

    def _open(self) -> None:
        if self.path.is_dir():
            raise JobError(f"{self._name} is a folder: name a file in it")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JobError(f"the folder of {self._name} cannot be made: {error.strerror}; name another file") from None
        self._lock.acquire()
        self._part.unlink(missing_ok=True)  # a rewrite was killed
        if self.path.exists():
            self._check()
        self._file = FileIO(self.path, "a+")
        _mend(self._file)

    def _check(self) -> None:
        """A slip of the hand must not add results to a picture, or put them in the place of the rows."""
        with self.path.open("rb") as lines:
            first = lines.readline(LARGEST)
        if first and not first.startswith(_BEGINNING) and not is_record(first):
            raise JobError(f"{self._name} is there and holds something else than results: name another file")

    def __exit__(self, *exc_info: object) -> None:
        if self._is_stdout:
            return
        try:
            if self._file.closed:  # a rewrite broke just there
                return
            with _told(OutputError, self._name), self._file:
                if not self._is_stream:
                    os.fsync(self._file.fileno())
        finally:
            self._lock.release()

    def write(self, records: Iterable[dict[str, Any]]) -> None:
        """Append them in one system call: once it returns, no end of the process loses one. None is written in part."""
        lines = encode(records)
        with _told(OutputError, self._name):
            if self._is_stream and self._is_terminal():
                lines = plain(lines.decode()).encode()
            if self._is_stdout:
                _print(lines)
            else:
                self._append(lines)

    def _is_terminal(self) -> bool:
        return sys.stdout.isatty() if self._is_stdout else self._file.isatty()

    def _append(self, lines: bytes) -> None:
        end = None if self._is_stream else self._file.seek(0, os.SEEK_END)
        try:
            _write_all(self._file, lines)
        except OSError:
            if end is not None:
                with suppress(OSError):
                    self._file.truncate(end)  # no torn line stays behind
            raise

    @contextmanager
    def rewriting(self) -> Iterator[Callable[[Iterable[dict[str, Any]]], object]]:
        """Replace everything by what is given to the function that comes back, and go on behind it.

        Until the end the old file stays, also where that is an error. Records may come from reading this very file.
        """
        if self._is_stream:
            yield self.write
            return
        try:
            with _told(OutputError, self._name):
                with self._part.open("wb") as part:
                    yield lambda records: part.write(encode(records))
                    part.flush()
                    os.fsync(part.fileno())
                self._replace()
        finally:
            with suppress(OSError):
                self._part.unlink(missing_ok=True)

    def _replace(self) -> None:
        self._file.close()  # Windows replaces no file that is open
        try:
            self._part.replace(self.path)
        finally:
            self._file = FileIO(self.path, "a+")


def _is_special(path: Path) -> bool:
    """Whether there is something other than a file or a folder."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _mend(file: FileIO) -> None:
    """End the last line where its end is missing, or drop it where it was torn."""
    end = start = file.seek(0, os.SEEK_END)
    tail = b""
    while start and b"\n" not in tail:
        step = min(start, _BLOCK)
        start -= step
        file.seek(start)
        tail = file.read(step) + tail
    torn = tail[tail.rfind(b"\n") + 1 :]
    if is_record(torn):
        file.write(b"\n")
    elif torn:
        file.truncate(end - len(torn))


def _print(lines: bytes) -> None:
    try:
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # The reader has enough, as `head` has. The batch goes on, and Python must not complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_all(file: FileIO, data: bytes) -> None:
    """One call for all of it, which only a disk that fills up, a pipe, or more than 2 GB make several."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


@contextmanager
def _told(
    kind: Callable[[str], ReplicateJobError],
    name: str,
    done: str = "written",
    advice: str = "make room for it, and give the same command again",
) -> Iterator[None]:
    """One line in place of an OSError."""
    try:
        yield
    except OSError as error:
        what = "stdout" if name == STDOUT else name
        raise kind(f"{what} cannot be {done}: {error.strerror or error}; {advice}") from None

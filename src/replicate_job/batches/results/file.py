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

from replicate_job.batches.results.lock import FileLock
from replicate_job.batches.results.record import encode, is_record
from replicate_job.errors import JobError, OutputError, ReplicateJobError
from replicate_job.folders import absolute
from replicate_job.terminal import plain
from replicate_job.wire.bounds import LARGEST

STDOUT = "-"

_BEGINNING = b'{"line":'  # the beginning of every line in a results file
_BLOCK = 1024 * 1024  # bytes of a read


class ResultsFile:
    """A file of JSON Lines, to which records are appended as lines. It is a context manager, and every method blocks.

    A missing file is made, with its folder. ``-`` is stdout. Any other path that is neither a file nor a folder (a
    pipe, a device) is written like stdout: without a lock, and ``rewriting`` cannot replace earlier lines.

    Entering raises JobError if the path cannot be written, does not hold results, or is being written by another
    process. Writing raises OutputError.
    """

    def __init__(self, path: Path) -> None:
        self._name, self._is_stdout = str(path), str(path) == STDOUT
        self._is_stream = self._is_stdout or _is_special(path)
        # The target of a symbolic link is locked and replaced, so that the link stays a link.
        self.path = path if self._is_stream else Path(os.path.realpath(absolute(path)))
        self._lock = FileLock(self.path, self._name)
        self._part = self.path.with_name(f".{self.path.name}.part")
        self._file: FileIO
        self._size = 0  # the size of the file, after what was written

    @property
    def folder(self) -> Path:
        """The folder to which paths in the records are relative."""
        return self.path.parent

    def __enter__(self) -> Self:
        if self._is_stdout:
            return self
        try:
            with _translated(JobError, self._name, "opened", "name another file"):
                if self._is_stream:
                    self._file = FileIO(self.path, "w")
                else:
                    self._open()
        except BaseException:  # __exit__ does not run after an error in __enter__
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
        self._part.unlink(missing_ok=True)  # a process was killed while it rewrote the file
        if self.path.exists():
            self._check()
        self._file = FileIO(self.path, "a+")
        _mend(self._file)
        self._size = os.fstat(self._file.fileno()).st_size

    def _check(self) -> None:
        """Raise JobError for another kind of file: results must not be appended to a picture or to the rows."""
        with self.path.open("rb") as lines:
            first = lines.readline(LARGEST)
        if first and not first.startswith(_BEGINNING) and not is_record(first):
            raise JobError(f"{self._name} exists and is not a results file: name another file")

    def __exit__(self, kind: object, *exc_info: object) -> None:
        if self._is_stdout:
            return
        try:
            if self._file.closed:  # replacing the file failed
                return
            with _translated(OutputError, self._name), self._file:
                if not self._is_stream:
                    os.fsync(self._file.fileno())
                    if kind is None:
                        self._check_written()
        finally:
            self._lock.release()

    def _check_written(self) -> None:
        """Raise OutputError if the path does not lead to the records that were written."""
        opened, what, advice = os.fstat(self._file.fileno()), "", "move it away: "
        try:
            if not os.path.samestat(opened, self.path.stat()):
                what = "was replaced"
            elif opened.st_size != self._size:
                what = "was changed"
        except FileNotFoundError:
            what, advice = "was removed", ""
        if what:
            again = "the same command writes it again, and pays for nothing again"
            raise OutputError(f"{self._name} {what} while the batch ran: {advice}{again}")

    def write(self, records: Iterable[dict[str, Any]]) -> None:
        """Append all the records in one system call, or none of them.

        When this method returns, the operating system has the records: they stay even if the process is killed.
        """
        lines = encode(records)
        with _translated(OutputError, self._name):
            if self._is_stream and self._is_terminal():
                lines = plain(lines.decode()).encode()  # a model may have written control characters
            if self._is_stdout:
                _print(lines)
            else:
                self._append(lines)

    def _is_terminal(self) -> bool:
        return sys.stdout.isatty() if self._is_stdout else self._file.isatty()

    def _append(self, lines: bytes) -> None:
        """Write all lines. One system call is enough, except for a full disk, for a pipe, and for more than 2 GB."""
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            self._size += len(lines)
        except OSError:
            if not self._is_stream:
                with suppress(OSError):  # no part of a line stays in the file
                    self._file.truncate(self._file.seek(0, os.SEEK_END) - len(lines) + len(rest))
            raise

    @contextmanager
    def rewriting(self) -> Iterator[Callable[[Iterable[dict[str, Any]]], object]]:
        """Replace the whole file with the records passed to the yielded function. Later writes are appended.

        The old file can be read until the block ends. If the block raises an error, the old file stays as it is.
        """
        if self._is_stream:
            yield self.write
            return
        try:
            with _translated(OutputError, self._name):
                with self._part.open("wb") as part:
                    yield lambda records: part.write(encode(records))
                    part.flush()
                    os.fsync(part.fileno())  # before the rename, or a power cut may leave an empty file
                self._replace()
        finally:
            with suppress(OSError):
                self._part.unlink(missing_ok=True)

    def _replace(self) -> None:
        self._file.close()  # Windows does not replace an open file
        try:
            self._part.replace(self.path)
        finally:
            self._file = FileIO(self.path, "a+")
            self._size = os.fstat(self._file.fileno()).st_size


def _is_special(path: Path) -> bool:
    """Whether the path exists and is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _mend(file: FileIO) -> None:
    """Complete a last line that lacks only its line end. Remove an incomplete last line, whose writer was killed."""
    end = start = file.seek(0, os.SEEK_END)
    tail = b""
    while start and b"\n" not in tail:
        step = min(start, _BLOCK)
        start -= step
        file.seek(start)
        tail = file.read(step) + tail
    last = tail[tail.rfind(b"\n") + 1 :]
    if is_record(last):
        file.write(b"\n")
    elif last:
        file.truncate(end - len(last))


def _print(lines: bytes) -> None:
    try:
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # The reader (`head`) has closed the pipe. The batch goes on, and Python must not report an error at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _translated(
    kind: Callable[[str], ReplicateJobError],
    name: str,
    action: str = "written",
    advice: str = "make room for it, and give the same command again",
) -> Iterator[None]:
    """Raise an error of the class ``kind``, with a message of one line, in place of an OSError."""
    try:
        yield
    except OSError as error:
        file = "stdout" if name == STDOUT else name
        raise kind(f"{file} cannot be {action}: {error.strerror or error}; {advice}") from None

"""The results file while it is being written."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from replicate_job.batches.results.file import ResultsFile
from replicate_job.batches.results.record import encode, read_records, to_record
from replicate_job.errors import JobError, OutputError
from replicate_job.job import Result

HOLDER = """
import os, sys
from pathlib import Path
from replicate_job.batches.results.file import ResultsFile
with ResultsFile(Path(sys.argv[1])) as file:
    file.write([{"line": 9, "status": "succeeded"}])
    print("written", flush=True)
    sys.stdin.read()
"""


def record(line: int) -> dict[str, Any]:
    return {"line": line, "status": "succeeded"}


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def lines(path: Path) -> list[int]:
    return [result.line for result in read_records(path)]


@contextmanager
def another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has written a record. It holds the lock until it is killed or its stdin ends."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "written\n"
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """While it is open, no file of this process grows beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def rewrite(file: ResultsFile, records: Iterable[dict[str, Any]]) -> None:
    with file.rewriting() as write:
        for item in records:
            write([item])


def test_records_are_appended_and_a_missing_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "r.jsonl"
    for first in (1, 3):
        with ResultsFile(path) as file:
            file.write(record(line) for line in (first, first + 1))

    assert lines(path) == [1, 2, 3, 4]
    assert names(path.parent) == ["r.jsonl"]


def test_a_written_record_survives_the_end_of_its_process(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with another_process(path) as process:
        process.kill()
        process.wait()

    assert lines(path) == [9]


def test_a_second_writer_gets_an_error_that_names_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("r.jsonl")
    with another_process(path) as process:
        with pytest.raises(JobError) as caught, ResultsFile(path):
            pass

        expected = f"r.jsonl is being written by process {process.pid}: wait for its end, or name another file"
        assert str(caught.value) == expected
        process.kill()
        process.wait()

        with ResultsFile(path) as file:
            file.write([record(1)])
    assert lines(path) == [9, 1]


def test_the_results_file_stays_locked_during_a_rewrite_and_is_unlocked_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with ResultsFile(path) as file:
        rewrite(file, [record(1)])
        with pytest.raises(JobError, match=f"written by process {os.getpid()}"), ResultsFile(path):
            pass
        file.write([record(2)])
    with ResultsFile(path):
        pass

    assert lines(path) == [1, 2]


def test_a_symbolic_link_shares_the_lock_of_its_target_and_stays_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "a" / "r.jsonl", tmp_path / "link"
    link.symlink_to(path)
    with ResultsFile(link) as file:
        with pytest.raises(JobError, match="is being written"), ResultsFile(path):
            pass
        rewrite(file, [record(1)])
        assert file.folder == path.parent

    assert link.is_symlink()
    assert lines(path) == [1]


def test_a_rewrite_replaces_everything_and_may_read_the_old_file(make: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with ResultsFile(path) as file:
        file.write(to_record(make(line), tmp_path) for line in range(1, 6))
        rewrite(file, (to_record(result, tmp_path) for result in read_records(path) if result.line % 2))
        file.write([to_record(make(6), tmp_path)])

    assert lines(path) == [1, 3, 5, 6]


def test_a_failed_rewrite_leaves_only_the_old_file(tmp_path: Path) -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield record(8)
        raise KeyError("row")

    path = tmp_path / "r.jsonl"
    with ResultsFile(path) as file:
        file.write([record(1)])
        with pytest.raises(KeyError):
            rewrite(file, broken())
        file.write([record(2)])

    assert lines(path) == [1, 2]
    assert names(tmp_path) == ["r.jsonl"]


def test_the_temporary_file_of_a_killed_rewrite_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".r.jsonl.part").write_text("half")
    with ResultsFile(tmp_path / "r.jsonl"):
        assert not (tmp_path / ".r.jsonl.part").exists()


@pytest.mark.parametrize("length", [10, 3_000_000])
def test_an_incomplete_last_line_is_removed_and_a_complete_one_gets_its_line_end(tmp_path: Path, length: int) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(encode([record(1)]) + b'{"line":2,"output":"' + b"x" * length)
    with ResultsFile(path) as file:
        file.write([record(3)])
    path.write_bytes(path.read_bytes()[:-1])
    with ResultsFile(path) as file:
        file.write([record(4)])

    assert path.read_bytes() == encode(map(record, (1, 3, 4)))


def test_a_file_with_only_one_incomplete_line_is_accepted_as_a_results_file(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"line":2,"out')
    with ResultsFile(path) as file:
        file.write([record(3)])

    assert path.read_bytes() == encode([record(3)])


@pytest.mark.parametrize("content", [b'{"prompt": "a cat"}\n', b"\x89PNG\r\n", b"prompt,seed\n", b"\n"])
def test_a_file_that_is_not_a_results_file_is_not_changed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "inputs.jsonl"
    path.write_bytes(content)
    with pytest.raises(JobError, match="exists and is not a results file: name another file"), ResultsFile(path):
        pass

    assert path.read_bytes() == content
    assert names(tmp_path) == ["inputs.jsonl"]


def test_a_path_that_cannot_be_written_raises_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "sealed").mkdir(mode=0o500)
    for path, said in [
        (tmp_path, "is a folder: name a file in it"),
        (tmp_path / "file" / "r.jsonl", "the folder of .* cannot be made: .*; name another file"),
        (tmp_path / ("x" * 300), "cannot be opened: File name too long; name another file"),
        *([(tmp_path / "sealed" / "r.jsonl", "cannot be opened: Permission denied")] if os.getuid() else []),
    ]:
        with pytest.raises(JobError, match=said) as caught, ResultsFile(path):
            pass
        assert "\n" not in str(caught.value)


def test_a_full_disk_raises_a_one_line_error_and_leaves_no_incomplete_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with ResultsFile(path) as file:
        file.write([record(1)])
        with full_disk(100), pytest.raises(OutputError, match="cannot be written: File too large; make room"):
            file.write(map(record, range(100, 200)))
        assert path.read_bytes() == encode([record(1)])
        with full_disk(100), pytest.raises(OutputError, match="cannot be written"):
            rewrite(file, map(record, range(100, 200)))
        file.write([record(2)])

    assert path.read_bytes() == encode([record(1), record(2)])
    assert names(tmp_path) == ["r.jsonl"]


def test_a_full_device_raises_a_one_line_error() -> None:
    with (
        ResultsFile(Path("/dev/full")) as file,
        pytest.raises(OutputError, match="/dev/full cannot be written: No space"),
    ):
        file.write([record(1)])


def test_a_pipe_is_written_without_a_lock(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with ResultsFile(pipe) as file:
        rewrite(file, [record(1)])
        file.write([record(2)])
    got = os.read(reader, 1000)
    os.close(reader)

    assert got == encode([record(1), record(2)])
    assert names(tmp_path) == ["pipe"]


def test_a_dash_in_place_of_a_path_means_stdout(
    capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ResultsFile(Path("-")) as file:
        rewrite(file, [record(1)])
        file.write([record(2)])

    assert capsysbinary.readouterr().out == encode([record(1), record(2)])
    assert names(tmp_path) == []


def test_a_reader_that_closes_stdout_does_not_stop_the_batch() -> None:
    script = HOLDER.replace("print(", "file.write([]); file.write([{'line': 1}] * 10); sys.exit(7); print(")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", script, "-"], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)

    assert (done.returncode, done.stderr) == (7, b"")

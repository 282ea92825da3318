"""Which files are read as rows, and as which format."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from replicate_job.errors import JobError
from replicate_job.rows import Row, open_rows


@pytest.mark.parametrize(
    ("name", "typed"),
    [("a.jsonl", True), ("a.ndjson", True), ("a.JSONL", True), ("a.csv", False), ("a.CSV", False), ("a.tsv", False)],
)
def test_the_suffix_says_the_format_and_so_whether_values_have_types(tmp_path: Path, name: str, *, typed: bool) -> None:
    (tmp_path / name).write_bytes(b"x\n")

    assert open_rows(tmp_path / name).typed is typed
    assert open_rows(str(tmp_path / name)).typed is typed


@pytest.mark.parametrize("name", ["rows.json", "rows.txt", "rows", "rows.xlsx", "rows.csv.gz"])
def test_an_unknown_suffix_is_refused_and_the_known_ones_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"{}")

    with pytest.raises(JobError, match=r"ends in \.jsonl, \.ndjson, \.csv, \.tsv or \.parquet$"):
        open_rows(tmp_path / name)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_what_is_no_file_that_can_be_read_is_refused_at_once(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"folder{suffix}").mkdir()
    (tmp_path / f"wide{suffix}").write_bytes("a,b\n".encode("utf-16"))

    with pytest.raises(JobError, match=r"^cannot read .*none.*: no such file or directory$"):
        open_rows(tmp_path / f"none{suffix}")
    with pytest.raises(JobError, match="is a directory"):
        open_rows(tmp_path / f"folder{suffix}")
    with pytest.raises(JobError, match=r"is UTF-16; save it as UTF-8$"):
        open_rows(tmp_path / f"wide{suffix}")
    with pytest.raises(JobError, match="NUL character"):
        open_rows(f"a\0b{suffix}")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch(mode=0o000)

    with pytest.raises(JobError, match="permission denied"):
        open_rows(tmp_path / "rows.jsonl")


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_file_that_goes_away_before_it_is_read_is_an_error_of_one_line(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"rows{suffix}"
    file.write_bytes(b"a\n")
    rows = open_rows(file)
    file.unlink()

    with pytest.raises(JobError, match=r"no such file or directory$"):
        list(rows)
    with pytest.raises(JobError, match=r"no such file or directory$"):
        rows.count()


def test_a_dash_is_stdin_as_jsonl_and_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a":1}\n{"a":2}\n')))
    rows = open_rows("-")

    assert rows.count() is None
    assert list(rows) == [Row(1, {"a": 1}), Row(2, {"a": 2})]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize(
    ("name", "content"), [("pipe", b'{"a":"1"}\n'), ("a.jsonl", b'{"a":"1"}\n'), ("a.csv", b"a\n1")]
)
def test_a_pipe_is_read_once_and_is_jsonl_unless_its_name_says_otherwise(
    tmp_path: Path, name: str, content: bytes
) -> None:
    os.mkfifo(tmp_path / name)
    rows = open_rows(tmp_path / name)
    writer = Thread(target=(tmp_path / name).write_bytes, args=[content])
    writer.start()

    assert rows.count() is None
    assert [row.values for row in rows] == [{"a": "1"}]
    writer.join()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_parquet_is_not_read_from_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.parquet")

    with pytest.raises(JobError, match="cannot be read from a pipe"):
        open_rows(tmp_path / "rows.parquet")


def test_rows_of_a_pipe_are_given_as_they_come(tmp_path: Path) -> None:
    code = "from replicate_job.rows import open_rows\nfor row in open_rows('-'): print(row.line, flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"{}\n")
        process.stdin.flush()

        assert process.stdout.readline().strip() == b"1"


def test_no_reader_of_a_format_is_imported_before_it_is_needed() -> None:
    code = "import sys, replicate_job.rows; print({'csv', 'pyarrow'} & sys.modules.keys())"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"

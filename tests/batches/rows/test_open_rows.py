"""Which files are read as rows, and as which format."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from replicate_job.batches.rows import ReadOptions, Row, open_rows
from replicate_job.errors import JobError


@pytest.mark.parametrize(
    ("name", "typed"),
    [("a.jsonl", True), ("a.ndjson", True), ("a.JSONL", True), ("a.csv", False), ("a.CSV", False), ("a.tsv", False)],
)
def test_the_suffix_of_a_file_decides_its_format_and_whether_its_values_have_types(
    tmp_path: Path, name: str, *, typed: bool
) -> None:
    (tmp_path / name).write_bytes(b"x\n")

    assert open_rows(tmp_path / name).typed is typed
    assert open_rows(str(tmp_path / name)).typed is typed


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("rows", "or say what it is: --format jsonl, json, csv, tsv, txt, parquet, arrow"),
        ("rows.gz", "--format"),
        ("rows.xlsx", "save it as CSV UTF-8"),
        ("rows.csv.zip", "unpack it"),
        ("rows.csv.zst", "zstdcat FILE | replicate-job batch … - --format csv"),
    ],
)
def test_an_unknown_suffix_is_refused_with_advice(tmp_path: Path, name: str, advice: str) -> None:
    (tmp_path / name).write_bytes(b"{}")

    with pytest.raises(JobError, match=r"ends in \.jsonl, \.ndjson, \.json, \.csv, .*and \.gz; ") as caught:
        open_rows(tmp_path / name)
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a", b'{"a": "x"}', ReadOptions("jsonl")),
        ("a.txt", b"a\nx\n", ReadOptions("csv")),
        ("a.jsonl", b"b\ta\n1\tx\n", ReadOptions("tsv")),
        ("a.csv", b"a#b\nx#1\n", ReadOptions(delimiter="#")),
        ("a.csv", b"a b\nx 1\n", ReadOptions(delimiter="space")),
        ("a.csv", "a\nx\n".encode("utf-16-le"), ReadOptions(encoding="utf-16-le")),
        ("a.csv", b"x\n", ReadOptions(header=("a",))),
    ],
)
def test_options_override_the_format_of_the_files_name(
    tmp_path: Path, name: str, content: bytes, options: ReadOptions
) -> None:
    (tmp_path / name).write_bytes(content)

    (row,) = open_rows(tmp_path / name, options)

    assert row.values["a"] == "x"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (ReadOptions("xml"), "there is no format 'xml': give jsonl, json, csv"),
        (ReadOptions(delimiter=";"), "are for csv and tsv"),
        (ReadOptions(header=False), "are for csv and tsv"),
        (ReadOptions(quotes=False), "are for csv and tsv"),
        (ReadOptions(encoding="klingon"), "there is no encoding 'klingon'"),
        (ReadOptions(encoding="base64"), "there is no encoding 'base64'"),
        (ReadOptions("parquet", encoding="utf-8"), "is read as parquet, which has no encoding"),
        (ReadOptions("csv", delimiter="ab"), "the delimiter 'ab' is not a single character"),
        (ReadOptions("csv", delimiter='"'), "is not a single character"),
    ],
)
def test_options_that_do_not_fit_the_format_are_refused(tmp_path: Path, options: ReadOptions, problem: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n')

    with pytest.raises(JobError, match=problem):
        open_rows(tmp_path / "a.jsonl", options)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"a\nx\ny\n"),
        ("a.tsv", b"a\nx\ny\n"),
        ("a.txt", b"x\ny\n"),
        ("a.jsonl", b'{"a": "x"}\n{"a": "y"}\n'),
        ("a.json", b'[{"a": "x"}, {"a": "y"}]'),
    ],
)
def test_a_compressed_file_is_read_like_its_content_even_without_the_gz_suffix(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    (tmp_path / f"packed-{name}").write_bytes(gzip.compress(content))

    expected = list(open_rows(tmp_path / name))

    for packed in (f"{name}.gz", f"packed-{name}"):
        rows = open_rows(tmp_path / packed)
        assert list(rows) == expected
        assert rows.count() == len(expected) == 2
        assert rows.count(1) == 1


@pytest.mark.parametrize("cut", [5, 30])
def test_a_truncated_compressed_file_raises_a_one_line_error(tmp_path: Path, cut: int) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"a": "x"}\n{"a": "yz"}\n')[:cut])

    with pytest.raises(JobError, match=r"a\.jsonl\.gz is not whole: [^\n]+$"):
        list(open_rows(tmp_path / "a.jsonl.gz"))


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".txt", ".json"])
@pytest.mark.parametrize(("encoding", "option"), [("utf-16", None), ("utf-8-sig", None), ("cp1252", "cp1252")])
def test_the_encoding_is_taken_from_the_option_or_else_from_the_byte_order_mark(
    tmp_path: Path, suffix: str, encoding: str, option: str | None
) -> None:
    content = {".jsonl": '{"a": "café\u2028"}\n', ".csv": "a\ncafé\n", ".txt": "café\n", ".json": '[{"a": "café"}]'}
    text = content[suffix].replace("\u2028", "" if option else "\u2028")
    (tmp_path / f"a{suffix}").write_bytes(text.encode(encoding))

    (row,) = open_rows(tmp_path / f"a{suffix}", ReadOptions(encoding=option))

    assert "".join(row.values.values()).rstrip("\u2028") == "café"


def test_text_that_does_not_match_its_encoding_raises_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x\ny\x81\nz\n")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfea\x00\x00\xd8b\x00")

    rows = list(open_rows(tmp_path / "a.txt", ReadOptions(encoding="cp1252")))

    assert [bool(row.problem) for row in rows] == [False, True, False]
    with pytest.raises(JobError, match=r"b\.txt is not utf-16-le text; give its --encoding"):
        list(open_rows(tmp_path / "b.txt"))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".txt"])
def test_counting_rows_up_to_a_limit_reads_no_further_than_the_limit(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a{suffix}.gz"
    rows = b"".join(b'{"a": %d}\n' % number for number in range(100_000))
    file.write_bytes(gzip.compress(b"a\n" + rows if suffix == ".csv" else rows)[:-20])  # its end cannot be read

    assert open_rows(file).count(5) == 5
    with pytest.raises(JobError, match="is not whole"):
        open_rows(file).count()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_a_path_that_is_not_a_readable_file_is_refused_at_once(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"folder{suffix}").mkdir()

    with pytest.raises(JobError, match=r"^cannot read .*none.*: no such file or directory$"):
        open_rows(tmp_path / f"none{suffix}")
    with pytest.raises(JobError, match="is a directory"):
        open_rows(tmp_path / f"folder{suffix}")
    with pytest.raises(JobError, match="NUL character"):
        open_rows(f"a\0b{suffix}")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch(mode=0o000)

    with pytest.raises(JobError, match="permission denied"):
        open_rows(tmp_path / "rows.jsonl")


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_file_that_is_deleted_before_it_is_read_raises_a_one_line_error(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"rows{suffix}"
    file.write_bytes(b"a\n")
    rows = open_rows(file)
    file.unlink()

    with pytest.raises(JobError, match=r"no such file or directory$"):
        list(rows)
    with pytest.raises(JobError, match=r"no such file or directory$"):
        rows.count()


def test_a_dash_means_stdin_in_jsonl_format_and_its_rows_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_rows_of_a_pipe_are_read_as_they_arrive(tmp_path: Path) -> None:
    code = "from replicate_job.batches.rows import open_rows\nfor row in open_rows('-'): print(row.line, flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"{}\n")
        process.stdin.flush()

        assert process.stdout.readline().strip() == b"1"


def test_the_reader_of_a_format_is_imported_only_when_it_is_needed() -> None:
    code = "import sys, replicate_job.batches.rows; print({'csv', 'pyarrow'} & sys.modules.keys())"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"

"""Rows of JSONL files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.batches.rows import Row, open_rows
from replicate_job.batches.rows.lines import HEAVY, TOO_LONG
from replicate_job.batches.rows.source import BLOCK
from replicate_job.errors import JobError
from replicate_job.wire.bounds import ROW

Read = Callable[..., list[Row]]


def test_each_line_gives_a_row_with_the_values_of_its_json_object(read: Read) -> None:
    assert read(b'{"prompt":"a","n":4}\n{"prompt":null}\n', ".jsonl") == [
        Row(1, {"prompt": "a", "n": 4}),
        Row(2, {"prompt": None}),
    ]


def test_blank_lines_are_skipped_but_counted_as_lines(read: Read) -> None:
    assert read(b'\n{"a":1}\n \t\n\r\n{"a":2}\n\n', ".ndjson") == [Row(2, {"a": 1}), Row(5, {"a": 2})]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n\n"])
def test_a_file_may_have_no_rows(read: Read, content: bytes) -> None:
    assert read(content, ".jsonl") == []


def test_a_byte_order_mark_and_windows_line_ends_and_a_missing_last_line_end_are_accepted(read: Read) -> None:
    assert read(b'\xef\xbb\xbf{"a":1}\r\n{"a":2}', ".jsonl") == [Row(1, {"a": 1}), Row(2, {"a": 2})]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a":1', "broken JSON: the line ends before its closing }"),
        (b'{"a":"x', "broken JSON: the line ends before its closing }"),
        (b'{"a":"\\ud800"}', "broken JSON: half of a \\u pair"),
        (b"{a:1}", "broken JSON: object keys must be strings at column 2"),
        (b'{"a":NaN}', "broken JSON: invalid character at column 6"),
        ('{"é":x}'.encode(), "broken JSON: invalid character at column 6"),
        (b'{"a":1}{"a":2}', "broken JSON: trailing characters at column 8"),
        (b'{"a":1}\r{"a":2}', "broken JSON: trailing characters at column 9"),
        (b'{"a":1e999}', "broken JSON: number out of range"),
        (b"[1]", "not a JSON object: expected object, got array"),
        (b"null", "not a JSON object: expected object, got null"),
        (b'{"a":"\xff"}', "not UTF-8 text at column 7 (--encoding cp1252, or what it is, reads it)"),
        ('{"é":"'.encode() + b'\xff"}', "not UTF-8 text at column 7 (--encoding cp1252, or what it is, reads it)"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "the JSON is nested too deeply"),
    ],
)
def test_a_broken_line_has_a_problem_and_the_other_lines_are_read(read: Read, line: bytes, problem: str) -> None:
    assert read(b'{"b":1}\n' + line + b'\n{"b":2}\n', ".jsonl") == [
        Row(1, {"b": 1}),
        Row(2, {}, problem),
        Row(3, {"b": 2}),
    ]


@pytest.mark.parametrize("end", [b"", b'\n{"a":2}\n'])
def test_a_line_of_any_length_is_one_bad_row(read: Read, end: bytes) -> None:
    long = b'{"a":"' + b"x" * (ROW + BLOCK) + b'"}'

    read_rows = read(long + end, ".jsonl")

    assert read_rows[0] == Row(1, {}, TOO_LONG)
    assert read_rows[1:] == ([Row(2, {"a": 2})] if end else [])


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_a_row_whose_values_take_too_much_memory_is_not_decoded(read: Read, suffix: str) -> None:
    heavy = b'{"a":[' + b"{}," * (2**20) + b"0]}"

    read_rows = (
        read(b'{"b":1}\n' + heavy + b'\n{"b":2}', ".jsonl") if suffix == ".jsonl" else read(b"[%s]" % heavy, suffix)
    )

    assert Row(2 if suffix == ".jsonl" else 1, {}, HEAVY) in read_rows


def test_a_file_that_grows_while_it_is_read_is_read_to_its_new_end(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a":1}\n')
    rows = iter(open_rows(file))

    assert next(rows) == Row(1, {"a": 1})
    with file.open("ab") as more:
        more.write(b'{"a":2}\n')
    assert list(rows) == [Row(2, {"a": 2})]


def test_a_file_that_becomes_shorter_while_it_is_read_ends_without_an_error(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a":1}\n' * 100_000)
    rows = iter(open_rows(file))

    assert next(rows) == Row(1, {"a": 1})
    file.write_bytes(b"")
    assert len(list(rows)) < 99_999


def test_rows_are_counted_correctly_across_the_blocks_that_are_read(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(
        b"".join(b'{"a":"' + b"x" * (index % 3000) + b'"}\n' + b" \n" * (index % 3) for index in range(3000))
    )

    assert file.stat().st_size > 3 * BLOCK
    assert open_rows(file).count() == 3000


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
)


@given(st.lists(st.dictionaries(st.text(), _JSON, max_size=4), max_size=5))
def test_rows_are_read_back_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, values: list[Any]) -> None:
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_bytes(b"\n".join(map(msgspec.json.encode, values)))

    assert list(open_rows(file)) == [Row(line, value) for line, value in enumerate(values, 1)]


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reading(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_bytes(content)
    rows = open_rows(file)

    with suppress(JobError):  # what is no JSON Lines at all
        assert rows.count() == len(list(rows))

"""Rows of CSV and TSV files."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.errors import JobError
from replicate_job.rows import Row, delimited, open_rows

Read = Callable[..., list[Row]]


def test_a_row_has_the_text_of_its_cells_by_column(read: Read) -> None:
    assert read(b"prompt,n\na cat,4\n", ".csv") == [Row(2, {"prompt": "a cat", "n": "4"})]


def test_quoted_cells_hold_commas_quotes_and_newlines_and_lines_are_counted_on(read: Read) -> None:
    assert read(b'prompt,n\n"a, ""b""\nc\r\nd",1\ne,2\n', ".csv") == [
        Row(2, {"prompt": 'a, "b"\nc\r\nd', "n": "1"}),
        Row(5, {"prompt": "e", "n": "2"}),
    ]


def test_tabs_divide_the_cells_of_a_tsv(read: Read) -> None:
    assert read(b"prompt\tn\na, b\t4\n", ".tsv") == [Row(2, {"prompt": "a, b", "n": "4"})]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_any_line_end_ends_a_row_and_the_last_may_lack_its_own(read: Read, end: bytes) -> None:
    assert read(end.join([b"a,b", b"1,2", b"", b"3,4"]), ".csv") == [
        Row(2, {"a": "1", "b": "2"}),
        Row(4, {"a": "3", "b": "4"}),
    ]


def test_a_byte_order_mark_is_skipped_and_spaces_of_a_name_are_kept(read: Read) -> None:
    assert read(b"\xef\xbb\xbf a ,b\n1,2\n", ".csv") == [Row(2, {" a ": "1", "b": "2"})]


def test_rows_in_which_no_cell_says_anything_are_skipped(read: Read) -> None:
    assert read(b'a,b\n\n,\n"",""\n1,\n', ".csv") == [Row(5, {"a": "1", "b": ""})]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"1", "1 cells, and the header has 2"),
        (b"1,2,3", "3 cells, and the header has 2"),
        (b"1,\xff", "not UTF-8 text"),
        (b"1,\0", "a NUL character"),
        (b'"a" b,2', "text after a closing quote (a quote inside a quoted cell is written twice)"),
        (b'1,"never closed', "a quote that opens a cell here is never closed"),
    ],
)
def test_a_row_that_cannot_be_read_says_why_and_the_rest_goes_on(read: Read, line: bytes, problem: str) -> None:
    assert read(b"a,b\n1,2\n" + line + b"\n3,4\n5,6\n", ".csv") == [
        Row(2, {"a": "1", "b": "2"}),
        Row(3, {}, problem),
        Row(4, {"a": "3", "b": "4"}),
        Row(5, {"a": "5", "b": "6"}),
    ]


def test_what_a_broken_quote_ran_over_is_one_bad_row_and_never_a_row_of_its_own(read: Read) -> None:
    assert read(b'a\n"a cat\nin a hat" and more\nb\n', ".csv") == [
        Row(
            2,
            {},
            "text after a closing quote in line 3, to which the cell goes on"
            " (a quote inside a quoted cell is written twice)",
        ),
        Row(4, {"a": "b"}),
    ]


def test_a_quote_that_is_not_closed_for_very_long_ends_with_its_line(read: Read) -> None:
    count = delimited.LONGEST // 1000 + 100
    lines = (b"x" * 996 + b",1\n") * count

    found = read(b'a,b\n"open,1\n' + lines, ".csv")

    assert found[0] == Row(2, {}, "longer than 16 million characters; a quote may not be closed")
    assert [row.line for row in found[1:]] == list(range(3, count + 3))
    assert not any(row.problem for row in found[1:])


def test_a_line_of_any_length_is_one_bad_row_also_inside_a_quote_that_is_not_closed(read: Read) -> None:
    long = b"x" * (2 * delimited.LONGEST + 5)

    found = read(b'a,b\n"open,1\n2,2\n' + long + b"\n3,3\n", ".csv")

    assert [(row.line, row.values) for row in found] == [
        (2, {}),
        (3, {"a": "2", "b": "2"}),
        (4, {}),
        (5, {"a": "3", "b": "3"}),
    ]


def test_a_large_cell_is_read_whole(read: Read) -> None:
    (row,) = read(b"a\n" + b"x" * 10_000_000 + b"\n", ".csv")

    assert len(row.values["a"]) == 10_000_000


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "has no header; its first line names the columns"),
        (b"\n\n", "has no header; its first line names the columns"),
        (b"a,,b\n", "column 2 has no name"),
        (b"a,b,a\n1,2,3\n", "two columns are named 'a'$"),
        (b"a,\xff\n", "line 1: not UTF-8 text$"),
        (b'\n"a" b,c\n', "line 2: text after a closing quote"),
    ],
)
def test_a_header_that_names_no_columns_well_is_refused_at_once(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "rows.csv").write_bytes(content)

    with pytest.raises(JobError, match=problem):
        open_rows(tmp_path / "rows.csv")


@given(st.lists(st.tuples(st.text(), st.text(min_size=1)), max_size=5))
def test_what_the_csv_module_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    rows = [(left.replace("\0", ""), right.replace("\0", "0")) for left, right in rows]
    file = tmp_path_factory.mktemp("rows") / "rows.csv"
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows([("a", "b"), *rows])

    assert [row.values for row in open_rows(file)] == [{"a": left, "b": right} for left, right in rows]


@given(st.lists(st.sampled_from([b'"', b",", b"\n", b"\r", b"x", b"\0", b"\xff"]), max_size=40).map(b"".join))
def test_every_line_of_a_broken_file_is_read_and_none_twice(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.mktemp("rows") / "rows.csv"
    file.write_bytes(b"a,b\n" + content)
    rows = open_rows(file)
    found = [row.line for row in rows]

    assert found == sorted(set(found))
    assert rows.count() == len(found)

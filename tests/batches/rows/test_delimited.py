"""Rows of CSV and TSV files."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.batches.rows import ReadOptions, Row, delimited, open_rows
from replicate_job.errors import JobError

Read = Callable[..., list[Row]]


def test_a_row_has_the_text_of_its_cells_by_column(read: Read) -> None:
    assert read(b"prompt,n\na cat,4\n", ".csv") == [Row(2, {"prompt": "a cat", "n": "4"})]


def test_quoted_cells_may_hold_commas_quotes_and_newlines_and_each_newline_counts_as_a_line(read: Read) -> None:
    assert read(b'prompt,n\n"a, ""b""\nc\r\nd",1\ne,2\n', ".csv") == [
        Row(2, {"prompt": 'a, "b"\nc\r\nd', "n": "1"}),
        Row(5, {"prompt": "e", "n": "2"}),
    ]


def test_tabs_divide_the_cells_of_a_tsv(read: Read) -> None:
    assert read(b"prompt\tn\na, b\t4\n", ".tsv") == [Row(2, {"prompt": "a, b", "n": "4"})]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_rows_end_with_any_kind_of_line_end_and_the_last_may_have_none(read: Read, end: bytes) -> None:
    assert read(end.join([b"a,b", b"1,2", b"", b"3,4"]), ".csv") == [
        Row(2, {"a": "1", "b": "2"}),
        Row(4, {"a": "3", "b": "4"}),
    ]


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"\n", b"\xef\xbb\xbf \r\n\n", b" , \n", b"\t\n"])
def test_a_byte_order_mark_and_blank_first_lines_and_blanks_around_column_names_are_skipped(
    read: Read, start: bytes
) -> None:
    (row,) = read(start + b" a ,b\t\n1, 2\n", ".csv")

    assert row.values == {"a": "1", "b": " 2"}  # a cell is as it stands: only what is read of it has no blanks


def test_rows_of_blank_cells_are_skipped(read: Read) -> None:
    assert read(b'a,b\n\n,\n"",""\n ,\t\n1,\n', ".csv") == [Row(6, {"a": "1", "b": ""})]


@pytest.mark.parametrize(
    ("separator", "suffix"),
    [*((separator, ".csv") for separator in ",;\t|"), *((separator, ".tsv") for separator in ",;\t|")],
)
@pytest.mark.parametrize("quoted", [True, False])
def test_the_separator_is_detected(read: Read, separator: str, suffix: str, *, quoted: bool) -> None:
    others = "".join({",", ";", "|"} - {separator})
    cell = f'"x{separator} ""y"" {others}"' if quoted else f"x {others} y"
    lines = [f"a{separator}b", f"1{separator}{cell}", f"2{separator}z", f"3{separator}"]

    read_rows = read("\n".join(lines).encode(), suffix)

    assert [row.values["a"] for row in read_rows] == ["1", "2", "3"]
    assert read_rows[0].values["b"] == (f'x{separator} "y" {others}' if quoted else cell)


def test_vertical_bars_are_detected_as_separators_even_if_the_text_has_many_commas(read: Read) -> None:
    read_rows = read(b"a|b\n1|one, two, three\n2|four, five\n3|six\n", ".csv")

    assert [row.values["b"] for row in read_rows] == ["one, two, three", "four, five", "six"]


def test_a_first_line_that_names_the_separator_for_excel_is_not_the_header(read: Read) -> None:
    assert read(b"sep=;\na;b\n1;2\n", ".csv") == [Row(3, {"a": "1", "b": "2"})]


def test_a_file_with_one_column_has_no_separator(read: Read) -> None:
    assert [row.values for row in read(b'a\nx, y; z\n"v, w"\nt\tu\n', ".csv")] == [
        {"a": "x, y; z"},
        {"a": "v, w"},
        {"a": "t\tu"},
    ]


def test_empty_columns_without_a_name_are_dropped(read: Read) -> None:
    read_rows = read(b"a,,b,,\n1,,2,,\n3,,4\n5, ,6,,,,\n", ".csv")

    assert [row.values for row in read_rows] == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}, {"a": "5", "b": "6"}]


def test_a_column_of_text_without_a_name_is_named_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b",a\n0,x\n1,y\n")
    rows = open_rows(tmp_path / "rows.csv")

    assert rows.header().names == ["a", "1"]
    assert [row.values for row in rows] == [{"1": "0", "a": "x"}, {"1": "1", "a": "y"}]


def test_without_a_header_columns_are_named_by_numbers_or_by_an_option(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"x|y|z\nu|v|w\n")

    numbered = open_rows(tmp_path / "rows.csv", ReadOptions(header=False))
    named = open_rows(tmp_path / "rows.csv", ReadOptions(header=("", "a", "")))

    assert [(row.line, row.values) for row in numbered] == [
        (1, {"1": "x", "2": "y", "3": "z"}),
        (2, {"1": "u", "2": "v", "3": "w"}),
    ]
    assert numbered.count() == named.count() == 2
    assert [row.values for row in named] == [{"a": "y"}, {"a": "v"}]
    assert (numbered.header().is_named, named.header().names) == (False, ["a"])


UNEVEN = (
    "and the header has 2 (cells are separated by commas; --delimiter names another separator, "
    "and text with it is quoted)"
)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"1", f"1 cells, {UNEVEN}"),
        (b"1,2,3", f"3 cells, {UNEVEN}"),
        (b"1,\xff", "not UTF-8 text (save it as CSV UTF-8, or give its --encoding, as cp1252)"),
        (b"1,\0", "a NUL character"),
        (
            b'"a, x" b,2',
            "text after a closing quote (a quote inside a quoted cell is written twice; --no-quotes reads all)",
        ),
        (b'1,"never closed', "a quote that opens a cell here is never closed (--no-quotes reads quotes as text)"),
    ],
)
def test_a_broken_row_has_a_problem_and_the_other_rows_are_read(read: Read, line: bytes, problem: str) -> None:
    assert read(b"a,b\n1,2\n" + line + b"\n3,4\n5,6\n", ".csv") == [
        Row(2, {"a": "1", "b": "2"}),
        Row(3, {}, problem),
        Row(4, {"a": "3", "b": "4"}),
        Row(5, {"a": "5", "b": "6"}),
    ]


def test_the_lines_after_a_broken_quote_are_read_again_one_by_one(read: Read) -> None:
    read_rows = read(b'a,b\n1,"x\n2,y\n3,"z" and more\n4,w\n', ".csv")

    assert [(row.line, row.values) for row in read_rows] == [
        (2, {}),
        (3, {"a": "2", "b": "y"}),
        (4, {"a": "3", "b": '"z" and more'}),
        (5, {"a": "4", "b": "w"}),
    ]
    assert read_rows[0].problem.startswith("text after a closing quote in line 4, to which the cell goes on")


def test_a_quote_that_makes_a_row_too_long_does_not_swallow_the_next_rows(read: Read) -> None:
    read_rows = read(b'a,b\n1,"x\n2,y\n3,z",5\n4,w\n', ".csv")

    assert [(row.line, bool(row.problem)) for row in read_rows] == [(2, True), (3, False), (4, True), (5, False)]
    assert "a quoted cell goes on to line 4; the lines in between are read as rows" in read_rows[0].problem


@pytest.mark.parametrize("separator", ["\t", "|"])
@pytest.mark.parametrize("second", ['3\t"z', '3\tz"', '3\t"z" said', '3\t"', "3\tz"])
def test_a_stray_quote_between_tabs_or_bars_is_text(tmp_path: Path, separator: str, second: str) -> None:
    lines = ["a\tb", '1\t"x', "2\ty", second, "4\tw"]
    (tmp_path / "rows.tsv").write_text("\n".join(lines).replace("\t", separator))
    rows = open_rows(tmp_path / "rows.tsv")

    read_rows = list(rows)

    assert [row.values for row in read_rows] == [
        {"a": line[0], "b": line.partition("\t")[2]} for line in lines[1:] if not line.startswith("a")
    ]
    (remark,) = rows.remarks()
    assert "(the first in line 2) a quote is text" in remark


def test_a_quoted_cell_of_several_lines_is_one_cell_also_between_tabs(read: Read) -> None:
    assert read(b'a\tb\n1\t"x\ny"\n2\tz\n', ".tsv") == [
        Row(2, {"a": "1", "b": "x\ny"}),
        Row(4, {"a": "2", "b": "z"}),
    ]


def test_a_quoted_cell_whose_lines_look_like_rows_is_one_cell_and_causes_a_remark(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b'a,b\n1,"x\n2,y\n3,z"\n4,w\n')
    rows = open_rows(tmp_path / "rows.csv")

    assert [row.values["b"] for row in rows] == ["x\n2,y\n3,z", "w"]
    (remark,) = rows.remarks()
    assert "in 1 row (the first in line 2) a quoted cell spans lines that look like rows" in remark
    assert [row.values["a"] for row in open_rows(tmp_path / "rows.csv", ReadOptions(quotes=False))] == list("1234")


@pytest.mark.long
def test_a_quote_that_stays_open_for_too_long_ends_with_its_line(read: Read) -> None:
    count = delimited.LONGEST // 1000 + 100
    lines = (b"x" * 996 + b",1\n") * count

    read_rows = read(b'a,b\n"open,1\n' + lines, ".csv")

    assert read_rows[0] == Row(2, {}, "longer than 16 million characters; a quote may not be closed")
    assert [row.line for row in read_rows[1:]] == list(range(3, count + 3))
    assert not any(row.problem for row in read_rows[1:])


def test_a_line_of_any_length_is_one_bad_row_even_after_an_open_quote(read: Read) -> None:
    long = b"x" * (2 * delimited.LONGEST + 5)

    read_rows = read(b'a,b\n"open,1\n2,2\n' + long + b"\n3,3\n", ".csv")

    assert [(row.line, row.values) for row in read_rows] == [
        (2, {}),
        (3, {"a": "2", "b": "2"}),
        (4, {}),
        (5, {"a": "3", "b": "3"}),
    ]


def test_a_large_cell_is_read_completely(read: Read) -> None:
    (row,) = read(b"a\n" + b"x" * 10_000_000 + b"\n", ".csv")

    assert len(row.values["a"]) == 10_000_000


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "has no header; its first line names the columns"),
        (b"\n\n", "has no header; its first line names the columns"),
        (b"a,b,a \n1,2,3\n", "two columns are named 'a'; give one another name$"),
        (b"a,\xff\n", "line 1: not UTF-8 text"),
        (b'\n"a" b,c\n', "line 2: text after a closing quote"),
    ],
)
def test_a_header_without_usable_column_names_is_refused_at_once(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "rows.csv").write_bytes(content)

    with pytest.raises(JobError, match=problem):
        open_rows(tmp_path / "rows.csv")


@given(st.lists(st.tuples(st.text(), st.text(min_size=1)), max_size=5))
def test_rows_written_by_the_csv_module_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    rows = [(left.replace("\0", ""), right.replace("\0", "0")) for left, right in rows]
    file = tmp_path_factory.mktemp("rows") / "rows.csv"
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows([("a", "b"), *rows])

    assert [row.values for row in open_rows(file)] == [
        {"a": left, "b": right} for left, right in rows if left.strip() or right.strip()
    ]


@given(st.lists(st.sampled_from([b'"', b",", b"\n", b"\r", b"x", b"\0", b"\xff"]), max_size=40).map(b"".join))
def test_every_line_of_a_broken_file_is_read_and_none_twice(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.mktemp("rows") / "rows.csv"
    file.write_bytes(b"a,b\n" + content)
    rows = open_rows(file)
    lines = [row.line for row in rows]

    assert lines == sorted(set(lines))
    assert rows.count() == len(lines)

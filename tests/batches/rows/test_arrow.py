"""Rows of Arrow and Feather files, and of Arrow streams."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather, ipc

from replicate_job.batches.rows import ReadOptions, Row, arrow_messages, open_rows
from replicate_job.batches.rows.lines import HEAVY
from replicate_job.batches.rows.record_batches import MOST_VALUES
from replicate_job.errors import JobError
from replicate_job.wire.bounds import ROW

TABLE = pa.table({"a": ["x", None, "z"], "n": pa.array([1, 2, None], pa.int64())})
ROWS = [Row(1, {"a": "x", "n": 1}), Row(2, {"n": 2}), Row(3, {"a": "z"})]

DICTIONARY = pa.DictionaryArray.from_arrays([0, 1, 1], ["x", "yy"])


def _file(sink: Any) -> None:
    with ipc.new_file(sink, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=2)


def _stream(sink: Any) -> None:
    with ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=2)


def _feather(sink: Any) -> None:
    feather.write_feather(TABLE, sink)


@pytest.mark.parametrize("write", [_file, _stream, _feather])
@pytest.mark.parametrize("suffix", [".arrow", ".feather"])
def test_files_streams_and_feather_have_the_same_rows(
    tmp_path: Path, write: Callable[[Any], None], suffix: str
) -> None:
    file = tmp_path / f"rows{suffix}"
    write(str(file))

    rows = open_rows(file)

    assert list(rows) == list(rows) == ROWS
    assert (rows.count(), rows.count(2), rows.typed) == (3, 2, True)
    assert list(rows.header().names or ()) == ["a", "n"]


def test_an_arrow_stream_is_read_from_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = io.BytesIO()
    _stream(sink)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sink.getvalue())))

    rows = open_rows("-", ReadOptions("arrow"))

    assert rows.count() is None
    assert list(rows) == ROWS


@pytest.mark.parametrize("content", [b"", b"ARROW1", b"FEA1", b"a,b\n1,2\n", b"ARROW1" + b"\xff" * 100 + b"ARROW1"])
def test_a_file_that_is_not_in_an_arrow_format_is_refused_at_once(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rows.arrow").write_bytes(content)

    with pytest.raises(JobError, match=r"rows\.arrow is not an Arrow file, or is damaged: [^\n]+$"):
        open_rows(tmp_path / "rows.arrow")


def test_the_rows_before_a_damaged_part_are_read(tmp_path: Path) -> None:
    sink = io.BytesIO()
    _stream(sink)
    content = sink.getvalue()
    (tmp_path / "rows.arrow").write_bytes(content[: len(content) * 2 // 3])

    rows = open_rows(tmp_path / "rows.arrow")
    read_rows = list(rows)

    assert read_rows[:2] == ROWS[:2]
    assert read_rows[2:] == [Row(3, {}, "the file is damaged here, and ends")]
    assert rows.count() == 3


def test_two_columns_with_the_same_name_are_refused_at_once(tmp_path: Path) -> None:
    feather.write_feather(pa.table([[1], [2]], names=["a", "b"]), tmp_path / "rows.feather")
    with ipc.new_file(str(tmp_path / "two.arrow"), pa.schema([("a", pa.int64()), ("a", pa.int64())])):
        pass

    with pytest.raises(JobError, match="two columns are named 'a'"):
        open_rows(tmp_path / "two.arrow")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: pa.array(["x" * (ROW + 100)]), "the cell is larger than 16 MB"),
        (lambda: pa.array(["x" * (ROW + 100)], pa.string_view()), "the cell is larger than 16 MB"),
        (lambda: pa.DictionaryArray.from_arrays([0], ["x" * (ROW + 100)]), "the cell is larger than 16 MB"),
        (lambda: pa.array([pa.nulls(MOST_VALUES + 1, pa.int8()).fill_null(0)], pa.list_(pa.int8())), HEAVY),
        (lambda: pa.array([[""] * (MOST_VALUES + 1)], pa.list_(pa.string_view())), HEAVY),
        (lambda: pa.DictionaryArray.from_arrays([0], [[0] * (MOST_VALUES + 1)]), HEAVY),
        (lambda: pa.array([[None] * (MOST_VALUES + 1)], pa.list_(pa.null())), HEAVY),
        (lambda: pa.array([[{"a": 1}] * MOST_VALUES]), HEAVY),
        (lambda: pa.ListArray.from_arrays([0, 99], pa.DictionaryArray.from_arrays([0] * 99, ["x" * 1_000_000])), HEAVY),
        (
            lambda: pa.ListArray.from_arrays([0, 99], pa.DictionaryArray.from_arrays([0] * 99, [["x" * 1_000_000]])),
            HEAVY,
        ),
        (lambda: pa.array([[(n, 1) for n in range(MOST_VALUES)]], pa.map_(pa.int32(), pa.int8())), HEAVY),
    ],
    ids=[
        "text",
        "view",
        "text of a dictionary",
        "list",
        "list of views",
        "list in a dictionary",
        "list of nulls",
        "list of objects",
        "list of texts of a dictionary",
        "list of lists of a dictionary",
        "map",
    ],
)
def test_a_cell_that_is_too_large_is_reported_as_a_problem_of_its_row(
    tmp_path: Path, make: Callable[[], pa.Array], problem: str
) -> None:
    assert list(open_rows(write(tmp_path, make()))) == [Row(1, {}, f"a: {problem}")]


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda: pa.array(["x" * 100_000] * 100, pa.string_view()), "x" * 100_000),
        (lambda: pa.array([["x" * 100_000]] * 100, pa.list_(pa.string_view())), ["x" * 100_000]),
        (lambda: pa.DictionaryArray.from_arrays([0] * 100, ["x" * 2_000_000]), "x" * 2_000_000),
        (lambda: pa.DictionaryArray.from_arrays([1] * 100, pa.array(range(300_000))), 1),
    ],
    ids=["views", "lists of views", "a dictionary of text", "a dictionary of numbers"],
)
def test_a_value_that_is_stored_once_for_many_rows_is_read_for_each_of_them(
    tmp_path: Path, make: Callable[[], pa.Array], value: Any
) -> None:
    rows = list(open_rows(write(tmp_path, make())))
    assert len(rows) == 100
    assert all((row.values, row.problem) == ({"a": value}, "") for row in rows)


@pytest.mark.parametrize("write", [_file, _stream, _feather])
def test_reading_ends_with_a_problem_at_a_record_batch_that_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Any], None]
) -> None:
    monkeypatch.setattr(arrow_messages, "LARGEST_BATCH", 20)
    write(str(tmp_path / "rows.arrow"))

    rows = open_rows(tmp_path / "rows.arrow")

    assert rows.count() == 1
    assert [(row.line, row.values, row.problem.partition(",")[0]) for row in rows] == [
        (1, {}, "a batch of rows is larger than 0 MB")
    ]


@pytest.mark.parametrize("column", [DICTIONARY, DICTIONARY.cast(pa.string())], ids=["dictionary", "text"])
@given(st.data())
def test_a_damaged_file_is_refused_or_ends_where_it_is_damaged(
    tmp_path_factory: pytest.TempPathFactory, column: pa.Array, data: st.DataObject
) -> None:
    file = write(tmp_path_factory.mktemp("rows"), column)
    content = bytearray(file.read_bytes())
    for _ in range(3):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)

    try:
        rows = open_rows(file)
    except JobError as error:
        assert "\n" not in str(error)  # noqa: PT017 - most are refused, but not all
    else:
        assert len(list(rows)) == rows.count()


def write(folder: Path, column: pa.Array) -> Path:
    table = pa.table({"a": column})
    with ipc.new_file(str(folder / "rows.arrow"), table.schema) as writer:
        writer.write_table(table)
    return folder / "rows.arrow"

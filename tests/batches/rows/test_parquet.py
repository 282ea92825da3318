"""Rows of Parquet files."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from replicate_job.batches.rows import Row, open_rows
from replicate_job.errors import JobError


def _written(path: Path, values: list[Any], kind: pa.DataType | None = None) -> Path:
    parquet.write_table(pa.table({"a": pa.array(values, kind), "id": list(range(len(values)))}), path / "rows.parquet")
    return path / "rows.parquet"


def test_a_row_has_the_values_of_its_columns_and_is_numbered_from_1(tmp_path: Path) -> None:
    rows = open_rows(_written(tmp_path, ["x", "y"]))

    assert list(rows) == [Row(1, {"a": "x", "id": 0}), Row(2, {"a": "y", "id": 1})]
    assert rows.count() == 2
    assert rows.typed


@pytest.mark.parametrize(
    ("value", "kind", "read"),
    [
        (4, pa.int8(), 4),
        (2**64 - 1, pa.uint64(), 2**64 - 1),
        (0.5, pa.float16(), 0.5),
        (0.5, pa.float64(), 0.5),
        (True, pa.bool_(), True),
        ("x", pa.large_string(), "x"),
        ("x", pa.dictionary(pa.int8(), pa.string()), "x"),
        (b"caf\xc3\xa9", pa.binary(), "café"),
        (Decimal("4.50"), pa.decimal128(10, 2), 4.5),
        (Decimal("4.00"), pa.decimal128(10, 2), 4),
        (date(2024, 5, 1), pa.date32(), "2024-05-01"),
        (time(1, 2, 3), pa.time64("ns"), "01:02:03"),
        (timedelta(seconds=1.5), pa.duration("us"), 1.5),
        (datetime(2024, 5, 1, 12, tzinfo=UTC), pa.timestamp("us", "UTC"), "2024-05-01T12:00:00+00:00"),
        (1_700_000_000_123_456_789, pa.timestamp("ns"), "2023-11-14T22:13:20.123456"),
        ([1, None, 2], pa.list_(pa.int64()), [1, None, 2]),
        ({"x": 1, "y": None}, pa.struct({"x": pa.int64(), "y": pa.string()}), {"x": 1}),
        ([("x", 1), ("y", 2)], pa.map_(pa.string(), pa.int64()), {"x": 1, "y": 2}),
    ],
)
def test_a_value_is_converted_to_its_json_form(tmp_path: Path, value: Any, kind: pa.DataType, read: Any) -> None:
    (row,) = open_rows(_written(tmp_path, [value], kind))

    assert row == Row(1, {"a": read, "id": 0})
    assert type(row.values["a"]) is type(read)


@pytest.mark.parametrize(("value", "kind"), [(None, pa.string()), (float("nan"), pa.float32())])
def test_a_cell_with_null_or_nan_gives_no_input(tmp_path: Path, value: Any, kind: pa.DataType) -> None:
    assert list(open_rows(_written(tmp_path, [value], kind))) == [Row(1, {"id": 0})]


@pytest.mark.parametrize(
    ("value", "kind", "problem"),
    [
        (b"\xff\xd8\xff", pa.binary(), "a: bytes that are not UTF-8 text; give a path (@path) or a URL instead"),
        (float("inf"), pa.float64(), "a: inf is not a number that JSON can carry"),
        ([float("nan")], pa.list_(pa.float64()), "a: nan is not a number that JSON can carry"),
    ],
)
def test_a_value_that_json_cannot_carry_is_one_bad_row(
    tmp_path: Path, value: Any, kind: pa.DataType, problem: str
) -> None:
    read_rows = list(open_rows(_written(tmp_path, [None, value, None], kind)))

    assert read_rows == [Row(1, {"id": 0}), Row(2, {}, problem), Row(3, {"id": 2})]


def test_a_time_that_python_cannot_represent_is_one_bad_row(tmp_path: Path) -> None:
    first, second, third = open_rows(_written(tmp_path, [0, 2**62, 0], pa.timestamp("us")))

    assert (first.problem, third.problem) == ("", "")
    assert second.problem
    assert "\n" not in second.problem


def test_rows_are_numbered_continuously_across_batches_and_row_groups(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"n": list(range(1, 5001))}), tmp_path / "rows.parquet", row_group_size=1500)

    assert all(row.line == row.values["n"] for row in open_rows(tmp_path / "rows.parquet"))
    assert open_rows(tmp_path / "rows.parquet").count() == 5000


def test_the_rows_of_a_damaged_row_group_are_bad_and_those_after_it_are_read(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    table = pa.table({"n": list(range(1, 301))})
    parquet.write_table(table, file, row_group_size=100, compression="zstd", use_dictionary=False)
    column = parquet.ParquetFile(file).metadata.row_group(1).column(0)
    data = bytearray(file.read_bytes())
    data[column.data_page_offset : column.data_page_offset + column.total_compressed_size] = (
        b"\xff" * column.total_compressed_size
    )
    file.write_bytes(data)

    read_rows = list(open_rows(file))

    assert [row.line for row in read_rows] == list(range(1, 301))
    assert [row.line for row in read_rows if row.problem == "the file is damaged here"] == list(range(101, 201))
    assert all(row.values == {"n": row.line} for row in read_rows if not row.problem)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"a,b\n1,2\n", b"PAR1" + b"\xff" * 100 + b"PAR1"])
def test_a_file_that_is_not_in_parquet_format_is_refused_at_once(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rows.parquet").write_bytes(content)

    with pytest.raises(JobError, match=r"rows\.parquet is not a Parquet file, or is damaged: [^\n]+$"):
        open_rows(tmp_path / "rows.parquet")


@settings(derandomize=True)  # the examples depend on the name: others may crash pyarrow
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=5))
def test_a_damaged_file_is_refused_or_has_every_row_that_it_says(
    tmp_path_factory: pytest.TempPathFactory, damages: list[tuple[int, int]]
) -> None:
    file = tmp_path_factory.mktemp("rows") / "rows.parquet"
    parquet.write_table(pa.table({"n": list(range(100)), "a": ["x"] * 100}), file, row_group_size=40)
    data = bytearray(file.read_bytes())
    for place, byte in damages:
        data[place % len(data)] = byte
    file.write_bytes(data)

    try:
        rows = open_rows(file)
    except JobError as error:
        assert "\n" not in str(error)  # noqa: PT017 - most are refused, but not all
    else:
        assert [row.line for row in rows] == list(range(1, (rows.count() or 0) + 1))


def test_two_columns_with_the_same_name_are_refused_at_once(tmp_path: Path) -> None:
    parquet.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), tmp_path / "rows.parquet")

    with pytest.raises(JobError, match=r"two columns are named 'a'; give one another name$"):
        open_rows(tmp_path / "rows.parquet")


def test_without_pyarrow_the_message_says_how_to_install_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from replicate_job.errors import JobError\n"
        "from replicate_job.batches.rows import open_rows\n"
        "for _ in range(2):\n"
        "    try: open_rows(sys.argv[1])\n"
        "    except JobError as error: print(error)\n"
    )
    file = _written(tmp_path, ["x"])

    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["reading Parquet and Arrow needs pyarrow: pip install 'pyarrow>=17'"] * 2

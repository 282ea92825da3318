"""The headers of a Parquet file's pages, compared with pyarrow's metadata of each column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import parquet

from replicate_job.batches.rows import open_rows
from replicate_job.batches.rows import parquet as ours
from replicate_job.batches.rows.parquet_pages import pages_of

TABLES = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | st.text(max_size=50),
            "number": st.none() | st.integers(-(2**40), 2**40),
            "list": st.none() | st.lists(st.none() | st.integers(0, 9), max_size=5),
            "flag": st.none() | st.booleans(),
        }
    ),
    min_size=1,
    max_size=50,
)
KINDS = pa.schema({"text": pa.string(), "number": pa.int64(), "list": pa.list_(pa.int8()), "flag": pa.bool_()})
OPTIONS = st.fixed_dictionaries(
    {
        "compression": st.sampled_from(["none", "snappy", "gzip", "zstd"]),
        "use_dictionary": st.booleans(),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "write_page_checksum": st.booleans(),
        "write_page_index": st.booleans(),
        "write_statistics": st.booleans(),
        "data_page_size": st.sampled_from([16, 1024**2]),
        "write_batch_size": st.sampled_from([1, 7, 1024]),
        "row_group_size": st.sampled_from([9, 1000]),
    }
)


@given(TABLES, OPTIONS)
def test_the_pages_of_a_column_have_all_its_values_and_bytes(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], options: dict[str, Any]
) -> None:
    written = tmp_path_factory.getbasetemp() / "pages.parquet"
    parquet.write_table(pa.Table.from_pylist(rows, KINDS), written, **options)
    facts = parquet.ParquetFile(written).metadata
    with written.open("rb") as file:
        for group in map(facts.row_group, range(facts.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                pages = list(pages_of(file, column))
                headers = sum(page.header for page in pages)
                assert sum(page.values for page in pages) == column.num_values
                assert sum(page.decompressed for page in pages) == column.total_uncompressed_size - headers
                assert sum(page.compressed for page in pages) == column.total_compressed_size - headers
                assert any(page.is_shared for page in pages) == column.has_dictionary_page


def test_a_page_that_is_too_large_is_an_error_of_its_own_row_group_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "_PAGE", 1000)
    table = pa.table({"text": ["a", "b", "c" * 1001, "d", "e"]})
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=2, use_dictionary=False)

    read_rows = list(open_rows(tmp_path / "rows.parquet"))

    problem = "text: a page of the row group is larger than 0 MB; "
    problem += "write the table with fewer rows a row group, or smaller cells"
    assert [row.problem for row in read_rows] == ["", "", problem, problem, ""]
    assert [row.line for row in read_rows] == [1, 2, 3, 4, 5]


@given(st.binary(max_size=200))
@example(b"\x19" * 10_000)
@example(b"\x1c" * 10_000)
@example(b"\x18" + b"\xff" * 9 + b"\x01")
def test_a_header_that_cannot_be_read_is_a_value_error(tmp_path_factory: pytest.TempPathFactory, header: bytes) -> None:
    written = tmp_path_factory.getbasetemp() / "page.parquet"
    parquet.write_table(pa.table({"n": [1]}), written)
    column = parquet.ParquetFile(written).metadata.row_group(0).column(0)
    written.write_bytes(bytes(4) + header)
    with written.open("rb") as file:
        try:
            assert all(page.size >= 0 for page in pages_of(file, column))
        except ValueError as error:
            assert str(error).startswith("the header of a page")  # noqa: PT017 - a few are headers

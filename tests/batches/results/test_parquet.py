"""Results in Parquet: columns have types whatever the rows hold, and no other file is destroyed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from replicate_job.batches.results.parquet import check_parquet, write_parquet
from replicate_job.batches.results.record import encode, to_record
from replicate_job.errors import JobError, OutputError
from replicate_job.job import Result

if TYPE_CHECKING:
    from pathlib import Path


def result(line: int = 1, **fields: Any) -> Result:
    given: dict[str, Any] = {
        "prediction_id": f"p{line}",
        "status": "succeeded",
        "model": "acme/own",
        "input": {},
        "line": line,
    }
    return Result(**(given | fields))


def write(folder: Path, *results: Result) -> pa.Table:
    lines, path = folder / ".r.parquet.jsonl", folder / "r.parquet"
    lines.write_bytes(encode(to_record(each, folder) for each in results))
    write_parquet(lines, path, "batch")
    return parquet.read_table(path)


def test_a_row_has_its_fields_in_typed_columns(tmp_path: Path) -> None:
    table = write(
        tmp_path,
        result(
            3,
            key="batch/3-a+seed=1",
            grid={"seed": 1},
            input={"prompt": "a fox", "seed": 1, "images": ["a"]},
            output=["Once", " upon"],
            files=(tmp_path / "outputs" / "a.png",),
            created_at="2025-03-14T10:00:00.5Z",
            completed_at="2025-03-14T10:00:02Z",
            metrics={"predict_time": 1.25},
        ),
    )
    [row] = table.to_pylist()
    assert {name: value for name, value in row.items() if value is not None} == {
        "line": 3,
        "key": "batch/3-a+seed=1",
        "status": "succeeded",
        "model": "acme/own",
        "prediction_id": "p3",
        "grid": {"seed": 1},
        "input": {"prompt": "a fox", "seed": 1, "images": '["a"]'},
        "output": '["Once"," upon"]',
        "text": "Once upon",
        "files": ["outputs/a.png"],
        "created_at": datetime(2025, 3, 14, 10, 0, 0, 500000, tzinfo=UTC),
        "completed_at": datetime(2025, 3, 14, 10, 0, 2, tzinfo=UTC),
        "predict_time": 1.25,
    }


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        ([1, 2, None], pa.int64(), [1, 2, None]),
        ([1, 0.5], pa.float64(), [1.0, 0.5]),
        ([True, False], pa.bool_(), [True, False]),
        (["a", 1, {"b": 2}], pa.string(), ["a", "1", '{"b":2}']),
        ([2**63, 1], pa.string(), [str(2**63), "1"]),
        ([None], pa.string(), [None]),
    ],
)
def test_a_field_of_the_input_has_the_type_of_its_values(
    tmp_path: Path, values: list[Any], kind: pa.DataType, read: list[Any]
) -> None:
    table = write(tmp_path, *(result(line, input={"x": value}) for line, value in enumerate(values, 1)))
    assert table.schema.field("input").type.field("x").type == kind
    assert [row["input"]["x"] for row in table.to_pylist()] == read


def test_rows_without_a_prediction_are_written_too(tmp_path: Path) -> None:
    table = write(tmp_path, result(1, prediction_id="", status="error", error={"a": 1}, problem="it does not fit"))
    [row] = table.to_pylist()
    assert (row["status"], row["prediction_id"], row["error"], row["problem"]) == (
        "error",
        None,
        '{"a":1}',
        "it does not fit",
    )
    assert "grid" not in table.column_names


def test_without_results_the_file_has_no_rows(tmp_path: Path) -> None:
    assert write(tmp_path).num_rows == 0


def test_every_row_is_in_the_file_if_they_take_several_writes(tmp_path: Path) -> None:
    table = write(tmp_path, *(result(line, input={"x": line}) for line in range(1, 6002)))
    assert table["line"].to_pylist() == list(range(1, 6002))


def test_a_file_with_other_content_or_of_another_batch_is_not_replaced(tmp_path: Path) -> None:
    write(tmp_path, result())
    check_parquet(tmp_path / "r.parquet", "batch")
    with pytest.raises(JobError, match="the results of another batch"):
        check_parquet(tmp_path / "r.parquet", "other")
    for name, content in (("a.parquet", b"notes"), ("b.parquet", None)):
        if content is None:
            parquet.write_table(pa.table({"a": [1]}), tmp_path / name)
        else:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(JobError, match="is not a results file"):
            check_parquet(tmp_path / name, "batch")


def test_a_file_that_cannot_be_written_raises_a_one_line_error_and_leaves_no_part_of_itself(tmp_path: Path) -> None:
    (tmp_path / "r.parquet").mkdir()
    with pytest.raises(OutputError, match=r"r\.parquet cannot be written: "):
        write(tmp_path, result())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".r.parquet.jsonl", "r.parquet"]

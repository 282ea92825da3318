"""A row's result is written as a line and read back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.batches.results.record import encode, read_records, to_record
from replicate_job.errors import JobError
from replicate_job.job import Result
from replicate_job.pricing.charge import Charge

TEN = ["prediction_id", "status", "model", "input", "output", "error", "created_at", "completed_at", "urls", "metrics"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_a_record_has_the_line_the_key_the_ten_fields_and_the_files(
    make: Callable[..., Result], tmp_path: Path
) -> None:
    record = to_record(make(7), tmp_path)

    assert list(record) == ["line", "key", *TEN, "files", "cost", "currency", "cost_source", "price_date"]
    assert (record["line"], record["key"], record["prediction_id"], record["files"]) == (7, "b-7", "id7", [])


def test_files_below_the_folder_have_relative_paths_and_others_absolute_ones(
    make: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = (tmp_path / "r" / "out" / "a b.png", Path("r/b.png"), tmp_path / "rx" / "c.png")

    record = to_record(make(files=files), Path("r"))

    assert record["files"] == ["out/a b.png", "b.png", str(tmp_path / "rx" / "c.png")]


def test_an_object_in_a_store_is_recorded_and_read_back_as_its_url(make: Callable[..., Result], tmp_path: Path) -> None:
    files = ("s3://bucket/a//b.png", tmp_path / "c.png")
    results = tmp_path / "results.jsonl"
    results.write_bytes(encode([to_record(make(files=files), tmp_path)]))
    (found,) = read_records(results)
    assert found.files == files


def test_the_record_of_a_row_without_a_prediction_has_nulls_and_the_problem_as_its_error(tmp_path: Path) -> None:
    row = Result("", "error", "", {}, line=3, key="b-3", problem="no such file")

    record = to_record(row, tmp_path)

    assert [name for name in TEN if record[name] is not None] == ["status", "error"]
    assert (record["line"], record["key"], record["error"], record["problem"]) == (
        3,
        "b-3",
        "no such file",
        "no such file",
    )


def test_a_problem_with_the_outputs_does_not_change_the_status(make: Callable[..., Result], tmp_path: Path) -> None:
    record = to_record(make(problem="disk full"), tmp_path)

    assert (record["status"], record["error"], record["problem"]) == ("succeeded", None, "disk full")


@given(JSON, JSON, st.dictionaries(st.text(), JSON, max_size=3), st.lists(st.sampled_from(["a.png", "é/b c.txt"])))
def test_a_written_record_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, output: object, error: object, inputs: dict[str, object], names: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("r")
    files = tuple(folder / name for name in names)
    row = Result("id", "failed", "m", inputs, output, error, "t", None, {"get": "u"}, {"n": 1}, files, "k", line=4)
    path = folder / "r.jsonl"
    path.write_bytes(encode([to_record(row, folder)]))

    assert list(read_records(path)) == [row]


def test_a_cost_is_read_back_exactly_even_if_the_price_tables_changed(
    make: Callable[..., Result], tmp_path: Path
) -> None:
    known = Charge(Decimal("0.00031415926535897932384626"), "user", date(2026, 11, 2), "idle time")
    lines = encode([to_record(make(price=known), tmp_path), to_record(make(2), tmp_path)])
    assert (
        b'"cost":0.00031415926535897932384626,"currency":"USD","cost_source":"user","price_date":"2026-11-02"' in lines
    )
    assert b'"cost":null,"currency":null,"cost_source":null,"price_date":null' in lines
    (tmp_path / "r.jsonl").write_bytes(lines)
    first, second = read_records(tmp_path / "r.jsonl")
    assert (first.charge, second.charge) == (known, None)


def test_lines_that_are_not_records_are_skipped(make: Callable[..., Result], tmp_path: Path) -> None:
    good = [encode([to_record(make(line), tmp_path)]) for line in (1, 2, 3)]
    bad = [b"\n", b"null\n", b"[1]\n", b'{"line":1}\n', b'{"line":"1","status":"x"}\n', b'{"line":-1,"status":"x"}\n']
    bad += [b'{"line":1,"status":"x","files":"a"}\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"{\n", b"\0\0\0\n"]
    path = tmp_path / "r.jsonl"
    path.write_bytes(good[0] + b"".join(bad) + good[1] + good[2][:-20])

    assert [result.line for result in read_records(path)] == [1, 2]


def test_a_line_with_null_for_everything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"line": 2, "status": "error", "key": None} | dict.fromkeys(["input", "urls", "files"])))

    assert list(read_records(path)) == [Result("", "error", "", {}, line=2)]


def test_a_row_with_a_file_name_that_is_not_utf8_still_gets_its_record(
    make: Callable[..., Result], tmp_path: Path
) -> None:
    odd = make(files=(tmp_path / os.fsdecode(b"\xff.png"),))

    lines = encode([to_record(odd, tmp_path), to_record(make(2), tmp_path)]).splitlines()

    assert [json.loads(line)["files"] for line in lines] == [["?.png"], []]


def test_a_missing_results_file_raises_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"r\.jsonl cannot be read: No such file or directory; name a file"):
        list(read_records(tmp_path / "r.jsonl"))

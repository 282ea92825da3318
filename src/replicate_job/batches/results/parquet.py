"""Results as a Parquet file with typed columns, written from the results file once a batch ends."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from replicate_job import extras
from replicate_job.batches.results.record import read_records, relative
from replicate_job.errors import JobError, OutputError
from replicate_job.job import Result
from replicate_job.outputs.discover import as_text
from replicate_job.quantity import seconds
from replicate_job.wire.prediction import parse_time

try:
    import pyarrow as pa
    from pyarrow import parquet
except ImportError:
    raise JobError(f"results in Parquet need pyarrow: {extras.advice('parquet')}") from None

_BATCH = b"replicate-job-batch"
_ROWS = 5000  # rows that are written together
_MOST_FIELDS = 500  # the most fields of an input; a model has a few dozen
_TIME = pa.timestamp("us", "UTC")
_INT64 = 2**63
_TYPES = {
    frozenset({"bool"}): pa.bool_(),
    frozenset({"int"}): pa.int64(),
    frozenset({"int", "float"}): pa.float64(),
    frozenset({"float"}): pa.float64(),
}
_COLUMNS = {
    "line": pa.int64(),
    "key": pa.string(),
    "status": pa.string(),
    "model": pa.string(),
    "prediction_id": pa.string(),
    "output": pa.string(),
    "text": pa.string(),
    "files": pa.list_(pa.string()),
    "error": pa.string(),
    "problem": pa.string(),
    "created_at": _TIME,
    "completed_at": _TIME,
    "predict_time": pa.float64(),
    "total_time": pa.float64(),
    "stand_in": pa.string(),
    "logs": pa.string(),
}


def check_parquet(path: Path, batch: str) -> None:
    """Raise JobError if the file exists and is not a results file of this batch. Only such a file may be replaced."""
    if not path.exists():
        return
    try:
        found = (parquet.read_schema(path).metadata or {}).get(_BATCH)
    except (pa.ArrowException, OSError, ValueError):
        found = None
    if found is None:
        raise JobError(f"{path} exists and is not a results file: name another file")
    if found != batch.encode(errors="replace"):
        raise JobError(f"{path} holds the results of another batch: name another file")


def write_parquet(lines: Path, path: Path, batch: str) -> None:
    """Write the results in ``lines`` (a file of JSON Lines) to ``path``, in their order, in a fixed amount of memory.

    ``input`` and ``grid`` are structs, whose fields have the types of their values. A field with values of several
    types, or with lists or objects, is JSON text, and so is ``output``. An old file is replaced once the new one is
    complete. Raises OutputError.
    """
    structs = _structs(lines)
    fields = {**dict(list(_COLUMNS.items())[:5]), **structs, **_COLUMNS}
    schema = pa.schema(list(fields.items()), {_BATCH: batch.encode(errors="replace")})
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    folder = Path(os.path.realpath(path)).parent
    try:
        with parquet.ParquetWriter(part, schema, compression="zstd") as writer:
            results = read_records(lines)
            while some := list(islice(results, _ROWS)):
                writer.write_table(pa.Table.from_pylist([_row(result, structs, folder) for result in some], schema))
        part.replace(path)
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{path} cannot be written: {reason}; make room, and give the same command again") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _structs(lines: Path) -> dict[str, Any]:
    """The types of the columns ``grid`` and ``input``, from all values. A column that is always empty is left out."""
    kinds: dict[str, dict[str, set[str]]] = {"grid": {}, "input": {}}
    for result in read_records(lines):
        for column, values in (("grid", result.grid), ("input", result.input)):
            for name, value in values.items():
                if name in kinds[column] or len(kinds[column]) < _MOST_FIELDS:
                    kinds[column].setdefault(name, set()).add(_kind(value))
    return {
        column: pa.struct(
            [(name, _TYPES.get(frozenset(found - {"null"}), pa.string())) for name, found in names.items()]
        )
        for column, names in kinds.items()
        if names
    }


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -_INT64 <= value < _INT64 else "other"
    return "null" if value is None else "float" if isinstance(value, float) else "other"


def _row(result: Result, structs: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    metrics = result.metrics
    row: dict[str, Any] = {
        "line": result.line,
        "key": result.key or None,
        "status": result.status,
        "model": result.model or None,
        "prediction_id": result.prediction_id or None,
        "output": None if result.output is None else _json(result.output),
        "text": as_text(result.output, origin=result.urls.get("get")),
        "files": [relative(path, folder) for path in result.files],
        "error": _words(result.error),
        "problem": result.problem or None,
        "created_at": parse_time(result.created_at),
        "completed_at": parse_time(result.completed_at),
        "predict_time": seconds(metrics.get("predict_time")),
        "total_time": seconds(metrics.get("total_time")),
        "stand_in": result.stand_in or None,
        "logs": result.logs or None,
    }
    for column, values in (("grid", result.grid), ("input", result.input)):
        if column in structs:
            row[column] = dict(_fields(values, structs[column]))
    return row


def _fields(values: Mapping[str, Any], struct: Any) -> Iterator[tuple[str, Any]]:
    for field in struct:
        value = values.get(field.name)
        yield field.name, _words(value) if field.type == pa.string() else value


def _words(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

"""A row's result as one line of JSON, and back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from replicate_job.decoding import decoder
from replicate_job.errors import JobError
from replicate_job.inputs.sent_file import name_files
from replicate_job.job import Kept, Result, read_kept
from replicate_job.pricing.charge import Charge
from replicate_job.pricing.price import CURRENCY

NO_PREDICTION = "error"
"""The status in the record of a row without a known prediction."""
LOGS = 16_000
"""The most characters that are stored of a row's logs, from their end, where the error is.

Whole logs of a million failed rows would take too much room."""


_ATTEMPT = ("status", "prediction_id", "model", "error", "created_at", "completed_at", "metrics")


class _Earlier(msgspec.Struct):
    """An earlier attempt of the row. Its fields mean the same as the fields of the line."""

    status: str
    prediction_id: str | None = None
    model: str | None = None
    error: Any = None
    created_at: str | None = None
    completed_at: str | None = None
    metrics: dict[str, Any] | None = None
    cost: Decimal | None = None
    cost_source: Literal["table", "user", "learned"] | None = None
    price_date: date | None = None
    cost_excludes: str = ""


class _Record(msgspec.Struct):
    """A line of the results file. All fields but ``line`` and ``status`` may be null or missing."""

    line: Annotated[int, msgspec.Meta(ge=0)]
    status: str
    key: str | None = None
    prediction_id: str | None = None
    model: str | None = None
    input: dict[str, Any] | None = None
    output: Any = None
    error: Any = None
    created_at: str | None = None
    completed_at: str | None = None
    urls: dict[str, str] | None = None
    metrics: dict[str, Any] | None = None
    files: tuple[str, ...] | None = None
    problem: str | None = None
    stand_in: str | None = None
    logs: str | None = None
    earlier: tuple[_Earlier, ...] = ()
    reused: bool = False
    grid: dict[str, Any] | None = None
    cost: Decimal | None = None
    cost_source: Literal["table", "user", "learned"] | None = None
    price_date: date | None = None
    cost_excludes: str = ""
    steps: dict[str, _Record] | None = None


_encoder = msgspec.json.Encoder(enc_hook=str, decimal_format="number")  # a Path in an input becomes text
_decoder = decoder(_Record)


def to_record(result: Result, folder: Path) -> dict[str, Any]:
    """The fields of a line: ``line``, ``key``, the ten fields of the original run job's response, and ``files``.

    Four further fields are always there: ``cost``, ``currency``, ``cost_source`` and ``price_date``. They are null if
    the cost is not known.

    Other fields are left out if they are empty. ``grid`` follows the key if the batch has a grid. ``cost_excludes``
    says what is billed and not part of ``cost``. ``logs`` has the last ``LOGS`` characters of the model's logs, for a
    row that did not succeed. ``earlier`` has the attempts before this one. ``steps`` has a record of each step of a
    chain, with its cost, and the row's cost is their sum. ``problem``, ``stand_in`` and ``reused`` are as in
    ``Result``.

    A file that was sent inside the request is named in ``input`` (``SentFile``), without its content. Paths in
    ``files`` are relative to ``folder``, the results file's folder, if they are below it, else absolute. An object in a
    store is named by its URL. If the row has no known prediction, the prediction's fields are null, and ``error`` is
    the problem.
    """
    grid = {"grid": result.grid} if result.grid else {}
    record: dict[str, Any] = {"line": result.line, "key": result.key, **grid, **result.to_dict()}
    record.pop("problem", None)  # the problem comes last, and only if there is one
    record["input"] = name_files(result.input, result.sent)
    if result.status == NO_PREDICTION:
        record |= {name: value or None for name, value in record.items() if name != "line"}
        record["error"] = result.error or result.problem
    record["files"] = [relative(path, folder) for path in result.files]
    record |= _cost(result)
    if result.problem:
        record["problem"] = result.problem
    if result.stand_in:
        record["stand_in"] = result.stand_in
    if result.logs and (result.problem or result.status != "succeeded"):
        record["logs"] = tail(result.logs, LOGS)
    if result.earlier:
        record["earlier"] = [{name: getattr(each, name) for name in _ATTEMPT} | _cost(each) for each in result.earlier]
    if result.reused:
        record["reused"] = True
    if result.steps:
        record["steps"] = {name: to_record(step, folder) for name, step in result.steps.items()}
    return record


_NO_COST: dict[str, Any] = dict.fromkeys(("cost", "currency", "cost_source", "price_date"))  # only copied


def _cost(result: Result) -> dict[str, Any]:
    charge = result.charge
    if charge is None:
        return _NO_COST
    known = {"cost": charge.cost, "currency": CURRENCY, "cost_source": charge.source, "price_date": charge.date}
    return known | ({"cost_excludes": charge.excludes} if charge.excludes else {})


def tail(text: str, most: int) -> str:
    """The last ``most`` characters of the text, without a first line that was cut."""
    if len(text) <= most:
        return text
    end = text[-most:]
    return end.partition("\n")[2] or end


def relative(path: Kept, folder: Path) -> str:
    """The path relative to the folder, absolute if it is not below the folder; for an object in a store, its URL."""
    if not isinstance(path, Path):
        return str(path)
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() asks the disk about every part of it
    try:
        return absolute.relative_to(os.path.abspath(folder)).as_posix()  # noqa: PTH100 - the same
    except ValueError:
        return str(absolute)


def encode(records: Iterable[dict[str, Any]]) -> bytes:
    """A line of JSON for each record, with its line end."""
    records = list(records)
    try:
        return _encoder.encode_lines(records)
    except UnicodeEncodeError:  # a record has a file name that is not UTF-8
        lines = (json.dumps(record, default=_plain, ensure_ascii=False) + "\n" for record in records)
        return "".join(lines).encode("utf-8", "replace")


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else str(value)


def read_records(path: Path) -> Iterator[Result]:
    """The results in a file, in the file's order, one in memory at a time. ``files`` are absolute paths, or URLs.

    A line that is not a record is skipped: the process that wrote it may have been killed. Raises JobError if the file
    cannot be read.
    """
    folder = Path(os.path.realpath(path)).parent
    try:
        with path.open("rb") as lines:
            for line in lines:
                if record := _decode(line):
                    yield _result(record, folder)
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror}; name a file that --results has written") from None


def _kept(name: str, folder: Path) -> Kept:
    found = read_kept(name)
    return folder / found if isinstance(found, Path) else found


def is_record(line: bytes) -> bool:
    return _decode(line) is not None


def _decode(line: bytes) -> _Record | None:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _charge(record: _Record | _Earlier) -> Charge | None:
    if record.cost is None or not record.cost.is_finite():
        return None
    return Charge(record.cost, record.cost_source, record.price_date, record.cost_excludes)


def _result(record: _Record, folder: Path) -> Result:
    return Result(
        prediction_id=record.prediction_id or "",
        status=record.status,
        model=record.model or "",
        input=record.input or {},
        output=record.output,
        error=record.error,
        created_at=record.created_at,
        completed_at=record.completed_at,
        urls=record.urls or {},
        metrics=record.metrics or {},
        files=tuple(_kept(name, folder) for name in record.files or ()),
        key=record.key or "",
        line=record.line,
        problem=record.problem or "",
        logs=record.logs or "",
        stand_in=record.stand_in or "",
        grid=record.grid or {},
        price=_charge(record) or "",
        steps={name: _result(step, folder) for name, step in (record.steps or {}).items()},
        earlier=tuple(map(_earlier_result, record.earlier)),
        reused=record.reused,
    )


def _earlier_result(record: _Earlier) -> Result:
    return Result(
        prediction_id=record.prediction_id or "",
        status=record.status,
        model=record.model or "",
        input={},
        error=record.error,
        created_at=record.created_at,
        completed_at=record.completed_at,
        metrics=record.metrics or {},
        price=_charge(record) or "",
    )

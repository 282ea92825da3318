"""Keep a prediction's outputs: its files, and ``result.json`` beside them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.errors import OutputError
from replicate_job.inputs.secrets import hide
from replicate_job.inputs.sent_file import file_names, name_files
from replicate_job.job import Kept, Result
from replicate_job.journal.entry import Entry
from replicate_job.outputs.discover import find_files
from replicate_job.outputs.part import Place
from replicate_job.outputs.place import Facts
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.stand_in import stand_in

if TYPE_CHECKING:
    from replicate_job.outputs.discover import OutputFile
    from replicate_job.outputs.download import Fetch, SavedFile

RECORD = "result.json"
LOCAL = "local"
"""The journal's name for the API of the local server."""
_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def result_of(prediction: Prediction, entry: Entry | None = None, files: tuple[Kept, ...] = ()) -> Result:
    """Make a Result from the prediction.

    Values that the API has deleted or does not send come from the journal's entry.
    """
    request = entry.request if entry else None
    return Result(
        prediction_id=prediction.id,
        status=prediction.status,
        model=prediction.model or (request.target.slug if request else "") or (entry.job.model if entry else ""),
        input=hide(prediction.input or (request.input if request else {}), request.secrets if request else ()),
        output=prediction.output,
        error=prediction.error,
        created_at=prediction.created_at,
        completed_at=prediction.completed_at,
        urls={name: url for name, url in (prediction.urls or {}).items() if url},
        metrics=prediction.metrics or {},
        files=files,
        key=entry.key if entry else "",
        logs=prediction.logs or "",
        sent=file_names(entry.job.input_data) if entry else {},
        stand_in=stand_in(prediction.logs),
        price=_priced_by(prediction, entry),
    )


def _priced_by(prediction: Prediction, entry: Entry | None) -> str:
    """The prediction's name in the price tables; empty for a prediction that ran on this machine."""
    if entry is None:
        return f"deployments/{prediction.deployment}" if prediction.deployment else prediction.model or ""
    if entry.api == LOCAL:
        return ""
    target = entry.request.target if entry.request else None
    if target and target.kind == "deployment":
        hardware = entry.request.hardware if entry.request else ""
        return f"{target}@{hardware}" if hardware else str(target)
    return prediction.model or (target.slug if target else "") or entry.job.model.partition(":")[0]


def lacks_files(entry: Entry, save: str | None) -> bool:
    """Whether a finished job lacks files that are wanted now: no files were kept, or some are gone from the disk.

    Files in an object store count as present, since no request is sent for a finished job.
    """
    if not save or entry.problem or entry.prediction is None:
        return False
    if entry.files:
        return not all(path.exists() for path in entry.files if isinstance(path, Path))
    return entry.save is None and entry.prediction.output is not None


def facts(entry: Entry, prediction: Prediction) -> Facts:
    """The values that a file name template can use. They are the same at every call and on every machine."""
    model = (entry.request.target.slug if entry.request else "") or prediction.model or entry.job.model
    batch = entry.batch or ""
    # A row's key is "<batch>/<name>", or "<batch>~<attempt>/<name>" for a further attempt. The key in a
    # file name template is the name alone.
    key = entry.key[len(batch) :].partition("/")[2] if batch and entry.key.startswith(batch) else entry.key
    return Facts(model, key, entry.claimed_at, folder_name(prediction.id), batch)


async def collect(fetch: Fetch, result: Result, schema: dict[str, Any] | None, *, place: Place, origin: str) -> Result:
    """Save the output's files into ``place``, and the response as ``result.json`` beside them.

    Returns the result with the files' paths or URLs. Raises OutputError (or OutputExpiredError) if a file cannot be
    saved. The error's ``result`` names the files that were saved before, and ``result.json`` is written for these if
    possible.
    """
    files = find_files(result.output, schema, origin=origin)
    try:
        saved = await _save(files, place, fetch) if files else []
    except OutputError as error:
        error.result = _with_files(result, error.kept)
        if error.kept:
            with suppress(OSError):  # the disk may be full, which the OutputError says already
                await place.write(RECORD, record(error.result, place, error.kept))
        raise
    result = _with_files(result, saved)
    try:
        await place.write(RECORD, record(result, place, saved))
    except OSError as error:
        why = error.strerror or error
        raise OutputError(f"{place.address(RECORD)} cannot be written: {why}", result) from error
    return result


async def _save(files: Sequence[OutputFile], place: Place, fetch: Fetch) -> list[SavedFile]:
    from replicate_job.outputs.download import save  # noqa: PLC0415 - only jobs with files need it

    return await save(files, place, fetch)


def _with_files(result: Result, saved: Sequence[SavedFile]) -> Result:
    return msgspec.structs.replace(result, files=tuple(file.path for file in saved))


def folder_name(prediction_id: str) -> str:
    """The id as a folder name. An unusual id is hashed, so that no API response can name a folder elsewhere."""
    if _SAFE_ID.fullmatch(prediction_id):
        return prediction_id
    return hashlib.sha256(prediction_id.encode()).hexdigest()[:32]


def record(result: Result, place: Place, saved: Sequence[SavedFile]) -> bytes:
    """Encode the result as the content of ``result.json``.

    Paths in ``files`` are relative to the folder of ``result.json``, so the folder can be moved. A file that was sent
    inside the request is named in ``input``, without its content. ``sha256`` maps the path of each file to its hash
    (hex). ``sha256`` is left out if there are no files. ``logs`` is left out if the model wrote no logs.
    """
    values = result.to_dict() | {"input": name_files(result.input, result.sent)}
    if saved:
        folder = str(place.address(RECORD)).removesuffix(PurePath(str(place.address(RECORD))).name)
        names = [str(file.path).removeprefix(folder) for file in saved]
        values["files"] = names
        values["sha256"] = {name: file.sha256 for name, file in zip(names, saved, strict=True)}
    if result.logs:
        values["logs"] = result.logs
    return msgspec.json.format(msgspec.json.encode(values), indent=2) + b"\n"

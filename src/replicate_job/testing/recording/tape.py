"""A recording on disk: one JSON file, and beside it a folder of bodies, whose names are their SHA-256."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.decoding import decode
from replicate_job.errors import RecordingError
from replicate_job.wire.sse import Event

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1
"""The version of the file format. A program that does not know the version refuses the file."""
HELD = ";recorded,"
"""Separates the media type and the name of the body in a recorded data URL: ``data:image/png;recorded,…``."""
_NAME = re.compile(r"[0-9a-f]{64}(?:\.[a-z0-9]{1,8})?")


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request without secrets. ``path`` has ``/v1`` and the query; ``upload`` is the SHA-256 of an uploaded file."""

    method: str
    path: str
    body: Any = None
    upload: str = ""


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """A response. If it is not JSON, ``file`` is the name of its body."""

    status: int
    json: Any = None
    file: str = ""


class Exchange(msgspec.Struct, frozen=True):
    request: Question
    reply: Reply


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """The changes of a prediction, ``after`` seconds since it was first seen.

    ``set`` has the fields with new values; ``added`` has what was appended to texts and lists.
    """

    after: float
    set: dict[str, Any] = {}
    added: dict[str, Any] = {}


class TapedPrediction(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A recorded prediction. ``request`` is None if another program created it.

    ``status`` is the HTTP status of the first response with the prediction. ``canceled`` is how many states came before
    a cancel request; None if there was no cancel request. ``events`` are the events of its stream; None without them.
    """

    id: str
    request: Question | None = None
    status: int = 201
    states: list[State]
    canceled: int | None = None
    events: list[Event] | None = None


class TapedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """An output file: its address, without signatures, and the name of its body."""

    url: str
    body: str
    type: str = ""
    disposition: str | None = None


class Tape(msgspec.Struct, frozen=True):
    replicate_job_recording: int
    predictions: list[TapedPrediction]
    requests: list[Exchange]
    files: list[TapedFile]


def folder_of(path: Path) -> Path:
    """The folder with the bodies of a recording: ``hello.files`` beside ``hello.json``."""
    return path.with_suffix(".files")


def check_place(path: Path) -> None:
    """Raise RecordingError if no recording can be written there. It is called before any prediction is paid for."""
    if path.suffix != ".json":
        raise RecordingError(f"{path}: the name of a recording ends with .json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise RecordingError(f"{path} cannot be written: {error.strerror}") from None


def load(path: Path) -> Tape:
    """Read a recording. Raises RecordingError if it is not a recording, lacks a body, or has a later version."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from None
    try:
        version = decode(raw, dict[str, Any]).get("replicate_job_recording")
        if version != FORMAT:
            raise RecordingError(
                f"{path} is not a recording of version {FORMAT}: record it again, or update replicate-job"
            )
        tape = decode(raw, Tape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordingError(f"{path} is not a recording: {error}") from None
    for name in bodies_of(tape):
        if not _NAME.fullmatch(name) or not (folder_of(path) / name).is_file():
            raise RecordingError(f"{path} lacks a body: {folder_of(path) / Path(name).name} is not there")
    return tape


def save(tape: Tape, bodies: Mapping[str, bytes], path: Path) -> None:
    """Write the bodies, then the file in one step. Then remove the bodies that the recording no longer needs.

    If the process is killed, either the earlier or the new recording is complete. Raises RecordingError.
    """
    folder = folder_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if bodies:
            folder.mkdir(exist_ok=True)
        for name, content in bodies.items():
            if not (folder / name).exists():
                _write(folder / name, content)
        _write(path, msgspec.json.format(msgspec.json.encode(tape), indent=2) + b"\n")
        for body in folder.glob("*") if folder.is_dir() else ():
            if _NAME.fullmatch(body.name) and body.name not in bodies:
                body.unlink()
        with suppress(OSError):
            folder.rmdir()  # fails if the folder is not empty, so the folder stays
    except OSError as error:
        raise RecordingError(f"{error.filename or path} cannot be written: {error.strerror}") from None


def _write(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def bodies_of(tape: Tape) -> set[str]:
    """The names of all bodies that the recording needs."""
    names = {file.body for file in tape.files} | {exchange.reply.file for exchange in tape.requests}
    values = [exchange.reply.json for exchange in tape.requests]
    values += [value for one in tape.predictions for state in one.states for value in (state.set, state.added)]
    found = re.findall(rf"{HELD}({_NAME.pattern})", msgspec.json.encode(values).decode())
    return (names | set(found)) - {""}

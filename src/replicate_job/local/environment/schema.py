"""A model's OpenAPI document: read from its code once for each version, or shipped with a built-in model."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.decoding import decode
from replicate_job.errors import LocalError
from replicate_job.local.environment.document import make_document
from replicate_job.local.environment.process import run
from replicate_job.local.in_model import SIGNATURE

if TYPE_CHECKING:
    from replicate_job.local.catalog.model import LocalModel
    from replicate_job.local.environment.workspace import Workspace

_MOST_OUTPUT = 500  # the most characters of a model's output in an error


async def ensure_schema(workspace: Workspace, folder: Path) -> dict[str, Any]:
    """The document of this workspace's version, from the model's signature.

    If the signature is not stored below ``folder`` yet, it is read from the model's code.

    Raises LocalError if the model cannot be imported.
    """
    model = workspace.model
    if document := stored_schema(model, folder):
        return document
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - a single quick call
    script, file = SIGNATURE.read_text("utf-8"), _file(model, folder)
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        new_file = Path(unfinished) / "signature.json"
        # The script runs as text, because a script in a file would import modules from the script's folder instead of
        # the model's.
        command = (str(workspace.python), "-c", script, model.target, str(new_file))
        with await asyncio.to_thread(workspace.claim) or nullcontext():  # None if a server uses it
            code, output = await run(command, workspace.variables(), workspace.source)
        if reason := _failure(new_file, code, output):
            raise LocalError(f"{model.slug}: {model.target} cannot be read: {workspace.explain(reason)}")
        new_file.replace(file)
    return make_document(_read(file))


def stored_schema(model: LocalModel, folder: Path) -> dict[str, Any] | None:
    """The document of a version whose signature is stored below ``folder``; None if it is not stored."""
    try:
        return make_document(_read(_file(model, folder)))
    except (OSError, msgspec.DecodeError):
        return None


def _file(model: LocalModel, folder: Path) -> Path:
    # The file's name depends on the script too, so that a newer release of this package does not read an older
    # release's file.
    return folder / f"{model.version}-{hashlib.sha256(SIGNATURE.read_bytes()).hexdigest()[:16]}.json"


def _failure(file: Path, code: int, output: str) -> str:
    """Why the signature could not be read, as one line; empty if it was read."""
    try:
        reason = _read(file).get("error", "")
    except FileNotFoundError:  # the model's code ended the process
        reason = f"its import ended with exit code {code}\n{output[-_MOST_OUTPUT:]}"
    return " | ".join(line.strip() for line in reason.splitlines() if line.strip())


def shipped_schema(model: LocalModel) -> dict[str, Any] | None:
    """The ``openapi.json`` of a built-in model, which needs no environment; None if the model has none."""
    if not model.is_built_in:
        return None
    try:
        return _read(model.folder / "openapi.json")
    except FileNotFoundError:
        return None


def _read(file: Path) -> dict[str, Any]:
    return decode(file.read_bytes(), dict[str, Any])

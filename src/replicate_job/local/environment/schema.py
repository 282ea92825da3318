"""A model's OpenAPI document, read once a version; a built-in model brings its own."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.errors import LocalError
from replicate_job.local.environment.document import make_document
from replicate_job.local.environment.process import run
from replicate_job.local.environment.venv import model_environment

if TYPE_CHECKING:
    from replicate_job.local.catalog.model import LocalModel

_SCRIPT = Path(__file__).with_name("signature.py")


async def ensure_schema(model: LocalModel, venv: Path, folder: Path) -> dict[str, Any]:
    """The document of this version; what it is made of is kept below ``folder``.

    Raises LocalError where the model cannot be imported.
    """
    # The script decides the content too: a newer release of this package must not read what an older one wrote.
    script = _SCRIPT.read_text("utf-8")
    place = folder / f"{model.version}-{hashlib.sha256(script.encode()).hexdigest()[:16]}.json"
    try:
        return make_document(_read(place))
    except (OSError, msgspec.DecodeError):
        folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - once a version
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        made = Path(unfinished) / "signature.json"
        # As text, not as a file: beside the file lies a cog.py, which is not the one that it imports.
        command = (str(venv / "bin" / "python"), "-c", script, model.target, str(made))
        code, said = await run(command, model_environment(venv, model.environment), model.folder)
        if code:
            reason = next((line.strip() for line in reversed(said.split("\n")) if line.strip()), f"exit code {code}")
            raise LocalError(f"{model.slug}: {model.target} cannot be read: {reason}")
        made.replace(place)
    return make_document(_read(place))


def shipped_schema(model: LocalModel) -> dict[str, Any] | None:
    """The ``openapi.json`` of a built-in model, for which nothing need be installed; None where there is none."""
    if not model.is_built_in:
        return None
    try:
        return _read(model.folder / "openapi.json")
    except FileNotFoundError:
        return None


def _read(place: Path) -> dict[str, Any]:
    return msgspec.json.decode(place.read_bytes(), type=dict[str, Any])

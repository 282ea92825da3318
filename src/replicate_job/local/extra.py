"""The packages of the extra ``[local]``, which the local server needs."""

from __future__ import annotations

from replicate_job import extras
from replicate_job.errors import LocalError


def missing(name: str | None, what: str = "the local server") -> LocalError:
    """The error to raise if the package ``name`` is not installed. ``what`` is the part that needs it."""
    return LocalError(f"{what} needs {name}, which is not here: {extras.advice('local')}")

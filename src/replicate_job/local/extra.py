"""The packages that the local server needs and a plain installation does not bring."""

from __future__ import annotations

from replicate_job import extras
from replicate_job.errors import LocalError


def missing(name: str | None, what: str = "the local server") -> LocalError:
    """The error to raise where the package ``name``, which ``what`` needs, is not installed."""
    return LocalError(f"{what} needs {name}, which is not here: {extras.advice('local')}")

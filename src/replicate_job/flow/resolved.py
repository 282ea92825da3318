"""A resolved model: the path of its create request, and its schema."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import msgspec

from replicate_job.errors import JobError
from replicate_job.inputs.schema import Checker
from replicate_job.wire.openapi import secret_inputs, training_schema
from replicate_job.wire.target import Target


class Resolved(msgspec.Struct, frozen=True, dict=True):  # `dict` is for the cached properties
    """``path`` is the path of the create request. ``version`` is the version in the request's body, empty for none.

    ``schema`` is the version's OpenAPI document, None if the API does not show it. ``tried`` lists the look-ups.
    ``makes_files`` is False if the schema allows no file in the output. ``hardware`` is a deployment's hardware.
    ``is_private``: the model is private, so the idle time of its instances is billed. ``newest`` is the current version
    of an official model or a deployment, if the API shows that version.
    """

    target: Target
    path: str
    version: str = ""
    schema: dict[str, Any] | None = None
    tried: tuple[str, ...] = ()
    makes_files: bool = True
    hardware: str = ""
    is_private: bool = False
    newest: str = ""

    @cached_property
    def checker(self) -> Checker:
        """Checks a job's input against the schema."""
        return Checker(self.schema, self.secrets)

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """The names of inputs that the API never returns."""
        return secret_inputs(self.schema)

    def for_training(self) -> Resolved:
        """The resolved model for a training of this version.

        Raises JobError for an official model without a public version.
        """
        target = self.target
        if target.kind != "version" or not target.slug:
            raise JobError(f"{target} shows no version to train: name it, as owner/name:version (64 hex digits)")
        path = f"/models/{target.slug}/versions/{target.version}/trainings"
        return Resolved(target, path, "", training_schema(self.schema), self.tried, makes_files=False)

    def makes(self, path: str, version: str) -> bool:
        """Whether a create request to this path and with this version is for this model."""
        return (self.path, self.version) == (path, version)

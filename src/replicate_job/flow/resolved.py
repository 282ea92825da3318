"""What is known of a model: where its create request goes, and what its schema says."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import msgspec

from replicate_job.errors import JobError
from replicate_job.inputs.schema import Checker
from replicate_job.wire.openapi import secret_inputs, training_schema
from replicate_job.wire.target import Target


class Resolved(msgspec.Struct, frozen=True, dict=True):  # dict: for what is compiled once
    """``path`` is where the create request goes, ``version`` what its body names (empty: nothing).

    ``schema`` is the version's OpenAPI document, None where the API does not show it. ``tried`` lists the look-ups.
    ``makes_files`` is False where the schema allows no file
    in the output. ``hardware`` is a deployment's. A model that is private bills its instances' idle time. ``newest`` is
    the version behind a name that stands for one, where the API shows it.
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
        """Checks inputs of the model."""
        return Checker(self.schema, self.secrets)

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """The inputs that the API never gives back."""
        return secret_inputs(self.schema)

    def for_training(self) -> Resolved:
        """The same version where it is to be trained. Raises JobError for an official model that shows none."""
        target = self.target
        if target.kind != "version" or not target.slug:
            raise JobError(f"{target} shows no version to train: name it, as owner/name:version (64 hex digits)")
        path = f"/models/{target.slug}/versions/{target.version}/trainings"
        return Resolved(target, path, "", training_schema(self.schema), self.tried, makes_files=False)

    def makes(self, path: str, version: str) -> bool:
        """Whether a create request to that path, for that version, is one that it makes."""
        return (self.path, self.version) == (path, version)

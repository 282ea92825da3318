"""What a job can name: a model, one version of it, or a deployment."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from replicate_job.errors import JobError

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_TARGET = re.compile(
    rf"(?:https?://(?:www\.)?replicate\.com/)?"
    rf"(?:(?P<deployment>deployments/))?(?:(?P<owner>{_NAME})/(?P<name>{_NAME}))?(?P<colon>:)?(?P<version>[0-9a-f]{{64}})?/?"
)


class Target(msgspec.Struct, frozen=True):
    """``kind`` says how it was named; ``version`` is 64 hex digits for a ``version``, else empty.

    ``owner`` and ``name`` are empty for a bare version id.
    """

    kind: Literal["model", "version", "deployment"]
    owner: str = ""
    name: str = ""
    version: str = ""

    @property
    def slug(self) -> str:
        return f"{self.owner}/{self.name}" if self.name else ""

    def __str__(self) -> str:
        if self.kind == "deployment":
            return f"deployments/{self.slug}"
        return ":".join(part for part in (self.slug, self.version) if part)


def parse_target(text: str) -> Target:
    """Read ``owner/name``, ``owner/name:64hex``, ``64hex`` or ``deployments/owner/name``.

    A page address of replicate.com is taken too. Raises JobError, saying which forms there are.
    """
    found = _TARGET.fullmatch(text.strip())
    if found:
        deployment, owner, colon, version = (bool(found[part]) for part in ("deployment", "owner", "colon", "version"))
        if deployment and owner and not version and not colon:
            return Target("deployment", found["owner"], found["name"])
        if not deployment and owner and version == colon:
            return Target("version" if version else "model", found["owner"], found["name"], found["version"] or "")
        if not deployment and not owner and version and not colon:
            return Target("version", version=found["version"])
    raise JobError(
        f"{text!r} names no model: write owner/name, owner/name:version (64 hex digits), "
        "a version id, or deployments/owner/name"
    )

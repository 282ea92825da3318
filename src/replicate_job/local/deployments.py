"""Deployments. A deployment is a user's name for one version of a model."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from replicate_job.decoding import convert, decode

if TYPE_CHECKING:
    from replicate_job.local.store import Store


class LocalDeployment(msgspec.Struct, frozen=True):
    """A deployment. ``name`` is ``owner/name``; ``number`` is the number of its current release, from 1 on."""

    name: str
    model: str
    version: str
    hardware: str
    min_instances: int
    max_instances: int
    number: int
    created_at: float


class Deployments:
    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, name: str) -> LocalDeployment | None:
        body = self._store.deployment(name)
        return decode(body, LocalDeployment) if body else None

    def all(self) -> list[LocalDeployment]:
        """All deployments, the newest first."""
        return [decode(body, LocalDeployment) for body in self._store.deployments()]

    def release(self, name: str, **facts: str | int) -> LocalDeployment:
        """Create a deployment, or a new release of an existing one; ``facts`` are the fields that change."""
        last = self.get(name)
        fields = msgspec.structs.asdict(last) if last else {"name": name}
        fields |= facts | {"number": last.number + 1 if last else 1, "created_at": time.time()}
        release = convert(fields, LocalDeployment)
        self._store.put_deployment(name, msgspec.json.encode(release))
        return release

    def delete(self, name: str) -> None:
        self._store.delete_deployment(name)

"""Deployments: names of one's own for a version of a model."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from replicate_job.local.store import Store


class LocalDeployment(msgspec.Struct, frozen=True):
    """``name`` is ``owner/name``; ``number`` counts its releases, of which this is the current one."""

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
        return msgspec.json.decode(body, type=LocalDeployment) if body else None

    def all(self) -> list[LocalDeployment]:
        """The newest first."""
        return [msgspec.json.decode(body, type=LocalDeployment) for body in self._store.deployments()]

    def release(self, name: str, **facts: str | int) -> LocalDeployment:
        """A new one, or a new release of one that is there; ``facts`` are the fields that change."""
        known = self.get(name)
        before = msgspec.structs.asdict(known) if known else {"name": name}
        changed = before | facts | {"number": known.number + 1 if known else 1, "created_at": time.time()}
        made = msgspec.convert(changed, LocalDeployment)
        self._store.put_deployment(name, msgspec.json.encode(made))
        return made

    def delete(self, name: str) -> None:
        self._store.delete_deployment(name)

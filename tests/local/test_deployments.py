from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicate_job.local.deployments import Deployments
from replicate_job.local.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FACTS: dict[str, str | int] = {
    "model": "me/model",
    "version": "0" * 64,
    "hardware": "cpu",
    "min_instances": 0,
    "max_instances": 1,
}


@pytest.fixture
def deployments(tmp_path: Path) -> Iterator[Deployments]:
    store = Store(tmp_path)
    yield Deployments(store)
    store.close()


def test_a_new_release_has_the_next_number_and_keeps_unchanged_fields(deployments: Deployments) -> None:
    first = deployments.release("local/a", **FACTS)
    second = deployments.release("local/a", hardware="gpu-t4")
    assert (first.number, second.number) == (1, 2)
    assert (second.model, second.hardware, second.max_instances) == ("me/model", "gpu-t4", 1)
    assert first.created_at <= second.created_at
    assert deployments.get("local/a") == second


def test_deployments_are_listed_newest_first_by_their_creation(deployments: Deployments) -> None:
    made = [deployments.release(name, **FACTS) for name in ("local/b", "local/a")]
    assert deployments.all() == made[::-1]
    again = deployments.release("local/b", hardware="gpu-t4")
    assert deployments.all() == [made[1], again]


def test_a_deleted_deployment_restarts_its_release_numbers(deployments: Deployments) -> None:
    deployments.release("local/a", **FACTS)
    deployments.delete("local/a")
    assert deployments.get("local/a") is None
    assert deployments.all() == []
    assert deployments.release("local/a", **FACTS).number == 1

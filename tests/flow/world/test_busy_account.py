"""A typical account, on which other programs run the same model all the time."""

from __future__ import annotations

import random

import pytest

from .account import SLUG, Nature
from .plan import Foreign, Plan
from .trial import verdict
from .wire import Answer, Network

pytestmark = pytest.mark.long

JOBS = 1000
BREAKS = [
    *[Answer()] * 10,
    *[Answer(kind, acts=acts) for kind in ("reset", 500, 502) for acts in (True, False)],
    Answer("timeout", acts=True),
    Answer("garbage"),
]


def busy(seed: int) -> Plan:
    """Half of the create requests break, half of those act; the list lags up to 10 s; others create twice a second."""
    chosen = random.Random(seed)  # noqa: S311 - repeatable, not secret
    return Plan(
        seed=seed,
        model=SLUG,
        inputs=tuple({"n": number} for number in range(JOBS)),
        nature=Nature(lags=tuple(chosen.uniform(0, 10) for _ in range(5000))),
        network=Network(creates=tuple(chosen.choice(BREAKS) for _ in range(2 * JOBS))),
        foreign=tuple(Foreign(number / 2, {"n": -number}) for number in range(1, 2000)),
        way="row",
        together=50,
    )


def test_a_thousand_jobs_with_broken_create_requests_end_without_an_uncertain_job() -> None:
    problems, world = verdict(busy(1))
    assert not problems
    assert {row.state for row in world.rows.values()} == {"collected"}
    assert len(world.rows) == JOBS

"""The promise: no job is paid for twice, no job is lost, and a job is uncertain only if its outcome cannot be known.

``REPLICATE_JOB_SEQUENCES`` is the number of plans to try (2,000), ``REPLICATE_JOB_SEED`` the first seed (0).
``python -m tests.flow.world --sequences 100000`` does the same by hand.
"""

from __future__ import annotations

import os

import pytest

from .plan import Plan, draw
from .trial import shrink, story, verdict

pytestmark = pytest.mark.long

SEQUENCES, FIRST = (
    int(os.environ.get("REPLICATE_JOB_SEQUENCES", "2000")),
    int(os.environ.get("REPLICATE_JOB_SEED", "0")),
)
TESTS = 40
"""Parts in which they are tried, for workers to share."""


@pytest.mark.parametrize("part", range(TESTS))
def test_each_job_has_one_prediction_whatever_goes_wrong(part: int) -> None:
    for seed in range(FIRST + part, FIRST + SEQUENCES, TESTS):
        plan = draw(seed)
        if problems := verdict(plan)[0]:
            pytest.fail(f"seed {seed}: {problems}\n{story(shrink(plan, problems[0]))}", pytrace=False)


def test_a_plan_has_the_same_outcome_each_time() -> None:
    plan = draw(7)
    stories = [verdict(plan, keep_log=True)[1].lines for _ in range(2)]
    assert stories[0] == stories[1]
    assert stories[0]


def test_without_faults_there_is_one_prediction() -> None:
    problems, world = verdict(Plan(seed=0, model="acme/painter", inputs=({"n": 1},)))
    assert not problems
    assert [made.job for made in world.accounts[0].made] == ["job-0"]

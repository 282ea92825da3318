"""The promise that no job is paid for twice, none is lost, and only what cannot be known is uncertain.

``REPLICATE_JOB_SEQUENCES`` says how many lives of the world are tried (2,000), ``REPLICATE_JOB_SEED`` from which seed
on (0). ``python -m tests.flow.world --sequences 100000`` does the same by hand.
"""

from __future__ import annotations

import os

import pytest

from .plan import Plan, draw
from .trial import shrink, story, verdict

SEQUENCES, FIRST = (
    int(os.environ.get("REPLICATE_JOB_SEQUENCES", "2000")),
    int(os.environ.get("REPLICATE_JOB_SEED", "0")),
)
TESTS = 40
"""Parts in which they are tried, for workers to share."""


@pytest.mark.parametrize("part", range(TESTS))
def test_each_job_has_one_prediction_whatever_goes_wrong_and_in_whichever_order(part: int) -> None:
    for seed in range(FIRST + part, FIRST + SEQUENCES, TESTS):
        plan = draw(seed)
        if problems := verdict(plan)[0]:
            pytest.fail(f"seed {seed}: {problems}\n{story(shrink(plan, problems[0]))}", pytrace=False)


def test_the_world_is_the_same_each_time() -> None:
    plan = draw(7)
    stories = [verdict(plan, keep_log=True)[1].lines for _ in range(2)]
    assert stories[0] == stories[1]
    assert stories[0]


def test_a_world_in_which_nothing_goes_wrong_has_one_prediction() -> None:
    problems, world = verdict(Plan(seed=0, model="acme/painter", inputs=({"n": 1},)))
    assert not problems
    assert [made.job for made in world.accounts[0].made] == ["job-0"]

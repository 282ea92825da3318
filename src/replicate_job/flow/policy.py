"""Decides whether a failed job gets another attempt, with which model, and after which pause. No I/O."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from replicate_job.flow.failure import RETRIED, Failure

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds before a model's second attempt, and the longest pause before later attempts."""


class Policy(msgspec.Struct, frozen=True):
    """How many further attempts a job gets, and after which failures.

    Each model gets ``1 + retries`` attempts. ``models`` is the number of models, tried in order: the job's own, then
    its fallbacks. A failure that is not in ``retry_on`` gets no second attempt with the same model.
    """

    retries: int = 0
    retry_on: frozenset[Failure] = frozenset(RETRIED)
    models: int = 1

    def next_model(self, tries: Sequence[tuple[int, Failure]]) -> int | None:
        """The number of the model for the next attempt; None if there is no next attempt.

        ``tries`` has a pair for each attempt so far: the number of its model, and its failure. A job that was refused
        for its content, had a wrong input or was canceled gets no further attempt with any model.
        """
        model, failure = tries[-1]
        if failure not in RETRIED:
            return None
        made = sum(number == model for number, _ in tries)
        if failure in self.retry_on and made <= self.retries:
            return model
        return model + 1 if model + 1 < self.models else None

    def pause(self, tries: Sequence[tuple[int, Failure]], model: int) -> float:
        """Seconds of pause before the next attempt, with this model. Pauses double.

        A model's first attempt has no pause.
        """
        made = sum(number == model for number, _ in tries)
        if not made:
            return 0.0
        return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (made - 1)) * random.uniform(0.75, 1))  # noqa: S311 - no secret

"""Another attempt after a failure, of the same model or of another: whether, which, and when. No I/O."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from replicate_job.flow.failure import RETRIED, Failure

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds before the second attempt of a model, and at most before a later one."""


class Policy(msgspec.Struct, frozen=True):
    """How often a job is tried again, and after which failures.

    Each model has ``1 + retries`` attempts, and ``models`` of them take turns: the job's own, then its fallbacks.
    A failure that is not in ``retry_on`` gets no second attempt of the same model.
    """

    retries: int = 0
    retry_on: frozenset[Failure] = frozenset(RETRIED)
    models: int = 1

    def next_model(self, tries: Sequence[tuple[int, Failure]]) -> int | None:
        """The number of the model that the next attempt is of, after these; None where there is none to be made.

        Each of ``tries`` is the number of its model, and why it failed. What was refused for its content, what the
        caller got wrong or somebody canceled, is never tried again, with no model.
        """
        model, failure = tries[-1]
        if failure not in RETRIED:
            return None
        made = sum(number == model for number, _ in tries)
        if failure in self.retry_on and made <= self.retries:
            return model
        return model + 1 if model + 1 < self.models else None

    def pause(self, tries: Sequence[tuple[int, Failure]], model: int) -> float:
        """Seconds before the next attempt, which is of this model: longer each time, and none before another model."""
        made = sum(number == model for number, _ in tries)
        if not made:
            return 0.0
        return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (made - 1)) * random.uniform(0.75, 1))  # noqa: S311 - no secret

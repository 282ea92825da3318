"""Requests that are safe to repeat: they change nothing, or a second request changes nothing more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from replicate_job.api.failures import backoff, is_transient
from replicate_job.errors import APIError, NotFoundError, ReplicateJobError
from replicate_job.flow.context import Context

TRIES = 5

_T = TypeVar("_T")


async def read(context: Context, ask: Callable[[], Awaitable[_T]], *, young: bool = False) -> _T:
    """Send a request that is safe to repeat. After a transient failure it is sent again, ``TRIES`` times in all.

    ``young``: the prediction may be so new that the API answers 404 for a moment.
    """
    appeared = context.clock.now() + (context.retry_policy.appear if young else 0)
    attempt = 0
    while True:
        try:
            return await ask()
        except NotFoundError:
            if context.clock.now() >= appeared:
                raise
            await context.clock.sleep(backoff(0))
        except ReplicateJobError as error:
            attempt += 1
            asked_to_wait = (error.retry_after or 0.0) if isinstance(error, APIError) else 0.0
            if not is_transient(error) or attempt == TRIES or asked_to_wait > context.retry_policy.throttle:
                raise
            context.reporter.note(f"{error}; asking again")
            await context.clock.sleep(max(asked_to_wait, backoff(attempt - 1)))

"""A connection to a scripted API for which the model is resolved already."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec
import pytest

from replicate_job.flow.context import Context
from replicate_job.flow.resolved import Resolved
from replicate_job.flow.single_strategy import SingleStrategy
from replicate_job.testing import ScriptedAPI
from replicate_job.wire.target import Target

RESOLVED = Resolved(Target("model", "acme", "private"), "/models/acme/private/predictions")


@pytest.fixture
def connect_known(connect: Callable[..., AbstractAsyncContextManager[Context]]) -> Callable[..., Any]:
    """Like ``connect``, but ``acme/private`` is resolved already, so no request asks for this model."""

    @asynccontextmanager
    async def knowing(api: ScriptedAPI, **options: Any) -> AsyncIterator[Context]:
        async with connect(api, **options) as context:
            strategy = SingleStrategy()
            strategy.remember(RESOLVED.target, RESOLVED, now=context.clock.now())
            yield msgspec.structs.replace(context, strategy=strategy)

    return knowing

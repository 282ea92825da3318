"""A prediction's text as it comes, for ``async for`` and ``for``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import suppress
from typing import Self

from replicate_job.errors import JobError, JournalError, OutputError, PredictionError
from replicate_job.flow.follow import Emit
from replicate_job.job import Result

Run = Callable[[Emit], Awaitable[Result]]
"""Runs a job, and calls the function with the output's text as it comes."""


class _Outcome:
    """The result of a stream.

    It is an object of its own: a generator that referred to its stream would keep an abandoned stream open.
    """

    def __init__(self) -> None:
        self._result: Result | None = None

    async def run(self, run: Run, emit: Emit) -> None:
        try:
            self._result = await run(emit)
            self._result.raise_for_status()
        except (OutputError, JournalError, PredictionError) as error:
            self._result = error.result
            raise

    @property
    def result(self) -> Result:
        if self._result is None:
            raise JobError("the stream has no result yet: read it to its end first")
        return self._result


class AsyncTextStream(AsyncIterator[str]):
    """The text of a prediction, for one ``async for``. The prediction is created when the iteration begins.

    ``result`` is the whole Result, with the saved files, once the stream has ended. After an error it is the result in
    the error. Reading ``result`` before the end, or without a prediction, raises JobError. ``async with`` closes a
    stream that is not read to its end.
    """

    def __init__(self, run: Run) -> None:
        self._outcome = _Outcome()
        self._pieces = _read(run, self._outcome)

    async def __anext__(self) -> str:
        return await anext(self._pieces)

    @property
    def result(self) -> Result:
        return self._outcome.result

    async def aclose(self) -> None:
        """Stop reading. The prediction is left running; the same ``key`` finishes it."""
        await self._pieces.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class TextStream(Iterator[str]):
    """The text of a prediction, for one ``for``; see ``AsyncTextStream``."""

    def __init__(self, run: Run, iterate: Callable[[AsyncGenerator[str, None]], Generator[str, None, None]]) -> None:
        self._outcome = _Outcome()
        self._pieces = iterate(_read(run, self._outcome))

    def __next__(self) -> str:
        return next(self._pieces)

    @property
    def result(self) -> Result:
        return self._outcome.result

    def close(self) -> None:
        """Stop reading. The prediction is left running; the same ``key`` finishes it."""
        self._pieces.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def relay(stream: AsyncTextStream, emit: Emit) -> Result:
    """Read a stream to its end, and call ``emit`` with each piece. Returns the stream's result."""
    async with stream:
        async for piece in stream:
            emit(piece)
    return stream.result


async def _read(run: Run, outcome: _Outcome) -> AsyncGenerator[str, None]:
    pieces: asyncio.Queue[str | None] = asyncio.Queue()

    async def work() -> None:
        try:
            await outcome.run(run, pieces.put_nowait)
        finally:
            pieces.put_nowait(None)  # ends the loop below, also after an error

    # A separate task lets the job wait and save while the consumer is busy with a piece.
    running = asyncio.create_task(work())
    try:
        while (piece := await pieces.get()) is not None:
            yield piece
        await running  # raises the error of the job
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await running

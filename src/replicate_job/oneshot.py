"""Jobs and batches from Python, with a session for each call; blocking functions run coroutines in a loop thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing, closing, suppress
from typing import Any, Self, Unpack

import msgspec

from replicate_job.aio import LoopThread, iterate, new_loop
from replicate_job.client import BatchCall, BatchOptions, RowSource, RunCall, RunOptions, read_call
from replicate_job.errors import JobError, JournalError, OutputError
from replicate_job.flow.cancel import run_or_cancel
from replicate_job.flow.context import Context
from replicate_job.flow.follow import Emit
from replicate_job.flow.run import run_job
from replicate_job.job import Job, Result


async def arun(job: Job | str, input_data: Mapping[str, Any] | None = None, **options: Unpack[RunOptions]) -> Result:
    """Run a job, or a model by its name, and return its Result, whatever its status. See ``RunOptions``.

    A task that is cancelled leaves the prediction running: the same ``key``, or ``replicate-job resume``, finishes it.
    Raises the errors of ``replicate_job.errors``.
    """
    call = read_call(job, input_data, options)
    async with call.open() as context:
        return await run_job(context, call.ask)


def run(job: Job | str, input_data: Mapping[str, Any] | None = None, **options: Unpack[RunOptions]) -> Result:
    """Run a job as ``arun`` does, and block until the end. It also works inside a running event loop, as in a notebook.

    Ctrl-C cancels the prediction at the API, and then raises KeyboardInterrupt. Any other exception of a signal
    handler, such as SystemExit at SIGTERM, leaves the prediction running: the same ``key`` finishes it.
    """
    call = read_call(job, input_data, options)
    with LoopThread() as loop:

        async def work() -> Result:
            async with call.open() as context:
                return await run_or_cancel(context, call.ask, leave=lambda: not loop.is_interrupted)

        return loop.run(work())


def astream(
    job: Job | str, input_data: Mapping[str, Any] | None = None, **options: Unpack[RunOptions]
) -> AsyncTextStream:
    """Yield the output's text while the model writes it; a model that does not stream gives it whole at the end.

    The stream ends with the prediction. It raises what ``arun`` raises, and PredictionError unless the prediction
    succeeded. Numbers, objects and files are in the stream's ``result``; an output without text is logged as a warning.
    """
    return AsyncTextStream(read_call(job, input_data, options))


def stream(job: Job | str, input_data: Mapping[str, Any] | None = None, **options: Unpack[RunOptions]) -> TextStream:
    """Yield text as ``astream`` does, and block between pieces. Closing it early leaves the prediction running."""
    return TextStream(read_call(job, input_data, options))


class _Outcome:
    """The result of a stream.

    It is an object of its own: a generator that referred to its stream would keep an abandoned stream open.
    """

    def __init__(self) -> None:
        self._result: Result | None = None

    async def run(self, context: Context, call: RunCall, emit: Emit) -> Result:
        try:
            self._result = await run_job(context, msgspec.structs.replace(call.ask, emit=emit))
        except (OutputError, JournalError) as error:
            self._result = error.result
            raise
        return self._result.raise_for_status()

    @property
    def result(self) -> Result:
        if self._result is None:
            raise JobError("the stream has no result yet: read it to its end first")
        return self._result


class AsyncTextStream(AsyncIterator[str]):
    """The text of a prediction, for one ``async for``. The prediction is created when iteration begins.

    ``result`` is the whole Result, with the saved files, once the stream has ended, also with an error; before that it
    raises JobError. ``async with`` closes a stream that is not read to its end.
    """

    def __init__(self, call: RunCall) -> None:
        self._outcome = _Outcome()
        self._pieces = _read(call, self._outcome)

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

    def __init__(self, call: RunCall) -> None:
        self._outcome = _Outcome()
        self._pieces = iterate(_read(call, self._outcome))

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


async def _read(call: RunCall, outcome: _Outcome) -> AsyncGenerator[str, None]:
    pieces: asyncio.Queue[str | None] = asyncio.Queue()

    async def work(context: Context) -> None:
        try:
            await outcome.run(context, call, pieces.put_nowait)
        finally:
            pieces.put_nowait(None)  # ends the loop below, also after an error

    async with call.open() as context:
        # A task of its own: the job goes on to wait and save while the consumer is busy with a piece.
        running = asyncio.create_task(work(context))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            await running  # raises the error of the job
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await running


def replicate_run_prediction(
    model: str,
    input_data: Mapping[str, Any],
    wait_for_completion: bool = True,  # noqa: FBT001, FBT002 - the original signature
    poll_interval: float = 1,
    max_poll_attempts: int = 60,
) -> dict[str, Any]:
    """The function that the original run job names: it returns that job's response of ten fields."""
    options: RunOptions = {
        "wait_for_completion": wait_for_completion,
        "poll_interval": poll_interval,
        "max_poll_attempts": max_poll_attempts,
    }
    return run(model, input_data, **options).to_dict()


def batch(
    job: Job | str,
    rows: RowSource,
    **options: Unpack[BatchOptions],
) -> Results:
    """Run a job, or a model by its name, for every row. A row is an input that is merged over the job's.

    ``for result in batch(...)`` blocks between results, ``async for`` awaits them. Results come in the order in which
    rows end, with their ``line`` (from 1). A row that fails has a ``problem`` in its result. An error that all rows
    would share (no credit, no network) is raised once all running predictions have ended. Rows are read as they are
    needed, at most a few hundred ahead; an iterable is read in a thread of its own. ``rows`` may also be a DataFrame,
    or the path of a file that ``replicate-job batch`` takes. None, NaN, NaT and NA do not give their input.

    Leaving the loop early leaves predictions running: the same ``key``, or the same file, adopts them.
    """
    return Results(BatchCall(job, rows, options))


class Results(AsyncIterable[Result], Iterable[Result]):
    """The results of a batch, for one ``for`` or ``async for``. ``tally`` counts its progress."""

    def __init__(self, call: BatchCall) -> None:
        self._call = call
        self.tally = call.tally

    def __aiter__(self) -> AsyncIterator[Result]:
        return self._iterate()

    async def _iterate(self) -> AsyncGenerator[Result, None]:
        async with aclosing(self._call.run()) as results:
            async for chunk in results:
                for result in chunk:
                    yield result

    def __iter__(self) -> Iterator[Result]:
        with closing(iterate(self._call.run(), new_loop)) as results:
            for chunk in results:
                yield from chunk

"""Functions that run a job or a batch with a client opened for one call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Unpack, cast

from replicate_job.aio import iterate, new_loop
from replicate_job.calls import (
    BatchOptions,
    ClientOptions,
    OneShotBatchOptions,
    OneShotOptions,
    RunOptions,
    with_options,
)
from replicate_job.client import AsyncClient
from replicate_job.errors import JobError
from replicate_job.flow.follow import Emit
from replicate_job.job import Job, Result
from replicate_job.shared import SharedClients, SharedLoop
from replicate_job.text_stream import AsyncTextStream, Run, TextStream, relay

if TYPE_CHECKING:
    from replicate_job.batch_calls import RowSource
    from replicate_job.chain import Chain

_loop, _clients = SharedLoop(), SharedClients()


@with_options(OneShotOptions)
async def arun(
    job: Job | Chain | str, input: Mapping[str, Any] | None = None, **options: Unpack[OneShotOptions]
) -> Result:
    """Run a job, a chain, or a model by its name, and return its Result, whatever its status. See ``RunOptions``.

    ``input`` is merged over the job's input. A file in it, at any depth, is a ``pathlib.Path``, bytes, a file that is
    open for reading bytes, or a picture of Pillow. An open file is read at once, from its beginning as in the official
    client, and may be closed after the call. A picture is sent as JPEG if it was opened from a JPEG file, else as PNG.
    A file has up to 100 MB; the same content is sent once. Values of numpy, and decimals, are sent as numbers, times as
    ISO 8601 text, durations as seconds.

    Concurrent calls with the same settings share one client. A task that is cancelled leaves the prediction running:
    the same ``key``, or ``replicate-job resume``, finishes it. Raises the errors of ``replicate_job.errors``.
    """
    _check_local(options, job)
    client, own = _open(options)
    async with _clients.lend(client) as shared:
        return await shared.run(job, input, **own)


@with_options(OneShotOptions)
def run(job: Job | Chain | str, input: Mapping[str, Any] | None = None, **options: Unpack[OneShotOptions]) -> Result:
    """Run a job as ``arun`` does, and block until the end. It also works inside a running event loop, as in a notebook.

    Ctrl-C cancels the prediction at the API, and then raises KeyboardInterrupt. Any other exception of a signal
    handler, such as SystemExit at SIGTERM, leaves the prediction running: the same ``key`` finishes it.
    """
    with _loop.lend() as loop:
        return loop.run(arun(job, input, **options))


@with_options(OneShotOptions)
def astream(
    job: Job | str, input: Mapping[str, Any] | None = None, **options: Unpack[OneShotOptions]
) -> AsyncTextStream:
    """Yield the output's text while the model writes it. Without a stream, the whole text comes at the end.

    The stream ends with the prediction. It raises what ``arun`` raises, and PredictionError if the prediction did not
    succeed. Numbers, objects and files are in the stream's ``result``; an output without text is logged as a warning.
    """
    return AsyncTextStream(_stream(job, input, options))


@with_options(OneShotOptions)
def stream(job: Job | str, input: Mapping[str, Any] | None = None, **options: Unpack[OneShotOptions]) -> TextStream:
    """Yield text as ``astream`` does, and block between pieces.

    Closing the stream early leaves the prediction running.
    """
    return TextStream(_stream(job, input, options), iterate)


def replicate_run_prediction(
    model: str,
    input_data: Mapping[str, Any],
    wait_for_completion: bool = True,  # noqa: FBT001, FBT002 - the original signature
    poll_interval: float = 1,
    max_poll_attempts: int = 60,
) -> dict[str, Any]:
    """The function named in the original run job. It returns that job's response with its ten fields."""
    options: RunOptions = {
        "wait_for_completion": wait_for_completion,
        "poll_interval": poll_interval,
        "max_poll_attempts": max_poll_attempts,
    }
    return run(model, input_data, **options).to_dict()


@with_options(OneShotBatchOptions)
def batch(job: Job | Chain | str, rows: RowSource, **options: Unpack[OneShotBatchOptions]) -> BatchResults:
    """Run a job, or a model by its name, for every row, as ``AsyncClient.batch`` does.

    ``for result in batch(...)`` blocks between results, ``async for`` awaits them.
    """
    client_options, own = _split(options)
    return BatchResults(job, rows, client_options, cast("BatchOptions", own))


class BatchResults(AsyncIterable[Result], Iterable[Result]):
    """The results of a batch, for one ``for`` or ``async for``. ``tally`` counts its progress."""

    def __init__(
        self, job: Job | Chain | str, rows: RowSource, client_options: ClientOptions, options: BatchOptions
    ) -> None:
        self._client = AsyncClient(**client_options)
        self._results = self._client.batch(job, rows, **options)
        self.tally = self._results.tally

    def __aiter__(self) -> AsyncIterator[Result]:
        return self._iterate()

    async def _iterate(self) -> AsyncGenerator[Result, None]:
        async with aclosing(self._chunks()) as chunks:
            async for results in chunks:
                for result in results:
                    yield result

    def __iter__(self) -> Iterator[Result]:
        with closing(iterate(self._chunks(), new_loop)) as chunks:
            for results in chunks:
                yield from results

    async def _chunks(self) -> AsyncGenerator[list[Result], None]:
        async with aclosing(self._client), aclosing(self._results.chunks()) as chunks:
            async for results in chunks:
                yield results


def _open(options: OneShotOptions) -> tuple[AsyncClient, RunOptions]:
    """A client with the client's options, and the remaining options."""
    client_options, own = _split(options)
    return AsyncClient(**client_options), cast("RunOptions", own)


def _split(options: Mapping[str, Any]) -> tuple[ClientOptions, dict[str, Any]]:
    of_client = {name: value for name, value in options.items() if name in ClientOptions.__annotations__}
    own = {name: value for name, value in options.items() if name not in of_client}
    return cast("ClientOptions", of_client), own


def _check_local(options: OneShotOptions, job: Job | Chain | str) -> None:
    """Raise JobError for a local run that does not wait for its end."""
    waits = options.get("wait_for_completion")
    if waits is None:
        waits = not isinstance(job, Job) or job.wait_for_completion
    if options.get("local") and not waits:
        raise JobError("a local run ends with its call: it has to wait for the end")


def _stream(job: Job | str, input: Mapping[str, Any] | None, options: OneShotOptions) -> Run:
    client, own = _open(options)
    text = client.stream(job, input, **own)

    async def read(emit: Emit) -> Result:
        async with aclosing(client):
            return await relay(text, emit)

    return read

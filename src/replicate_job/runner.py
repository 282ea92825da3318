"""Running jobs from Python. The coroutines are the code; the blocking functions run them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack

import msgspec

from replicate_job.errors import JobError, JournalError, OutputError
from replicate_job.flow.cancel import run_or_cancel
from replicate_job.flow.context import Context
from replicate_job.flow.follow import Emit
from replicate_job.flow.run import Ask, new_key, run_job
from replicate_job.folders import expand
from replicate_job.inputs.plain import native
from replicate_job.job import Job, Result
from replicate_job.loop import LoopThread, iterate
from replicate_job.session import open_session
from replicate_job.settings import Settings, check_environment, read_settings
from replicate_job.wire.prediction import Prediction

_log = logging.getLogger("replicate_job")


class Options(TypedDict, total=False):
    """What ``run``, ``arun``, ``stream`` and ``astream`` take besides the job.

    ``save_to``: the folder that gets ``<prediction_id>/`` with the output files; without it nothing is saved, but for
    local runs, whose files go to the user's state folder.
    ``key``: names the job in the journal; the same key never creates a second prediction.
    ``token``, ``base_url``, ``journal``: in place of the environment's. ``local``: run on this machine.
    ``allow_private_outputs``: fetch outputs also from this machine and private networks where the API is elsewhere.
    The others replace the job's own; see ``Job``.
    """

    save_to: str | Path | None
    key: str | None
    token: str | None
    base_url: str | None
    journal: str | Path | None
    local: bool
    allow_private_outputs: bool
    wait_for_completion: bool
    poll_interval: float
    max_poll_attempts: int
    cancel_after: str | None
    webhook: str | None
    webhook_events_filter: tuple[Literal["start", "output", "logs", "completed"], ...]
    allow_unknown: bool


class LogReporter:
    """Tells the logger ``replicate_job``."""

    def error(self, line: str) -> None:
        _log.error("%s", line)

    def warn(self, line: str) -> None:
        _log.warning("%s", line)

    def tell(self, line: str) -> None:
        _log.info("%s", line)

    def note(self, line: str) -> None:
        _log.info("%s", line)

    def saw(self, prediction: Prediction) -> None:
        _log.debug("%s is %s", prediction.id, prediction.status)


class _Call(msgspec.Struct, frozen=True):
    """One call of ``run``, with its options taken apart."""

    ask: Ask
    settings: Settings

    def open(self) -> AbstractAsyncContextManager[Context]:
        return open_session(self.settings, LogReporter(), model=self.ask.job.model)


def _call(job: Job | str, input_data: Mapping[str, Any] | None, options: Options) -> _Call:
    if unknown := options.keys() - Options.__annotations__.keys():
        raise TypeError(f"there is no option {min(unknown)!r}; there are {', '.join(Options.__annotations__)}")
    if isinstance(job, str):
        if job.endswith((".xs", ".toml", ".json")):
            raise JobError(f"{job} is a job file: run(load_job({job!r}))")
        job = Job(job, dict(input_data or {}))
    elif input_data:
        job = msgspec.structs.replace(job, input_data={**job.input_data, **input_data})
    own = {name: value for name, value in options.items() if name in Job.__struct_fields__}
    job = msgspec.structs.replace(job, input_data=native(job.input_data), **own)
    settings = read_settings(
        token=options.get("token"),
        base_url=options.get("base_url"),
        journal=options.get("journal"),
        local=options.get("local", False),
        allow_private_outputs=options.get("allow_private_outputs", False),
    )
    check_environment(job.env, settings)
    folder = options.get("save_to")
    if folder is None and settings.local:
        folder = settings.state / "outputs"  # the server's own files end with it
    save = str(expand(folder).absolute()) if folder else None
    key = options.get("key")
    return _Call(Ask(job, new_key() if key is None else key, save), settings)


async def arun(job: Job | str, input_data: Mapping[str, Any] | None = None, **options: Unpack[Options]) -> Result:
    """Run a job, or a model by its name, and give its Result, whatever its status. See ``Options``.

    A task that is cancelled leaves the prediction running and journaled: the same ``key``, or ``replicate-job
    resume``, finishes it. Raises the errors of ``replicate_job.errors``.
    """
    call = _call(job, input_data, options)
    async with call.open() as context:
        return await run_job(context, call.ask)


def run(job: Job | str, input_data: Mapping[str, Any] | None = None, **options: Unpack[Options]) -> Result:
    """Do as ``arun`` does and block until the end; also where an event loop already runs, as in a notebook.

    Ctrl-C cancels the prediction at the API before it raises KeyboardInterrupt. Another exception of a signal handler,
    as SystemExit at SIGTERM, leaves it running and journaled.
    """
    call = _call(job, input_data, options)
    with LoopThread() as loop:

        async def work() -> Result:
            async with call.open() as context:
                return await run_or_cancel(context, call.ask, leave=lambda: not loop.is_interrupted)

        return loop.run(work())


def astream(job: Job | str, input_data: Mapping[str, Any] | None = None, **options: Unpack[Options]) -> AsyncTextStream:
    """Yield the output's text as the model writes it; for a model that does not stream, whole at the end.

    Ends with the prediction; raises PredictionError unless it succeeded, and what ``arun`` raises. What is no text
    (numbers, objects, files) is in the stream's ``result``; an output without any text is logged as a warning.
    """
    return AsyncTextStream(_call(job, input_data, options))


def stream(job: Job | str, input_data: Mapping[str, Any] | None = None, **options: Unpack[Options]) -> TextStream:
    """Do as ``astream`` does, blocking between pieces; a stream that is left early leaves the prediction running."""
    return TextStream(_call(job, input_data, options))


class _Outcome:
    """Where a stream leaves its result. Apart from the stream, which then ends as soon as nothing refers to it."""

    def __init__(self) -> None:
        self._result: Result | None = None

    async def run(self, context: Context, call: _Call, emit: Emit) -> Result:
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
    """The text of a prediction, for one ``async for``; the prediction is created when that begins.

    ``result`` is the whole Result, with what is no text and the files that were kept, once the stream has ended, also
    with an error; before, it raises JobError. ``async with`` closes what is left early.
    """

    def __init__(self, call: _Call) -> None:
        self._outcome = _Outcome()
        self._pieces = _read(call, self._outcome)

    async def __anext__(self) -> str:
        return await anext(self._pieces)

    @property
    def result(self) -> Result:
        return self._outcome.result

    async def aclose(self) -> None:
        """Stop following. The prediction is left running and journaled."""
        await self._pieces.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class TextStream(Iterator[str]):
    """The text of a prediction, for one ``for``; see ``AsyncTextStream``."""

    def __init__(self, call: _Call) -> None:
        self._outcome = _Outcome()
        self._pieces = iterate(_read(call, self._outcome))

    def __next__(self) -> str:
        return next(self._pieces)

    @property
    def result(self) -> Result:
        return self._outcome.result

    def close(self) -> None:
        """Stop following. The prediction is left running and journaled."""
        self._pieces.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def _read(call: _Call, outcome: _Outcome) -> AsyncGenerator[str, None]:
    pieces: asyncio.Queue[str | None] = asyncio.Queue()

    async def work(context: Context) -> None:
        try:
            await outcome.run(context, call, pieces.put_nowait)
        finally:
            pieces.put_nowait(None)

    async with call.open() as context:
        running = asyncio.create_task(work(context))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            await running
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await running


def replicate_run_prediction(
    model: str,
    input_data: Mapping[str, Any],
    wait_for_completion: bool = True,  # noqa: FBT001, FBT002 - the seed's signature
    poll_interval: float = 1,
    max_poll_attempts: int = 60,
) -> dict[str, Any]:
    """Run the seed's function, and give its response of ten fields."""
    options: Options = {
        "wait_for_completion": wait_for_completion,
        "poll_interval": poll_interval,
        "max_poll_attempts": max_poll_attempts,
    }
    return run(model, input_data, **options).to_dict()

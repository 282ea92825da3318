"""What a job needs from outside: the API, the journal, a clock, a reporter, and a strategy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

import msgspec

from replicate_job.api.client import Client
from replicate_job.clock import Clock, Moment, SystemClock
from replicate_job.flow.account import AccountNote
from replicate_job.flow.listing import Listing
from replicate_job.flow.resolved import Resolved
from replicate_job.job import Job
from replicate_job.journal.entry import CreateRequest
from replicate_job.journal.protocol import Journal
from replicate_job.outputs.download import Fetch
from replicate_job.outputs.stores.stores import Stores
from replicate_job.telemetry import Telemetry
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import Target


class Strategy(Protocol):
    """What a job does in its own way alone, and as a row of a batch, which shares requests with the others."""

    @property
    def batch(self) -> str | None:
        """The id of the batch that the journal is to write down."""

    def known(self, request: CreateRequest) -> Resolved | None:
        """What is known already of the model that this create request is for."""

    def recall(self, context: Context, target: Target) -> Resolved | None:
        """What ``resolve`` gives without a request, if it can."""

    async def resolve(self, context: Context, target: Target) -> Resolved: ...
    async def read_list(self, context: Context, *, after: datetime, before: datetime) -> Listing: ...
    def recorded(self, prediction_id: str) -> None:
        """The journal has this prediction now. A job that looks for its own may leave it out."""

    async def wait(  # noqa: PLR0913 - what is waited for, and how patiently
        self,
        context: Context,
        prediction_id: str,
        last: Prediction | None,
        *,
        stored: Prediction | None,
        age: float,
        until: float,
        interval: float | None,
        soon: bool,
    ) -> Prediction | None:
        """Wait for the end as ``flow.wait.wait`` does. ``stored`` is what the journal has of it; ``age`` in seconds."""

    async def check_place(self, context: Context, save: str) -> None:
        """Raise JobError, or OutputError, where no output can be kept."""

    def keeps(self, context: Context, prediction: Prediction) -> bool:
        """Whether there is anything to save of it."""

    def saving(self, prediction: Prediction) -> AbstractAsyncContextManager[None]:
        """Wait until there is room for one more download."""

    def settle_problem(self, context: Context, prediction: Prediction, problem: str) -> str:
        """Report what the prediction lacks, or give it back for the job's record."""

    def advise_uncertain(self, context: Context, key: str) -> str: ...
    def advise_disk(self, context: Context) -> str: ...


class Reporter(Protocol):
    """Receives what happens to a job. A quiet reporter shows ``error`` lines only, for these are about money.

    ``warn`` lines say what may need action, ``tell`` lines what everyone may want to know, ``note`` lines the details.
    ``observed`` gets every prediction that the API answered with.
    """

    def error(self, line: str) -> None: ...
    def warn(self, line: str) -> None: ...
    def tell(self, line: str) -> None: ...
    def note(self, line: str) -> None: ...
    def observed(self, prediction: Prediction) -> None: ...


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often and for how long a step is tried again: seconds, or a number of tries.

    ``settle`` is how long the account's list may take to show a prediction that a broken create request made.
    ``overtaken`` replaces it once the list shows a prediction that is newer by so much. ``listing`` is how long a
    failing list is read again. ``throttle`` is how long to wait, in all, when the API asks for a pause before a create
    request. ``connects`` is the number of tries to connect. ``sends`` is the number of create requests, each after
    the one before certainly made nothing. ``appear`` is how long the API may answer 404 for a new prediction.
    """

    settle: float = 60
    overtaken: float = 10
    listing: float = 60
    throttle: float = 120
    connects: int = 6
    sends: int = 8
    appear: float = 30


def command_line(*words: str) -> str:
    """A command of ours for a hint, quoted for a shell."""
    import shlex  # noqa: PLC0415 - for hints only

    return f"`{shlex.join(['replicate-job', *words])}`"


class UploadLocks:
    """A lock for each content that is being uploaded, over all jobs of a session."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, sha256: str) -> asyncio.Lock:
        lock = self._locks.get(sha256) or asyncio.Lock()
        self._locks[sha256] = lock  # for as long as somebody holds it or waits for it
        return lock


class Context(msgspec.Struct, frozen=True):
    """``api`` is the API's name in the journal: its base URL, or ``local``.

    An ``ephemeral`` API, such as the local one, loses its predictions when it ends, and they cost nothing. ``cache``
    is a folder for the schemas of versions. ``line`` writes a command for a hint, with the options that lead to the
    same journal and API. ``advise_missing`` says what to do about a model of this name, which there is not.
    """

    api: str
    client: Client
    journal: Journal
    fetch: Fetch
    reporter: Reporter
    cache: Path
    account: AccountNote
    strategy: Strategy
    ephemeral: bool = False
    line: Callable[..., str] = command_line
    advise_missing: Callable[[str], str] = lambda _: ""
    clock: Clock = SystemClock()
    retry_policy: RetryPolicy = RetryPolicy()
    upload_locks: UploadLocks = msgspec.field(default_factory=UploadLocks)
    stores: Stores = msgspec.field(default_factory=Stores)
    telemetry: Telemetry = msgspec.field(default_factory=Telemetry)


def of_job(context: Context, job: Job) -> Context:
    """What this job needs: a training is created, listed and asked for at endpoints of its own."""
    return msgspec.structs.replace(context, client=context.client.trainings) if job.destination else context


def moment(context: Context) -> Moment:
    """Now, by every clock there is; the wall's is the journal's, for another machine may read it."""
    clock = context.clock
    return Moment(context.journal.time(), clock.boot, clock.now(), context.client.api_time)

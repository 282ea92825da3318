"""The parts that a job uses: the API client, the journal, a clock, a reporter, and a strategy."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
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
from replicate_job.outputs.stores.stores import Stores
from replicate_job.telemetry import Telemetry
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import Target

if TYPE_CHECKING:
    from replicate_job.outputs.download import Fetch


_PLAIN_WORD = r"(?a)[\w./:=@%+-]+"
"""A word that needs no quotes in a shell."""


class Strategy(Protocol):
    """The operations that differ between a single job and a row of a batch. The rows of a batch share requests."""

    @property
    def batch(self) -> str | None:
        """The id of the batch, for the journal. None for a single job."""

    def known(self, request: CreateRequest) -> Resolved | None:
        """The model of this create request. None if the model was not resolved before."""

    def recall(self, context: Context, target: Target) -> Resolved | None:
        """The result of ``resolve`` if it is known without a request, otherwise None."""

    async def resolve(self, context: Context, target: Target) -> Resolved: ...
    async def read_list(self, context: Context, *, after: datetime, before: datetime) -> Listing: ...
    def recorded(self, prediction_id: str) -> None:
        """Tell the strategy that the journal has this prediction now, so other jobs' look-ups may skip it."""

    async def wait(  # noqa: PLR0913 - the prediction, and how to wait for it
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
    ) -> Prediction:
        """Wait for the end as ``flow.wait.wait`` does.

        ``stored`` is the prediction from the journal. ``age`` is the prediction's age in seconds.
        """

    async def check_place(self, context: Context, save: str) -> None:
        """Raise JobError or OutputError if outputs cannot be kept in ``save``."""

    def keeps(self, context: Context, prediction: Prediction) -> bool:
        """Whether this prediction has anything to save."""

    def saving(self, prediction: Prediction) -> AbstractAsyncContextManager[None]:
        """A context manager that waits for a free download slot and holds it."""

    def settle_problem(self, context: Context, prediction: Prediction, problem: str) -> str:
        """Report ``problem`` and return an empty text, or return ``problem`` to be stored with the job."""

    def advise_uncertain(self, context: Context, key: str) -> str: ...
    def advise_disk(self, context: Context) -> str: ...


class Reporter(Protocol):
    """Receives messages and predictions of a job.

    ``error`` lines are about money: a quiet reporter shows only these. ``warn`` lines may need action. ``tell`` lines
    are information for every user, and ``note`` lines are details. ``observed`` is called with every prediction that
    the API returned.
    """

    def error(self, line: str) -> None: ...
    def warn(self, line: str) -> None: ...
    def tell(self, line: str) -> None: ...
    def note(self, line: str) -> None: ...
    def observed(self, prediction: Prediction) -> None: ...


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often, or for how many seconds, each step is tried again.

    These values are in seconds: ``settle`` is how long the account's list may take to show a prediction whose create
    request got no answer. The look-up ends earlier if the list shows a later prediction: one that was created at least
    ``overtaken`` after the request had ended. ``listing`` is how long a failing list is read again. ``throttle`` is the
    total wait after 429 answers to a create request. ``appear`` is how long the API may answer 404 for a new
    prediction.

    These values are counts: ``connects`` is the number of tries to connect. ``sends`` is the number of create requests.
    A further request is sent only if the request before it certainly created no prediction.
    """

    settle: float = 60
    overtaken: float = 10
    listing: float = 60
    throttle: float = 120
    connects: int = 6
    sends: int = 8
    appear: float = 30


def command_line(*words: str) -> str:
    """A ``replicate-job`` command for a hint, with shell quoting."""
    if not all(re.fullmatch(_PLAIN_WORD, word) for word in words):
        import shlex  # noqa: PLC0415 - few hints need it

        words = tuple(map(shlex.quote, words))
    return f"`{' '.join(('replicate-job', *words))}`"


class UploadLocks:
    """One lock for each file content, so that jobs of a session never upload the same content at the same time."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, sha256: str) -> asyncio.Lock:
        lock = self._locks.get(sha256) or asyncio.Lock()
        self._locks[sha256] = lock  # a weak reference: the lock lasts while a task holds it or waits for it
        return lock


class Context(msgspec.Struct, frozen=True):
    """``api`` is the API's name in the journal: its base URL, or ``local``.

    An ``ephemeral`` API, such as the local server, loses its predictions when it stops. Its predictions cost nothing.
    ``cache`` is the folder for schemas of versions. ``line`` writes a command for a hint, with the options that select
    the same journal and API. ``advise_missing`` returns advice for a model name that does not exist.
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
    """The context with the API client for this job. A training has API endpoints of its own."""
    return msgspec.structs.replace(context, client=context.client.trainings) if job.destination else context


def moment(context: Context) -> Moment:
    """The current time by every clock. The wall time is the journal's, since other machines may read the moment."""
    clock = context.clock
    return Moment(context.journal.time(), clock.boot, clock.now(), context.client.api_time)

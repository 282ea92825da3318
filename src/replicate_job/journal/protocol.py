"""The journal's interface. Another store can implement it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from replicate_job.clock import Moment
from replicate_job.inputs.upload import FileInfo
from replicate_job.job import Job
from replicate_job.journal.entry import Adoption, BatchEntry, Claim, CreateRequest, Entry, JobCount, Pruned
from replicate_job.journal.news import News, Seen
from replicate_job.wire.prediction import Prediction


class Journal(Protocol):
    """Records what happened to every job.

    Facts (``intend``, ``created``, ...) survive the death of the process once awaited. They raise ClaimLostError where
    another process has taken the job over. Every method raises JournalError where the store cannot be used.
    """

    @property
    def lease(self) -> float:
        """Seconds that a claim lasts without renewal."""

    @property
    def damaged(self) -> dict[str, str]:
        """The damaged rows that lists have left out so far: a line about each, by the job's key.

        Reading such a job alone, or claiming it, raises DamagedError: nothing is created for it.
        """

    def time(self) -> float:
        """Unix time by the clock that all users of this journal share: the database's where it has one."""

    async def claim(  # noqa: PLR0913 - what a row holds from the start
        self,
        key: str,
        api: str,
        job: Job,
        save: str | None,
        *,
        prediction: Prediction | None = None,
        request: CreateRequest | None = None,
        sent: Moment | None = None,
        batch: str | None = None,
        chain_step: str | None = None,
    ) -> Claim:
        """Take up a job: a new one, one left unfinished, or a finished one to read its result.

        A ``prediction`` that exists becomes the job's, unless the job has another, or another job has this one.
        With ``request``, the create request of a new job is recorded at once, as ``intend`` does, and the claim
        ``intends``; ``sent`` is by default the time of the journal's clock.
        ``chain_step`` is the step's name where the job is one of a chain, whose key ends in it.
        Raises JobHeldError while another live process has it, KeyInUseError when ``key`` names a different job. With
        ``request``, raises BatchCanceledError where the ``batch`` is a fleet's and canceled.
        """

    def hurry(self) -> None:
        """Wait no more than some seconds, in all, for a database that is away: the process is to end."""

    def news(self, name: str) -> AbstractContextManager[News | None]:
        """News of a job's key or a prediction's id, for the block; None where the journal has none: then ask again."""

    async def seen(self, prediction_id: str, api: str) -> Seen:
        """What a fleet knows of a prediction whose end this process waits for."""

    async def renew(self) -> None:
        """Renew the lease of this process. The journal also does it by itself while the process lives."""

    async def release(self, claim: Claim, made: Prediction | None = None) -> None:
        """End the claim, so that another process can take the job up at once.

        ``made`` is the job's prediction where ``created`` could not write it: it is recorded with the release.
        """

    async def intend(self, claim: Claim, request: CreateRequest, sent: Moment) -> Claim:
        """Record that this create request is about to be sent, and check the claim in the same transaction.

        The record is on the disk when this returns: a power cut does not undo it. The returned claim ``intends``,
        unless its job has got a prediction meanwhile: then nothing may be sent. Raises BatchCanceledError as ``claim``.
        """

    async def unsent(self, claim: Claim) -> None:
        """Record that neither the intended create request nor any before it made a prediction."""

    async def created(self, claim: Claim, prediction: Prediction, *, collected: bool = False) -> str:
        """Record the prediction, and return the job's id: the first one that was recorded stays.

        The state is ``ended`` for a terminal prediction, and ``collected`` if nothing of it is to be saved. The record
        is on the disk when this returns; that of a terminal prediction, of which nothing more is asked, soon after.

        A lost claim may record too, unless the key was freed and given to a new job (ClaimLostError). The result is
        empty when another job of this journal has that id.
        """

    async def adopt(
        self,
        claim: Claim,
        same: Sequence[str],
        almost: Sequence[str] = (),
        *,
        is_own_list: bool = True,
        unanswered: Moment | None = None,
    ) -> Adoption:
        """Take one of these predictions for this job. ``same``, oldest first, match its request.

        ``unanswered`` is a moment at which the request had ended; the first one stays, for rivals to see.

        Predictions of other jobs are skipped. The rest is unclear in four cases: there are more than jobs with the
        same request and no prediction; one of these jobs differs in what the list cannot show; there is such a job, and
        it is not known whether the list is of the account that sent this one's request (``is_own_list``); or only
        ``almost`` ones remain, which may be this job's or another's.
        """

    async def ended(self, claim: Claim, prediction: Prediction) -> None:
        """Record a terminal prediction, with its id where ``created`` could not be written."""

    async def collected(
        self,
        claim: Claim,
        prediction: Prediction,
        files: Sequence[Path] = (),
        problem: str = "",
        *,
        save: str | None = None,
    ) -> None:
        """Record the saved files and their folder; ``problem`` says why other files can never be saved.

        ``prediction`` is terminal. It is written with this fact, for earlier facts may have failed to write it.
        """

    async def refused(self, claim: Claim, problem: str) -> None:
        """Record that the job certainly has no prediction: its key is free. Raises ClaimLostError if it has one."""

    async def uncertain(self, claim: Claim, problem: str) -> None:
        """Record that the job may have a prediction or not. Raises ClaimLostError if one is known."""

    async def restart(self, claim: Claim, problem: str) -> None:
        """Free the key of a job whose prediction was lost with its local server; it cost nothing."""

    def is_same(self, entry: Entry, job: Job) -> bool:
        """Whether the entry's job asks for the same prediction."""

    async def printer(self) -> Callable[[Job], str]:
        """What makes a job's keyed fingerprint: the same for jobs that ask for the same prediction."""

    async def successes(self, api: str, requests: Sequence[CreateRequest], since: float) -> list[list[Entry]]:
        """For each request, the jobs that the same one made, that have succeeded and whose results are stored.

        Newest first, a few of each, and none that was sent before that Unix time. The files of a request are told from
        others by their contents (``CreateRequest.files``), and its webhook counts.
        """

    async def account(self, api: str, token: str | None = None) -> str | None:
        """The account of this journal's token, or of another's keyed hash (``Entry.token``); None: not known."""

    async def note_account(self, api: str, account: str) -> None:
        """Record whose token this journal was opened with."""

    def uses_token(self, entry: Entry) -> bool:
        """Whether the entry's last create request was sent with the token that this journal was opened with."""

    async def get(self, key: str) -> Entry | None: ...

    async def look_up(self, keys: Sequence[str]) -> dict[str, Entry]:
        """The jobs with these keys."""

    async def steps_of(self, key: str) -> list[Entry]:
        """The steps of the chain of that key, oldest first, each by its first job."""

    async def api_of(self, start: str) -> str | None:
        """The API of a job whose key begins with ``start``; None without such a job."""

    async def find(self, prediction_id: str, api: str) -> Entry | None: ...

    async def unfinished(self, api: str) -> list[Entry]:
        """Oldest first, without the rows of batches."""

    async def under_way(self, api: str) -> list[Entry]:
        """Jobs whose create request has an unknown outcome so far, rows of batches included."""

    async def entries(self, limit: int | None = None) -> list[Entry]:
        """Newest first, without the rows of batches."""

    def scan(self, *, batch: str | None = None, since: float = 0) -> AsyncGenerator[list[Entry], None]:
        """All jobs that were claimed since that Unix time, or all rows of a batch, some at a time."""

    async def past(self, api: str, model: str, limit: int) -> list[Entry]:
        """Jobs of that model (without a version) whose prediction has ended, rows of batches included, newest first.

        Of the newest ``SCANNED`` jobs of the journal.
        """

    async def forget(self, key: str) -> None:
        """Delete a finished job's data: its input, its prediction, and the paths of its files.

        Its key, a fingerprint, the id and the status stay: the same key never creates a second prediction. ``entries``
        leaves it out. A refused job is deleted as a whole. Raises JobError for an unfinished or unknown job, and for a
        row of a batch.
        """

    async def begin_batch(self, batch: BatchEntry) -> None:
        """Record that a batch is run, and the command that continues it."""

    async def batches(self) -> list[BatchEntry]:
        """Newest first."""

    async def counts(self) -> list[JobCount]:
        """How many jobs there are. It reads all rows, some thousand at a time, so that others can write between."""

    async def prune(self, before: float, *, forget: bool = False, dry_run: bool = False) -> Pruned:
        """Delete the data of jobs that are over and were claimed before that Unix time, and make the file smaller.

        A job that ran leaves its key, its prediction's id and its status, so that the key pays for nothing again; with
        ``forget`` it leaves nothing, and the key is free. ``dry_run`` counts only.
        """

    async def swap_rate(self, api: str, kind: str, seen: str, state: str) -> str | None:
        """Write the state of a rate limit of this journal's token at this API, where it is still as it was ``seen``.

        None once it is written. Otherwise the state as another process has written it; empty where there is none. It is
        not synced: a power cut may undo it.
        """

    async def find_upload(self, api: str, sha256: str) -> FileInfo | None:
        """Find a file with this content that was uploaded to this API before; it may have expired."""

    async def remember_upload(self, api: str, sha256: str, info: FileInfo) -> None: ...

"""The journal's interface, which every store implements."""

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
    """Records the progress of every job.

    A record (of ``intend``, ``created``, ...) whose write was awaited survives the death of the process. Writing a
    record raises ClaimLostError if another process has taken over the job. Every method raises JournalError if the
    store fails.
    """

    @property
    def lease(self) -> float:
        """Seconds that a claim lasts without renewal."""

    @property
    def damaged(self) -> dict[str, str]:
        """A message about each damaged row that was left out of a list so far, by the job's key.

        Reading or claiming the job of a damaged row raises DamagedError, so no prediction is created for it.
        """

    def time(self) -> float:
        """Unix time by the clock that all users of this journal share: the database's clock, if it has a clock."""

    async def claim(  # noqa: PLR0913 - the first facts of a job's row
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
        """Claim a new or unfinished job, or a finished job to read its result.

        ``prediction`` exists already. It becomes the job's prediction, unless the job has another prediction, or
        another job has this prediction. With ``request``, the create request of a new job is recorded in the same
        write, as by ``intend``, and the returned claim ``intends``. ``sent`` is the moment when the request is sent, by
        default the journal's time. ``chain_step`` is the name of the job's step in a chain; the key ends with it.
        Raises JobHeldError while another live process has the claim, and KeyInUseError if ``key`` belongs to a
        different job. With ``request``, raises BatchCanceledError if ``batch`` is a canceled batch of a fleet.
        """

    def hurry(self) -> None:
        """From now on, wait only some seconds in all for an unreachable database: the process is about to end."""

    def news(self, name: str) -> AbstractContextManager[News | None]:
        """A context manager for notifications about ``name``, which is a job's key or a prediction's id.

        Its value is None if the journal sends no notifications. Then the caller has to poll.
        """

    async def seen(self, prediction_id: str, api: str) -> Seen:
        """Whether a fleet's watcher polls this prediction, and the ended prediction if any process has recorded it."""

    async def renew(self) -> None:
        """Renew the lease of this process. The journal also renews the lease by itself while the process lives."""

    async def release(self, claim: Claim, made: Prediction | None = None) -> None:
        """End the claim, so that another process can claim the job immediately.

        ``made`` is a prediction of the job that ``created`` could not write. It is recorded too.
        """

    async def intend(self, claim: Claim, request: CreateRequest, sent: Moment) -> Claim:
        """Record that this create request is about to be sent, and check the claim in the same transaction.

        When this method returns, the record is on the disk, safe from a power cut. The returned claim ``intends``,
        unless the job has got a prediction meanwhile: then no request may be sent. Raises BatchCanceledError like
        ``claim``.
        """

    async def unsent(self, claim: Claim) -> None:
        """Record that neither the intended create request nor an earlier request made a prediction."""

    async def created(self, claim: Claim, prediction: Prediction, *, collected: bool = False) -> str:
        """Record the prediction, and return the job's prediction id. An id that was recorded before is not replaced.

        The state becomes ``ended`` for a terminal prediction, and ``collected`` if ``collected`` is true: then the
        prediction has no outputs to save. When this method returns, the record is on the disk. Only the record of a
        terminal prediction reaches the disk a moment later.

        The prediction is recorded even if the claim was lost. Raises ClaimLostError if the key was freed and given to a
        new job. Returns an empty text if another job of this journal has the prediction's id.
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
        """Adopt one of these predictions for this job.

        ``same`` are the ids of predictions that match the job's request, oldest first. ``almost`` are the ids of
        predictions that may match it (see ``flow.matching``). ``unanswered`` is a moment by which the request had
        ended. The first such moment is stored, since rivals need it.

        Predictions of other jobs are skipped. The remaining predictions are unclear, and none is adopted, in four
        cases:

        - There are more predictions than this job and its rivals can have made.
        - A rival's request differs in a part that the list does not show.
        - There is a rival, and the list may be another account's (``is_own_list`` is false).
        - Only predictions in ``almost`` remain, which may belong to another job.
        """

    async def ended(self, claim: Claim, prediction: Prediction) -> None:
        """Record a terminal prediction, and its id if ``created`` could not write the id."""

    async def collected(
        self,
        claim: Claim,
        prediction: Prediction,
        files: Sequence[Path] = (),
        problem: str = "",
        *,
        save: str | None = None,
    ) -> None:
        """Record the saved files and their place. ``problem`` is the reason why other files can never be saved.

        ``prediction`` is terminal. It is written again, since an earlier write of it may have failed.
        """

    async def refused(self, claim: Claim, problem: str) -> None:
        """Record that the job certainly has no prediction, which frees its key.

        Raises ClaimLostError if the job has a prediction.
        """

    async def uncertain(self, claim: Claim, problem: str) -> None:
        """Record that the job may or may not have a prediction.

        Raises ClaimLostError if the journal has the job's prediction.
        """

    async def restart(self, claim: Claim, problem: str) -> None:
        """Free the key of a job whose prediction was lost with its local server. The prediction cost nothing."""

    def is_same(self, entry: Entry, job: Job) -> bool:
        """Whether the entry's job asks for the same prediction."""

    async def printer(self) -> Callable[[Job], str]:
        """A function that returns a job's keyed fingerprint.

        The fingerprints of two jobs are equal if the jobs ask for the same prediction.
        """

    async def successes(self, api: str, requests: Sequence[CreateRequest], since: float) -> list[list[Entry]]:
        """A list for each request: jobs with an equal request that have succeeded and whose results are stored.

        Each list has at most a few jobs, newest first. Jobs whose requests were sent before ``since`` (Unix time) are
        left out. Input files are compared by their contents (``CreateRequest.files``). The webhooks of requests without
        files are compared too.
        """

    async def account(self, api: str, token: str | None = None) -> str | None:
        """The account of this journal's token, or of the token with this keyed hash (``Entry.token``).

        None if the account is not known.
        """

    async def note_account(self, api: str, account: str) -> None:
        """Record the account of the token that this journal was opened with."""

    def uses_token(self, entry: Entry) -> bool:
        """Whether the entry's last create request was sent with this journal's token."""

    async def get(self, key: str) -> Entry | None: ...

    async def look_up(self, keys: Sequence[str]) -> dict[str, Entry]:
        """The jobs with these keys, by key. Unknown keys are left out."""

    async def steps_of(self, key: str) -> list[Entry]:
        """The first job of each step of the chain with this key, oldest first."""

    async def api_of(self, start: str) -> str | None:
        """The API of any job whose key begins with ``start``. None if there is no such job."""

    async def find(self, prediction_id: str, api: str) -> Entry | None: ...

    async def unfinished(self, api: str) -> list[Entry]:
        """Unfinished jobs, oldest first, without the rows of batches."""

    async def under_way(self, api: str) -> list[Entry]:
        """Jobs whose create request has no known outcome yet, including rows of batches."""

    async def entries(self, limit: int | None = None) -> list[Entry]:
        """Jobs, newest first, without the rows of batches."""

    def scan(self, *, batch: str | None = None, since: float = 0) -> AsyncGenerator[list[Entry], None]:
        """Yield the jobs that were claimed since that Unix time, or all jobs of ``batch``, in portions."""

    async def past(self, api: str, model: str, limit: int) -> list[Entry]:
        """Ended jobs of this model (named without a version), including rows of batches, newest first.

        Only the newest ``SCANNED`` jobs of the journal are searched.
        """

    async def forget(self, key: str) -> None:
        """Delete a finished job's data: its input, its prediction, and the paths of its files.

        Its key, fingerprint, prediction id and status stay, so that the key never creates a second prediction.
        ``entries`` leaves the job out. A refused job is deleted completely. Raises JobError for an unfinished or
        unknown job, and for a row of a batch.
        """

    async def begin_batch(self, batch: BatchEntry) -> None:
        """Record that a batch was started, and the command that continues it. Clears a cancellation of the batch."""

    async def batches(self) -> list[BatchEntry]:
        """All batches, newest first."""

    async def counts(self) -> list[JobCount]:
        """The number of jobs in each state. Reads the rows in portions, so that other processes can write."""

    async def prune(self, before: float, *, forget: bool = False, dry_run: bool = False) -> Pruned:
        """Delete the data of jobs that are over and were claimed before that Unix time, and shrink the file.

        A job that ran keeps its key, its prediction's id and its status, so that its key creates no second prediction.
        With ``forget`` the whole row is deleted, and the key is free. ``dry_run`` only counts.
        """

    async def swap_rate(self, api: str, kind: str, seen: str, state: str) -> str | None:
        """Write the state of a rate limit of this journal's token at this API, if the stored state is still ``seen``.

        Returns None if the state was written, else the state that another process has written (empty if there is none).
        The write is not synced, so a power cut may undo it.
        """

    async def find_upload(self, api: str, sha256: str) -> FileInfo | None:
        """Find an earlier upload of this content to this API. It may have expired."""

    async def remember_upload(self, api: str, sha256: str, info: FileInfo) -> None: ...

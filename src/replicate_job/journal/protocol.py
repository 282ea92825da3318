"""The journal as the flow sees it. Small enough for another store to stand behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from replicate_job.clock import Moment
from replicate_job.inputs.upload import FileInfo
from replicate_job.job import Job
from replicate_job.journal.entry import Adoption, BatchEntry, Claim, CreateRequest, Entry, Pruned
from replicate_job.wire.prediction import Prediction


class Journal(Protocol):
    """What happened to every job.

    Facts (``intend``, ``created``, ...) are durable against the death of the process once awaited. Every method
    raises JournalError where the store cannot be used. Facts with a claim that another process has taken over
    raise ClaimLostError.
    """

    @property
    def lease(self) -> float:
        """Seconds that claims hold when their process says nothing more."""

    @property
    def damaged(self) -> dict[str, str]:
        """The jobs whose rows could not be read and were left out of a list so far: a line about each, by its key.

        To ask for such a job alone raises DamagedError, as does a claim: nothing is created for it.
        """

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
    ) -> Claim:
        """Take up a job: a new one, one left unfinished, or a finished one to read its result.

        With ``prediction``, one that exists already becomes the job's, unless it has another or that is another job's.
        With ``request``, the create request of a new job is recorded at once, as ``intend`` does, and the claim
        ``intends``; ``sent`` is by the journal's own clock where it is not given.
        Raises JobHeldError while another live process has it, KeyInUseError when ``key`` names a different job.
        """

    async def renew(self) -> None:
        """Say that this process still acts for what it claimed, as the journal does by itself while it lives."""

    async def release(self, claim: Claim) -> None:
        """Let others take the job up at once."""

    async def intend(self, claim: Claim, request: CreateRequest, sent: Moment) -> Claim:
        """Record that this create request is about to be sent, and check the claim in the same transaction.

        On the disk when it comes back: a power cut does not undo it. The claim that comes back ``intends``, unless its
        job has a prediction: then it has been created meanwhile, and nothing may be sent.
        """

    async def unsent(self, claim: Claim) -> None:
        """Record that the create request that was intended, and every one before it, certainly made nothing."""

    async def created(self, claim: Claim, prediction: Prediction, *, collected: bool = False) -> str:
        """Record the prediction. The first id that is recorded for a job stays: it is what comes back.

        A terminal prediction is ``ended`` with it, and with ``collected`` the job is finished: nothing is to be kept.
        On the disk when it comes back.

        A claim that was lost may record too, unless the key was freed and given to a new job (ClaimLostError). Comes
        back empty when another job of this journal has that id.
        """

    async def adopt(self, claim: Claim, same: Sequence[str], almost: Sequence[str] = ()) -> Adoption:
        """Take one of these predictions for this job: ``same`` were made by its very request (oldest first).

        Those that other jobs own are skipped. It is unclear which one it is when more are left than there are jobs
        with the same request and no prediction yet; when one of these jobs differs in what the list cannot show; and
        when only ``almost`` ones are left, which can be told neither from this job's nor from another's.
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
        """Record the files that were kept, and in which folder; ``problem`` says why others never can be.

        ``prediction`` is terminal; what earlier facts could not write of it is written with this one.
        """

    async def refused(self, claim: Claim, problem: str) -> None:
        """Record that there is certainly no prediction: the key is free. Raises ClaimLostError where there is one."""

    async def uncertain(self, claim: Claim, problem: str) -> None:
        """Record that it cannot be told whether there is a prediction. Raises ClaimLostError where there is one."""

    async def restart(self, claim: Claim, problem: str) -> None:
        """Free the key of a job whose prediction is gone with the server that ran it; nothing was paid for it."""

    def is_same(self, entry: Entry, job: Job) -> bool:
        """Whether the entry's job asks for the same prediction."""

    async def account(self, api: str, token: str | None = None) -> str | None:
        """The account of this journal's token, or of another's keyed hash (``Entry.token``); None: not known."""

    async def note_account(self, api: str, account: str) -> None:
        """Record whose token this journal was opened with."""

    def uses_token(self, entry: Entry) -> bool:
        """Whether the entry's last create request was sent with the token that this journal was opened with."""

    async def get(self, key: str) -> Entry | None: ...

    async def look_up(self, keys: Sequence[str]) -> dict[str, Entry]:
        """What there is of these keys."""

    async def api_of(self, start: str) -> str | None:
        """The API of a job whose key starts so; None where there is none."""

    async def find(self, prediction_id: str, api: str) -> Entry | None: ...

    async def unfinished(self, api: str) -> list[Entry]:
        """Oldest first, without the rows of batches."""

    async def under_way(self, api: str) -> list[Entry]:
        """Jobs of which it is not known yet what their create request made, rows of batches too."""

    async def entries(self, limit: int | None = None) -> list[Entry]:
        """Newest first, without the rows of batches."""

    async def forget(self, key: str) -> None:
        """Delete what is known of a finished job: its input, its prediction, which files were kept.

        The key, a fingerprint of the job, the id and the status stay: the same key never creates a second prediction.
        ``entries`` is without it. A refused job goes as a whole. Raises JobError for a job that is unfinished, or a
        row of a batch, or is not known.
        """

    async def begin_batch(self, batch: BatchEntry) -> None:
        """Write down that a batch is run, with what goes on with it."""

    async def batches(self) -> list[BatchEntry]:
        """Newest first."""

    async def prune(self, before: float, *, forget: bool = False, dry_run: bool = False) -> Pruned:
        """Take out jobs that are over and were claimed before that Unix time, and make the file smaller.

        A job that ran leaves its key, its prediction's id and its status, so that the key pays for nothing again; with
        ``forget`` it leaves nothing, and the key is free. ``dry_run`` counts only.
        """

    async def find_upload(self, api: str, sha256: str) -> FileInfo | None:
        """Find a file with this content that was uploaded to this API before; it may have expired."""

    async def remember_upload(self, api: str, sha256: str, info: FileInfo) -> None: ...

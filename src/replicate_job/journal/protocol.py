"""The journal as the flow sees it. Small enough for another store to stand behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from replicate_job.inputs.upload import FileInfo
from replicate_job.job import Job
from replicate_job.journal.entry import Adoption, BatchEntry, Claim, Entry, Request
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
        request: Request | None = None,
        batch: str | None = None,
    ) -> Claim:
        """Take up a job: a new one, one left unfinished, or a finished one to read its result.

        With ``prediction``, one that exists already becomes the job's, unless it has another or that is another job's.
        With ``request``, the create of a new job is recorded at once, as ``intend`` does, and the claim ``intends``.
        Raises JobHeldError while another live process has it, KeyInUseError when ``key`` names a different job.
        """

    async def renew(self) -> None:
        """Say that this process still acts for what it claimed, as the journal does by itself while it lives."""

    async def release(self, claim: Claim) -> None:
        """Let others take the job up at once."""

    async def intend(self, claim: Claim, request: Request) -> Entry:
        """Record that this create is about to be sent, and check the claim in the same transaction.

        An entry that comes back with a prediction has been created meanwhile: then nothing may be sent.
        """

    async def unsent(self, claim: Claim) -> None:
        """Record that the create which was intended, and every one before it, certainly made nothing."""

    async def created(self, claim: Claim, prediction: Prediction, *, collected: bool = False) -> str:
        """Record the prediction. The first id that is recorded for a job stays: it is what comes back.

        A terminal prediction is ``ended`` with it, and with ``collected`` the job is finished: nothing is to be kept.

        A claim that was lost may record too, unless the key was freed and given to a new job (ClaimLostError). Comes
        back empty when another job of this journal has that id.
        """

    async def adopt(self, claim: Claim, candidates: Sequence[str], doubtful: Sequence[str] = ()) -> Adoption:
        """Take one of these predictions (oldest first), made with this job's very request, for this job.

        Those that other jobs own are skipped. It is unclear which one it is when more are left than there are
        jobs with the same request and no prediction yet, or when only ``doubtful`` ones are left (predictions of
        this model whose input the API has removed already).
        """

    async def ended(self, claim: Claim, prediction: Prediction) -> None: ...

    async def collected(
        self, claim: Claim, files: Sequence[Path], problem: str = "", *, save: str | None = None
    ) -> None:
        """Record the files that were kept, and in which folder; ``problem`` says why others never can be."""

    async def refused(self, claim: Claim, problem: str) -> None: ...

    async def uncertain(self, claim: Claim, problem: str) -> None: ...

    async def get(self, key: str) -> Entry | None: ...

    async def look_up(self, keys: Sequence[str]) -> dict[str, Entry]:
        """What there is of these keys."""

    async def api_of(self, start: str) -> str | None:
        """The API of a job whose key starts so; None where there is none."""

    async def find(self, prediction_id: str, api: str) -> Entry | None: ...

    async def unfinished(self, api: str) -> list[Entry]:
        """Oldest first, without the rows of batches."""

    async def entries(self, limit: int | None = None) -> list[Entry]:
        """Newest first, without the rows of batches."""

    async def begin_batch(self, batch: BatchEntry) -> None:
        """Write down that a batch is run, with what goes on with it."""

    async def batches(self) -> list[BatchEntry]:
        """Newest first."""

    async def find_upload(self, api: str, sha256: str) -> FileInfo | None:
        """Find a file with this content that was uploaded to this API before; it may have expired."""

    async def remember_upload(self, api: str, sha256: str, info: FileInfo) -> None: ...

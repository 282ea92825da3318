"""The description of a batch: a job, and how to run it for rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from replicate_job.batches.row_job import ReadRow
from replicate_job.flow.job_run import LONGEST_BLOCKING_WAIT
from replicate_job.flow.resolved import Resolved
from replicate_job.flow.subject import Facts, Known
from replicate_job.job import Job
from replicate_job.journal.entry import fingerprint
from replicate_job.outputs.place import of_row

if TYPE_CHECKING:
    from replicate_job.batches.rows.grid import Grid
    from replicate_job.flow.plan import Plan

CONCURRENCY = 1000
"""The default number of predictions that run at the same time. At 600 create requests a minute, 1000 take 100 s."""
LOCAL_CONCURRENCY = 8
"""The default of ``concurrency`` with ``--local``. More predictions would only queue for this machine's processors."""
NOT_OF_FLEETS = ("concurrency", "fail_fast", "max_predict_time")
"""Options that a fleet refuses, because they need a single process."""


class OtherModel(msgspec.Struct, frozen=True):
    """A further model of the batch: its job, and the function that reads a row as the model's input."""

    job: Job
    read: ReadRow
    resolved: Resolved


class Batch(msgspec.Struct, frozen=True):
    """What to run, and how.

    ``id`` names the batch in the journal. ``save`` is the place for outputs (see ``outputs.place``); None: none are
    kept. ``limit`` is the number of rows to run, counted from the first. ``retry_failed`` makes a new prediction for
    each row whose last one failed, ``retry_uncertain`` for each uncertain row, which may pay twice. ``fail_fast`` stops
    creating predictions once a row fails; ``max_predict_time`` (seconds) and ``max_cost`` (USD) do so once the whole
    batch has spent that much. ``prices`` are the user's prices by model (``""``: the job's model; see ``Prices.read``).
    If the batch is closed early, its running predictions are canceled if ``cancels()`` is true. ``source`` and
    ``command`` describe the batch to people who read the journal. Every row runs with every combination of ``grid``;
    ``others`` are the models besides the job's, by name. ``plan`` says how rows are retried, when ``job.fallback`` is
    used, and how old a result may be that a row reuses. With ``dedupe``, rows with the same input share one prediction.
    ``blocking_wait`` is the longest blocking wait of a create request, in seconds.
    """

    id: str
    job: Job
    read: ReadRow
    save: str | None = None
    concurrency: int = CONCURRENCY
    id_column: str | None = None
    limit: int | None = None
    retry_failed: bool = False
    retry_uncertain: bool = False
    fail_fast: bool = False
    max_predict_time: float | None = None
    max_cost: Decimal | None = None
    prices: Mapping[str, str] = {}
    cancels: Callable[[], bool] = lambda: False
    source: str = ""
    command: str = ""
    plan: Plan | None = None
    dedupe: bool = False
    grid: Grid | None = None
    others: Mapping[str, OtherModel] = {}
    blocking_wait: int = LONGEST_BLOCKING_WAIT

    def facts(self) -> Facts:
        return Known(batch=self.id, model=self.job.model).facts()

    def place(self, line: int) -> str | None:
        """The place for the outputs of the row in that line."""
        return of_row(self.save, line) if self.save else None


def batch_id(api: str, job: Job, source: Path, columns: str = "") -> str:
    """The id of the batch of this job and this file. It depends neither on the day nor on the working directory.

    ``columns`` identifies the column options that change the rows' inputs.
    """
    parts = [api, fingerprint(job), str(source), *([columns] if columns else [])]
    digest = hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()
    return f"{source.stem[:40]}-{digest[:12]}"

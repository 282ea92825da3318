"""A fleet's data in the journal besides its jobs: batches with their rows, roles, workers, and tasks in the queue.

The queue's tables are in the same schema. So rows, and ends of predictions, are written in one transaction with their
tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from replicate_job.decoding import decode
from replicate_job.errors import JobError
from replicate_job.job import Job
from replicate_job.journal.entry import CreateRequest, Entry, decode_job
from replicate_job.journal.postgres import BETWEEN, CANCELED, CANCELED_ROW, NOW, PostgresJournal
from replicate_job.journal.postgres_budget import BudgetTables
from replicate_job.journal.postgres_news import notify
from replicate_job.journal.postgres_queue import CHUNK, defer_collect, defer_next, defer_rows, parts_of, queue_of
from replicate_job.journal.postgres_submission import Combination, Submission
from replicate_job.journal.sql import read_entry
from replicate_job.journal.store import Database
from replicate_job.journal.strip import needs_strip
from replicate_job.wire.prediction import Prediction

ALIVE = 15.0
"""A worker counts as alive for this many seconds after its last heartbeat."""
STALLED = 9.0
"""After this many seconds without a heartbeat of a queue's worker, its tasks are put back into the queue."""
ABANDONED = 7 * 86_400.0
"""Seconds after which the input files of an unfinished submission are deleted."""
RETRIED = 3600.0
"""Seconds until another try to delete input files that could not be deleted."""

_OVER = (
    "(NOT r.is_open AND (j.state IN ('collected', 'uncertain') OR (r.problem <> '' AND"
    " (j.key IS NULL OR j.state IN ('refused', 'claimed', 'created', 'ended')))))"
)
_ROWS = "batch_rows AS r LEFT JOIN jobs AS j ON j.key = r.key"
_ROW = (
    "r.line AS number, r.key, r.job, r.problem, r.combination, r.name, r.reused, r.is_open,"
    f" greatest(coalesce(r.due_at - {NOW}, 0), 0) AS due_in"
)
_TO_CREATE = (
    "r.problem = '' AND NOT r.reused AND (j.key IS NULL OR j.state IN ('claimed', 'intended', 'refused')"
    " OR r.is_open AND j.state = 'collected')"
)
_STEP_OF_ROW = (
    "j.key > b.id || '/' || r.name || '/' AND j.key < b.id || '/' || r.name || '0'"  # '0' comes after '/'
    " AND j.chain_step IS NOT NULL AND j.key = b.id || '/' || r.name || '/' || j.chain_step"
)
"""The SQL condition that a job is the first attempt of a step in the row's chain. It uses the row's name, since the
row's ``key`` may still be the key of another job."""
_PENDING = "t.status IN ('todo', 'doing')"


class Move(msgspec.Struct, frozen=True):
    """The change of the row ``name`` from its finished job to its next job.

    ``before`` is the key of the finished job, and ``key`` is the key of the next job. The next job may be created after
    ``pause`` seconds.
    """

    name: str
    before: str
    key: str
    pause: float


class Stand(msgspec.Struct, frozen=True):
    """The progress of the chain of the row ``name``. ``key`` is the key of the current step's job.

    ``over``: the chain has ended. ``problem`` is the error that ended the chain, empty if there is none.
    """

    name: str
    key: str
    problem: str
    over: bool


class FleetBatch(msgspec.Struct, frozen=True):
    """A batch whose rows are in the journal. ``started_at`` is the time of its last submission (Unix time).

    ``rate`` is in create requests a second, None for no limit. ``secrets`` are the names of the inputs that no
    result may show. ``stopped`` is the reason why no more rows are created; empty while rows are created. ``depot`` is
    the place of the rows' input files, None without input files. ``trace`` continues the submitter's trace (see
    ``Telemetry``). ``plan`` says which jobs follow a row's first job; it is empty for most batches.
    """

    number: int
    id: str
    api: str
    started_at: float
    job: Job
    save: str | None
    rate: float | None
    secrets: tuple[str, ...]
    stopped: str
    depot: str | None
    trace: str
    plan: str = ""


class FleetRow(msgspec.Struct, frozen=True):
    """A row, and its job. ``entry`` is the job in the journal, None if the journal has no such job.

    ``job`` is the job as it was submitted, None once it was deleted (see ``FleetTables.settle`` and ``stand``).
    ``number`` identifies the row in its batch, and ``line`` is its position in the source. ``grid`` are the values of
    its combination. ``due_in`` is the number of seconds until its job may be created. The other fields are as in
    ``NewRow``.
    """

    number: int
    line: int
    key: str
    job: Job | None
    problem: str
    grid: dict[str, Any]
    name: str
    reused: bool
    is_open: bool
    due_in: float
    entry: Entry | None = None


class Watched(msgspec.Struct, frozen=True):
    """A prediction that the watcher polls. ``last`` is its last recorded state, None if only its id is recorded.

    ``saves``: its outputs are to be saved. ``strips``: its create request has secrets or files, which are deleted from
    the journal after the end. ``path`` and ``version`` are the path and the version of the create request, empty if the
    journal has no request.
    """

    key: str
    api: str
    batch: str
    chain_step: str | None
    prediction_id: str
    last: Prediction | None
    saves: bool
    strips: bool
    path: str = ""
    version: str = ""


class End(msgspec.Struct, frozen=True):
    """A prediction that has ended. ``collected``: the prediction has no outputs to keep."""

    prediction: Prediction
    collected: bool


class Counts(msgspec.Struct, frozen=True):
    """The number (``rows``) of a batch's rows that have the same values in the other four fields.

    ``state`` is the state of the rows' jobs, None for rows without a job. ``status`` is the last known status of their
    predictions. ``failed``: the rows have a problem, or their predictions did not succeed.
    """

    state: str | None
    status: str | None
    failed: bool
    over: bool
    rows: int


class Worker(msgspec.Struct, frozen=True):
    """The state of a worker at its last heartbeat, ``age`` seconds ago."""

    host: str
    pid: int
    concurrency: int
    started_at: float
    age: float


class FleetTables:
    """The SQL statements of a fleet.

    A statement is repeated if its connection breaks at the commit. So each statement may be executed twice.
    """

    def __init__(self, journal: PostgresJournal) -> None:
        self._journal, self._store = journal, journal.store
        self.budgets = BudgetTables(journal)

    async def _write(self, query: str, *values: Any) -> int:
        """Run a statement, and return the number of written rows."""
        return await self._store.run(lambda db: db.execute(query, values).rowcount)

    async def join(self, api: str, account: str) -> None:
        """Make this account the fleet's account at the API.

        Raises JobError if another account has unfinished batches.
        """

        def work(db: Database) -> str | None:
            done = db.execute(
                "INSERT INTO fleets AS f (api, account) VALUES (?, ?) ON CONFLICT (api) DO UPDATE SET account ="
                " excluded.account WHERE f.account = excluded.account OR NOT EXISTS"
                " (SELECT FROM batches AS b WHERE b.api = f.api AND b.job IS NOT NULL AND b.over_at IS NULL)",
                (api, account),
            )
            if done.rowcount:
                return None
            return str(db.execute("SELECT account FROM fleets WHERE api = ?", (api,)).fetchone()["account"])

        if other := await self._store.run(work):
            raise JobError(
                f"the batches of this journal belong to the account {other}, and the token is of {account}: "
                "a fleet has one account at an API, as its list shows no other's predictions"
            )

    @property
    def is_local(self) -> bool:
        """Whether only processes on this machine can use the database."""
        return self._store.url.folder is not None

    def submission(self, size: int = CHUNK) -> Submission:
        """A context manager that writes the rows of a batch. ``size`` is the number of rows in a task."""
        return Submission(self._store, size)

    async def find(self, name: str, api: str) -> FleetBatch | None:
        return next(iter(await self.named([name], api)), None)

    async def named(self, names: Sequence[str], api: str) -> list[FleetBatch]:
        """The batches with these ids. Unknown ids are left out."""
        return await self._batches("id = ANY(?::text[]) AND api = ?", list(names), api) if names else []

    async def batch(self, number: int) -> FleetBatch | None:
        return next(iter(await self._batches("number = ?", number)), None)

    async def _batches(self, where: str, *values: Any) -> list[FleetBatch]:
        names = (
            "number, id, api, started_at, job, save, rate, secrets, stopped, depot, trace, coalesce(plan, '') AS plan"
        )
        query = f"SELECT {names} FROM batches WHERE job IS NOT NULL AND {where}"
        rows = await self._store.read(lambda db: db.execute(query, values).fetchall())
        return [FleetBatch(**row | {"job": decode_job(row["job"]), "secrets": _texts(row["secrets"])}) for row in rows]

    async def model(self, number: int) -> bytes:
        """The batch's resolved model, encoded."""
        query = "SELECT model FROM batches WHERE number = ?"
        row = await self._store.read(lambda db: db.execute(query, (number,)).fetchone())
        return str(row["model"]).encode()

    async def names(self, api: str) -> list[str]:
        """The ids of the batches at this API, newest first."""
        query = "SELECT id FROM batches WHERE job IS NOT NULL AND api = ? ORDER BY started_at DESC"
        return await self._store.read(lambda db: [row["id"] for row in db.execute(query, (api,))])

    async def rows(self, number: int, first: int, last: int) -> list[FleetRow]:
        """The rows with the numbers ``first`` to ``last``, with their jobs."""
        query = f"SELECT {_ROW} FROM batch_rows AS r WHERE r.batch = ? AND r.line BETWEEN ? AND ? ORDER BY r.line"
        found = await self._store.read(lambda db: db.execute(query, (number, first, last)).fetchall())
        return await self._with_entries(found)

    async def over_rows(self, number: int, after: int, limit: int, skip: Sequence[int] = ()) -> list[FleetRow]:
        """The next rows that are over, after the row number ``after``, without the row numbers in ``skip``."""
        query = (
            f"SELECT {_ROW} FROM {_ROWS} WHERE r.batch = ? AND r.line > ? AND {_OVER}"
            " AND NOT r.line = ANY(?::integer[]) ORDER BY r.line LIMIT ?"
        )
        values = (number, after, list(skip), limit)
        return await self._with_entries(await self._store.read(lambda db: db.execute(query, values).fetchall()))

    async def first_open(self, number: int, after: int) -> int | None:
        """The number of the first row after the row number ``after`` that is not over. None if there is no such row."""
        query = f"SELECT min(r.line) AS line FROM {_ROWS} WHERE r.batch = ? AND r.line > ? AND {_OVER} IS NOT TRUE"
        row = await self._store.read(lambda db: db.execute(query, (number, after)).fetchone())
        line: int | None = row["line"]
        return line

    async def _with_entries(self, found: Sequence[dict[str, Any]]) -> list[FleetRow]:
        entries = await self._journal.look_up([row["key"] for row in found if row["key"]])
        return [_row(row, entries.get(row["key"])) for row in found]

    async def note_problem(self, number: int, key: str, problem: str) -> None:
        """Record why the job with this key has no prediction. The rows with this job are over then."""
        query = "UPDATE batch_rows SET problem = ?, is_open = false WHERE batch = ? AND key = ?"
        await self._write(query, problem, number, key)

    async def note_problem_of(self, job: Entry | Watched, problem: str) -> None:
        """Record in all rows with this job that its outputs could not be kept, or its prediction does not exist."""
        query = (
            "UPDATE batch_rows AS r SET problem = ?, is_open = false, key = ? FROM batches AS b"
            " WHERE b.number = r.batch AND b.job IS NOT NULL"  # leaves out drafts, which are still being submitted
            " AND (r.key = ? OR r.is_open AND r.name = ? AND r.batch = (SELECT number FROM batches WHERE id = ?))"
        )
        batch, name = _place(job.batch, job.key, job.chain_step)
        await self._write(query, problem, job.key, job.key, name, batch)

    async def move(self, number: int, moves: Sequence[Move]) -> None:
        """Set the next jobs of these open rows. A row that another worker has moved is not changed."""
        query = (
            f"UPDATE batch_rows AS r SET key = v.key, due_at = {NOW} + v.pause"
            " FROM unnest(?::text[], ?::text[], ?::text[], ?::float8[]) AS v (name, before, key, pause)"
            " WHERE r.batch = ? AND r.name = v.name AND r.key = v.before AND r.is_open"
        )
        await self._write(query, *_columns(moves), number)

    async def stand(self, number: int, stands: Sequence[Stand]) -> None:
        """Record the progress of these open rows' chains.

        If the batch has secret inputs, the inputs of rows that are over are deleted.
        """
        query = (
            "UPDATE batch_rows AS r SET key = v.key, problem = v.problem, is_open = NOT v.over,"
            " job = CASE WHEN v.over AND b.secrets <> '[]' THEN NULL ELSE r.job END"
            " FROM batches AS b, unnest(?::text[], ?::text[], ?::text[], ?::boolean[]) AS v (name, key, problem, over)"
            " WHERE b.number = ? AND r.batch = b.number AND r.name = v.name AND r.is_open"
        )
        await self._write(query, *_columns(stands), number)

    async def close(self, number: int, names: Sequence[str]) -> None:
        """Record that these rows get no further jobs."""
        query = (
            "UPDATE batch_rows SET is_open = false, job = NULL WHERE batch = ? AND name = ANY(?::text[]) AND is_open"
        )
        await self._write(query, number, list(names))

    async def defer_next(self, api: str, entries: Sequence[Entry]) -> None:
        """Add tasks to the queue for the rows of these ended jobs that have a next step or a next attempt."""
        places = [_place(entry.batch, entry.key, entry.chain_step) for entry in entries]
        await self._store.run(lambda db: defer_next(db, api, places))

    async def settle(self, batch: FleetBatch, first: int, last: int) -> None:
        """Finish a task: delete copies of jobs that the table ``jobs`` has now, and add tasks that collect outputs.

        The task is for the rows with the numbers ``first`` to ``last``.
        """

        def work(db: Database) -> None:
            db.execute(
                "UPDATE batch_rows AS r SET job = NULL, problem = '' FROM jobs AS j WHERE j.key = r.key AND r.batch = ?"
                " AND r.line BETWEEN ? AND ? AND r.job IS NOT NULL AND NOT r.is_open"
                " AND j.state IN ('created', 'ended', 'collected')",
                (batch.number, first, last),
            )
            ended = db.execute(
                f"SELECT j.seq FROM {_ROWS} WHERE r.batch = ? AND r.line BETWEEN ? AND ? AND j.state = 'ended'",
                (batch.number, first, last),
            )
            defer_collect(db, batch.api, [row["seq"] for row in ended])

        await self._store.run(work)

    async def defer_rows(self, batch: FleetBatch, first: int, last: int, *, delay: float) -> None:
        """Put the task for these rows back into the queue. The task is run after ``delay`` seconds."""
        await self._store.run(lambda db: defer_rows(db, batch.api, batch.number, [(first, last)], delay=delay))

    async def defer_collect(self, api: str, seqs: Sequence[int], *, delay: float) -> None:
        await self._store.run(lambda db: defer_collect(db, api, seqs, delay=delay))

    async def defer_ended(self, api: str, keys: Sequence[str]) -> None:
        """Add tasks that collect the outputs of these jobs, except for jobs that have not ended yet."""

        def work(db: Database) -> None:
            query = "SELECT seq FROM jobs WHERE key = ANY(?::text[]) AND state = 'ended'"
            defer_collect(db, api, [row["seq"] for row in db.execute(query, (list(keys),))])

        await self._store.run(work)

    async def jobs(self, seqs: Sequence[int]) -> list[tuple[int, Entry]]:
        query = "SELECT * FROM jobs WHERE seq = ANY(?::bigint[])"
        return await self._store.read(
            lambda db: [(row["seq"], read_entry(row)) for row in db.execute(query, (list(seqs),))]
        )

    async def watched(self, api: str, known: set[str]) -> tuple[list[Watched], set[str]]:
        """The unfinished predictions whose ids are not in ``known``, and the ids of all unfinished predictions.

        Both include only predictions of a fleet's batches, and of jobs without a batch for which a process waits.
        """
        ids = (
            "SELECT j.prediction_id FROM jobs AS j JOIN batches AS b ON b.id = j.batch"
            " WHERE j.state = 'created' AND j.batch IS NOT NULL AND b.job IS NOT NULL AND b.api = ? AND j.api = b.api"
            " UNION ALL SELECT prediction_id FROM jobs WHERE state = 'created' AND batch IS NULL AND holder IS NOT NULL"
            " AND api = ?"
        )
        query = (
            "SELECT key, api, coalesce(batch, '') AS batch, chain_step, prediction_id, prediction, request,"
            " save IS NOT NULL AS saves FROM jobs WHERE prediction_id = ANY(?) AND api = ? AND state = 'created'"
        )

        def work(db: Database) -> tuple[list[Watched], set[str]]:
            current = {row["prediction_id"] for row in db.execute(ids, (api, api))}
            found: list[Watched] = []
            for part in parts_of(sorted(current - known), 1000):
                found += map(_watched, db.execute(query, (list(part), api)))
            return found, current

        return await self._store.read(work)

    async def end(self, api: str, ends: Sequence[End]) -> None:
        """Write ends, and the tasks that collect the outputs, in one transaction.

        The fence is not checked, since an end never changes. A process that waits for a job without a batch is
        notified, and keeps the job's outputs itself.
        """
        ids = [end.prediction.id for end in ends]
        encoded = [msgspec.json.encode(end.prediction).decode() for end in ends]
        states = ["collected" if end.collected else "ended" for end in ends]
        values = (
            ids,
            [end.prediction.status for end in ends],
            encoded,
            states,
            api,
        )
        query = (
            "UPDATE jobs AS j SET state = v.state, status = v.status, prediction = v.prediction, problem = '',"
            " holder = CASE WHEN v.state = 'collected' THEN NULL ELSE j.holder END"
            " FROM unnest(?::text[], ?::text[], ?::text[], ?::text[]) AS v (id, status, prediction, state)"
            " WHERE j.prediction_id = v.id AND j.api = ? AND j.state = 'created'"
            " RETURNING j.seq, j.state, j.key, j.batch, j.chain_step, v.id"
        )

        def work(db: Database) -> None:
            rows = db.execute(query, values).fetchall()
            in_batches = [row for row in rows if row["batch"]]
            defer_collect(db, api, [row["seq"] for row in in_batches if row["state"] == "ended"])
            defer_next(
                db,
                api,
                [
                    _place(row["batch"], row["key"], row["chain_step"])
                    for row in in_batches
                    if row["state"] == "collected" or row["chain_step"]
                ],
            )
            notify(db, [row["id"] for row in rows if not row["batch"]])

        await self._store.run(work)

    async def elect(self, role: str, api: str, seconds: float) -> bool:
        """Take or keep a role for this many seconds. False if another process has the role."""
        return await self._take(role, api, seconds, keeps=True)

    async def is_due(self, work: str, api: str, seconds: float) -> bool:
        """Whether this process must do the work now. Every ``seconds``, one process of the fleet does the work."""
        return await self._take(work, api, seconds, keeps=False)

    async def _take(self, role: str, api: str, seconds: float, *, keeps: bool) -> bool:
        query = (
            f"INSERT INTO roles AS r VALUES (?, ?, ?, {NOW} + ?) ON CONFLICT (role, api) DO UPDATE SET"
            " holder = excluded.holder, until = excluded.until"
            f" WHERE r.until < {NOW} OR ? AND r.holder = excluded.holder"
        )

        def work(db: Database) -> bool:
            is_mine = keeps or self._store.may_be_done  # an earlier try may have been committed
            return db.execute(query, (role, api, self._journal.holder, seconds, is_mine)).rowcount > 0

        return await self._store.run(work)

    async def resign(self, role: str, api: str) -> None:
        query = "DELETE FROM roles WHERE role = ? AND api = ? AND holder = ?"
        await self._write(query, role, api, self._journal.holder)

    async def seen(self, api: str, host: str, pid: int, concurrency: int) -> None:
        """Record a heartbeat of this worker."""
        query = (
            f"INSERT INTO workers VALUES (?, ?, ?, ?, ?, {NOW}, {NOW}) ON CONFLICT (holder) DO UPDATE SET"
            " seen_at = excluded.seen_at"
        )

        def work(db: Database) -> None:
            db.execute(f"DELETE FROM workers WHERE seen_at < {NOW} - 3600")
            db.execute(query, (self._journal.holder, api, host, pid, concurrency))

        await self._store.run(work)

    async def gone(self) -> None:
        query = "DELETE FROM workers WHERE holder = ?"
        await self._write(query, self._journal.holder)

    async def workers(self, api: str) -> list[Worker]:
        """The live workers."""
        query = (
            f"SELECT host, pid, concurrency, started_at, {NOW} - seen_at AS age FROM workers"
            f" WHERE api = ? AND seen_at > {NOW} - ? ORDER BY host, pid"
        )
        return await self._store.read(lambda db: [Worker(**row) for row in db.execute(query, (api, ALIVE))])

    async def give_again(self, api: str) -> int:
        """Put the tasks of workers without a heartbeat back into the queue, and return the number of these tasks.

        A task is deleted instead if another task for the same rows is waiting.
        """
        stalled = (
            "SELECT t.id FROM procrastinate_jobs AS t LEFT JOIN procrastinate_workers AS w ON w.id = t.worker_id"
            " WHERE t.status = 'doing' AND t.queue_name = ? AND (w.id IS NULL OR"
            " w.last_heartbeat < clock_timestamp() - make_interval(secs => ?)) ORDER BY t.id"
        )

        def work(db: Database) -> int:
            ids = [row["id"] for row in db.execute(stalled, (queue_of(api), STALLED))]
            db.execute(
                "DELETE FROM procrastinate_jobs AS t WHERE t.id = ANY(?::bigint[]) AND EXISTS (SELECT FROM"
                " procrastinate_jobs AS o WHERE o.queueing_lock = t.queueing_lock AND o.status = 'todo')",
                (ids,),
            )
            again = db.execute(
                "SELECT procrastinate_retry_job_v2(id, NULL, NULL, NULL, NULL) FROM procrastinate_jobs"
                " WHERE id = ANY(?::bigint[]) AND status = 'doing'",
                (ids,),
            )
            return len(again.fetchall())

        return await self._store.run(work)

    async def defer_lost(self, api: str) -> int:
        """Add tasks for open work in the journal that has no task. Also record which batches are over.

        Returns the number of lost tasks for rows, plus the number of jobs whose outputs no task collects.
        """

        def work(db: Database) -> int:
            _note_canceled(db, "over_at IS NULL AND api = ?", api)  # the canceling process may have died before this
            lost = db.execute(
                "SELECT r.batch, r.chunk, max(r.line) AS last FROM batches AS b JOIN batch_rows AS r ON r.batch ="
                f" b.number LEFT JOIN jobs AS j ON j.key = r.key WHERE b.api = ? AND b.job IS NOT NULL AND b.over_at"
                f" IS NULL AND (b.stopped = '' OR b.stopped = '{CANCELED}'"
                f" AND (r.is_open OR j.state IN ('claimed', 'intended'))) AND {_TO_CREATE}"
                " AND NOT EXISTS (SELECT FROM procrastinate_jobs AS t"
                f" WHERE t.queueing_lock = r.batch || '#' || r.chunk AND {_PENDING}) GROUP BY r.batch, r.chunk",
                (api,),
            ).fetchall()
            for row in lost:
                defer_rows(db, api, row["batch"], [(row["chunk"], row["last"])])
            ended = db.execute(
                "SELECT j.seq FROM jobs AS j JOIN batches AS b ON b.id = j.batch LEFT JOIN batch_rows AS r ON r.key ="
                " j.key AND r.batch = b.number WHERE j.state = 'ended' AND b.api = ? AND b.job IS NOT NULL"
                " AND (r.problem = '' OR r.key IS NULL AND j.chain_step IS NOT NULL)"
                " AND NOT EXISTS (SELECT FROM procrastinate_jobs AS t, jsonb_array_elements_text(t.args -> 'seqs') AS"
                f" s (seq) WHERE t.task_name = 'collect' AND {_PENDING} AND s.seq::bigint = j.seq)",
                (api,),
            )
            seqs = [row["seq"] for row in ended]
            defer_collect(db, api, seqs)
            over = db.execute(
                f"UPDATE batches AS b SET over_at = {NOW} WHERE b.api = ? AND b.job IS NOT NULL AND b.over_at IS NULL"
                f" AND NOT EXISTS (SELECT FROM {_ROWS} WHERE r.batch = b.number AND {_OVER} IS NOT TRUE)"
                " RETURNING b.depot",
                (api,),
            )
            depots = [row["depot"] for row in over if row["depot"]]
            if depots:
                db.execute(f"UPDATE depots SET due_at = {NOW} WHERE address = ANY(?)", (depots,))
            return len(lost) + len(seqs)

        return await self._store.run(work)

    async def add_depot(self, api: str, address: str) -> None:
        """Record a depot before files are copied to it. Without a batch, it is deleted after ``ABANDONED`` seconds."""
        query = f"INSERT INTO depots VALUES (?, ?, {NOW} + ?) ON CONFLICT DO NOTHING"
        await self._write(query, address, api, ABANDONED)

    async def due_depots(self, api: str) -> list[str]:
        """The addresses of depots that no batch needs any more.

        For ``RETRIED`` seconds only this process may delete these depots. A batch that is submitted again gets a new
        depot, so no batch needs the deleted files.
        """
        query = (
            f"UPDATE depots AS d SET due_at = {NOW} + ? WHERE d.api = ? AND d.due_at <= {NOW}"
            " AND NOT EXISTS (SELECT FROM batches AS b WHERE b.depot = d.address AND b.over_at IS NULL)"
            " RETURNING d.address"
        )
        return await self._store.run(lambda db: [row["address"] for row in db.execute(query, (RETRIED, api))])

    async def forget_depot(self, address: str) -> None:
        query = "DELETE FROM depots WHERE address = ?"
        await self._write(query, address)

    async def rate(self, api: str, default: float | None) -> float | None:
        """The lowest rate of the unfinished batches, in create requests a second. None if no batch has a rate.

        Returns ``default`` if there is no unfinished batch.
        """
        query = (
            "SELECT count(*) AS batches, min(rate) AS rate FROM batches"
            " WHERE api = ? AND job IS NOT NULL AND over_at IS NULL"
        )
        row = await self._store.read(lambda db: db.execute(query, (api,)).fetchone())
        return row["rate"] if row["batches"] else default

    async def stop(self, number: int, reason: str) -> None:
        """Stop creating rows of the batch. An earlier reason is not changed."""
        query = "UPDATE batches SET stopped = ? WHERE number = ? AND stopped = ''"
        await self._write(query, reason, number)

    async def cancel(self, number: int) -> int:
        """Stop the batch, and return the number of rows that were canceled before they were created.

        The journal records no intent for a canceled batch, and stopping the batch waits for claims that are being
        written. So the second transaction finds all claims.
        """
        query = "UPDATE batches SET stopped = ? WHERE number = ?"
        await self._write(query, CANCELED, number)
        return await self._store.run(lambda db: _note_canceled(db, "number = ?", number))

    async def under_way(self, number: int) -> list[Entry]:
        """The batch's jobs that have, or may have, an unfinished prediction."""
        query = (
            "SELECT j.* FROM jobs AS j JOIN batches AS b ON b.id = j.batch WHERE b.number = ?"
            " AND j.state IN ('claimed', 'intended', 'created') ORDER BY j.seq"
        )
        return await self._store.read(lambda db: [read_entry(row) for row in db.execute(query, (number,))])

    async def counts(self, number: int) -> list[Counts]:
        query = (
            f"SELECT j.state, j.status, r.problem <> '' OR coalesce(j.problem, '') <> '' OR j.status <> 'succeeded' IS"
            f" TRUE AS failed, {_OVER} IS TRUE AS over, count(*) AS rows FROM {_ROWS} WHERE r.batch = ?"
            " GROUP BY 1, 2, 3, 4"
        )
        return await self._store.read(lambda db: [Counts(**row) for row in db.execute(query, (number,))])

    async def errors(self, number: int, most: int) -> list[tuple[str, int]]:
        """The most frequent problems (at most ``most``) of rows that are over, each with the number of rows."""
        query = (
            "SELECT coalesce(nullif(r.problem, ''), nullif(j.problem, ''), j.status) AS problem, count(*) AS rows"
            f" FROM {_ROWS} WHERE r.batch = ? AND {_OVER} AND (r.problem <> '' OR j.problem <> '' OR j.status <>"
            " 'succeeded') GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?"
        )
        return await self._store.read(
            lambda db: [(row["problem"], row["rows"]) for row in db.execute(query, (number, most))]
        )

    async def oldest(self, number: int) -> float | None:
        """The number of seconds since the oldest unfinished row was claimed. None if no row is unfinished."""
        query = (
            f"SELECT {NOW} - min(j.claimed_at) AS age FROM {_ROWS} WHERE r.batch = ?"
            f" AND j.state IN ('claimed', 'intended', 'created', 'ended') AND NOT {_OVER}"
        )
        row = await self._store.read(lambda db: db.execute(query, (number,)).fetchone())
        age: float | None = row["age"]
        return age

    async def made(self, api: str, seconds: float) -> int:
        """The number of predictions whose jobs were claimed in the last ``seconds``."""
        query = (
            f"SELECT count(*) AS made FROM jobs WHERE api = ? AND prediction_id IS NOT NULL AND claimed_at > {NOW} - ?"
        )
        row = await self._store.read(lambda db: db.execute(query, (api, seconds)).fetchone())
        return int(row["made"])

    async def under_watch(self, api: str) -> int:
        """The number of predictions in batches at this API that have not ended, or whose outputs are not kept."""
        query = (
            "SELECT count(*) AS number FROM jobs AS j JOIN batches AS b ON b.id = j.batch WHERE j.state IN ('created',"
            " 'ended') AND j.batch IS NOT NULL AND b.job IS NOT NULL AND b.api = ? AND j.api = b.api"
        )
        row = await self._store.read(lambda db: db.execute(query, (api,)).fetchone())
        return int(row["number"])

    async def rate_state(self, api: str) -> str | None:
        """The stored state of the rate limit for create requests."""
        query = "SELECT state FROM rates WHERE api = ? AND kind = 'create' ORDER BY state DESC LIMIT 1"
        row = await self._store.read(lambda db: db.execute(query, (api,)).fetchone())
        return row["state"] if row else None


def _columns(items: Sequence[Move] | Sequence[Stand]) -> list[list[Any]]:
    """Convert items to columns: a list of values for each field."""
    return [list(column) for column in zip(*map(msgspec.structs.astuple, items), strict=True)]


def _texts(encoded: str) -> tuple[str, ...]:
    return decode(encoded, tuple[str, ...])


def _note_canceled(db: Database, where: str, value: Any) -> int:
    """Record that rows without a job in canceled batches were canceled. Returns the number of these rows.

    ``where`` is an SQL condition for the batches, and ``value`` is its parameter. If a batch is submitted again at the
    same time, the submission waits for this transaction, or has cleared the cancellation before.
    """
    query = (
        f"SELECT number FROM batches WHERE {where} AND job IS NOT NULL AND stopped = ? ORDER BY number"
        " FOR NO KEY UPDATE"  # not FOR SHARE, since the caller may update these batches too
    )
    numbers = [row["number"] for row in db.execute(query, (value, CANCELED)).fetchall()]
    number = "split_part(substr(r.key, length(b.id) + 2), '/', 1)"  # the attempt's number: see `canceled_row`
    return db.execute(
        "UPDATE batch_rows AS r SET is_open = false, problem ="
        f" CASE WHEN starts_with(r.key, b.id || '~') AND {number} ~ '^[0-9]{{1,9}}$'"
        f" THEN format(?::text, {number}::integer - 1, {number}) ELSE ?::text END FROM batches AS b"
        " WHERE b.number = ANY(?::bigint[]) AND r.batch = b.number AND r.problem = ''"
        " AND NOT EXISTS (SELECT FROM jobs AS j WHERE j.key = r.key AND j.state <> 'refused')"
        f" AND NOT EXISTS (SELECT FROM jobs AS j WHERE r.is_open AND {_STEP_OF_ROW} AND j.state <> 'refused')",
        (BETWEEN, CANCELED_ROW, numbers),
    ).rowcount


def _place(batch: str | None, key: str, step: str | None) -> tuple[str, str]:
    """The id of a job's batch, and the name of the job's row. The id is empty for a job without a batch.

    ``step`` is the name of the job's step in the row's chain, None if the job is no step.
    """
    name = key.removeprefix(batch or "").partition("/")[2]
    return batch or "", name.removesuffix(f"/{step}") if step else name


def _row(row: dict[str, Any], entry: Entry | None) -> FleetRow:
    which = decode(row["combination"], Combination) if row["combination"] else Combination(row["number"], {})
    names = {name: row[name] for name in ("number", "key", "problem", "name", "reused", "is_open", "due_in")}
    job = decode_job(row["job"]) if row["job"] else None
    return FleetRow(**names, line=which.line, grid=which.grid, job=job, entry=entry)


def _watched(row: dict[str, Any]) -> Watched:
    request = decode(row["request"], CreateRequest) if row["request"] else None
    last = decode(row["prediction"], Prediction) if row["prediction"] else None
    names = {name: row[name] for name in ("key", "api", "batch", "chain_step", "prediction_id", "saves")}
    path, version = (request.path, request.version) if request else ("", "")
    return Watched(**names, last=last, strips=needs_strip(request), path=path, version=version)

"""What a fleet has in the journal beside its jobs: batches with their rows, roles, workers, and tasks in the queue.

The queue's tables are in the same schema, so that rows, ends and the tasks that they need are written together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from replicate_job.decoding import decode
from replicate_job.errors import JobError
from replicate_job.job import Job
from replicate_job.journal.entry import CreateRequest, Entry, decode_job
from replicate_job.journal.postgres import CANCELED, CANCELED_ROW, NOW, PostgresJournal
from replicate_job.journal.postgres_budget import BudgetTables
from replicate_job.journal.postgres_news import notify
from replicate_job.journal.postgres_queue import CHUNK, defer_collect, defer_next, defer_rows, parts_of, queue_of
from replicate_job.journal.postgres_submission import Combination, Submission
from replicate_job.journal.sql import read_entry
from replicate_job.journal.store import Database
from replicate_job.journal.strip import needs_strip
from replicate_job.wire.prediction import Prediction

ALIVE = 15.0
"""Seconds for which a worker is held to be alive after it was seen."""
STALLED = 9.0
"""Seconds without a heartbeat of the queue's worker, after which its tasks are given again."""
ABANDONED = 7 * 86_400.0
"""Seconds after which the input files of a submission are deleted that never came to its end."""
RETRIED = 3600.0
"""Seconds after which input files are deleted that could not be deleted before."""

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
"""A job is the first attempt of a step of the row's chain: the row may not have its key yet."""
_PENDING = "t.status IN ('todo', 'doing')"


class Move(msgspec.Struct, frozen=True):
    """The next job of the row of this ``name``, after the one of the key ``before``. ``pause`` is in seconds."""

    name: str
    before: str
    key: str
    pause: float


class Stand(msgspec.Struct, frozen=True):
    """Where the chain of the row of this ``name`` stands: the ``key`` of the step to look at, and if it is ``over``."""

    name: str
    key: str
    problem: str
    over: bool


class FleetBatch(msgspec.Struct, frozen=True):
    """A batch whose rows are in the journal. It was submitted last at ``started_at`` (Unix time).

    ``rate`` is create requests a second, None for no limit. ``secrets`` are the inputs that no result may show.
    ``stopped`` says why nothing is created for it any more; empty while it goes on. ``depot`` is where the files of its
    rows are, None where they have none. ``trace`` continues the submitter's (see ``Telemetry``). ``plan`` says what
    follows a row's first job; empty for most.
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
    """A row, and its job in the journal if there is one. ``job`` is None once the journal's job has it.

    ``number`` tells it from the others, ``line`` is where it was read. ``due_in`` is how many seconds its job may not
    be created for yet. The rest is as in ``NewRow``.
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
    """A prediction whose end is waited for. ``strips``: its request holds what is deleted at the end.

    ``path`` and ``version`` are of its request, empty where there was none.
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
    """The end of a prediction. ``collected``: nothing of it is to be kept."""

    prediction: Prediction
    collected: bool


class Counts(msgspec.Struct, frozen=True):
    """Rows of a batch: how many are in this state. ``failed``: it has a problem, or its prediction did not succeed."""

    state: str | None
    status: str | None
    failed: bool
    over: bool
    rows: int


class Worker(msgspec.Struct, frozen=True):
    """A worker as it was last seen, ``age`` seconds ago."""

    host: str
    pid: int
    concurrency: int
    started_at: float
    age: float


class FleetTables:
    """The statements. Each may be repeated after a connection that broke at the commit."""

    def __init__(self, journal: PostgresJournal) -> None:
        self._journal, self._store = journal, journal.store
        self.budgets = BudgetTables(journal)

    async def _write(self, query: str, *values: Any) -> int:
        """The number of rows that were written."""
        return await self._store.run(lambda db: db.execute(query, values).rowcount)

    async def join(self, api: str, account: str) -> None:
        """Make this account the fleet's at that API. Raises JobError while it works for another one."""

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
        """Whether the database takes processes of this machine alone."""
        return self._store.url.folder is not None

    def submission(self, size: int = CHUNK) -> Submission:
        """What takes the rows of a batch, as a context manager. ``size`` is how many rows a task has."""
        return Submission(self._store, size)

    async def find(self, name: str, api: str) -> FleetBatch | None:
        return next(iter(await self.named([name], api)), None)

    async def named(self, names: Sequence[str], api: str) -> list[FleetBatch]:
        """Those of these ids that are there."""
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
        """What was written of the batch's model."""
        query = "SELECT model FROM batches WHERE number = ?"
        row = await self._store.read(lambda db: db.execute(query, (number,)).fetchone())
        return str(row["model"]).encode()

    async def names(self, api: str) -> list[str]:
        """The batches at this API, the newest first."""
        query = "SELECT id FROM batches WHERE job IS NOT NULL AND api = ? ORDER BY started_at DESC"
        return await self._store.read(lambda db: [row["id"] for row in db.execute(query, (api,))])

    async def rows(self, number: int, first: int, last: int) -> list[FleetRow]:
        """The rows of these lines, with their jobs."""
        query = f"SELECT {_ROW} FROM batch_rows AS r WHERE r.batch = ? AND r.line BETWEEN ? AND ? ORDER BY r.line"
        found = await self._store.read(lambda db: db.execute(query, (number, first, last)).fetchall())
        return await self._with_entries(found)

    async def over_rows(self, number: int, after: int, limit: int, skip: Sequence[int] = ()) -> list[FleetRow]:
        """The next rows after that line that are over, without those of the lines to ``skip``."""
        query = (
            f"SELECT {_ROW} FROM {_ROWS} WHERE r.batch = ? AND r.line > ? AND {_OVER}"
            " AND NOT r.line = ANY(?::integer[]) ORDER BY r.line LIMIT ?"
        )
        values = (number, after, list(skip), limit)
        return await self._with_entries(await self._store.read(lambda db: db.execute(query, values).fetchall()))

    async def first_open(self, number: int, after: int) -> int | None:
        """The first line after that one whose row is not over."""
        query = f"SELECT min(r.line) AS line FROM {_ROWS} WHERE r.batch = ? AND r.line > ? AND {_OVER} IS NOT TRUE"
        row = await self._store.read(lambda db: db.execute(query, (number, after)).fetchone())
        line: int | None = row["line"]
        return line

    async def _with_entries(self, found: Sequence[dict[str, Any]]) -> list[FleetRow]:
        entries = await self._journal.look_up([row["key"] for row in found if row["key"]])
        return [_row(row, entries.get(row["key"])) for row in found]

    async def note_problem(self, number: int, key: str, problem: str) -> None:
        """Record why the job of this key has no prediction. The rows that have it are over with that."""
        query = "UPDATE batch_rows SET problem = ?, is_open = false WHERE batch = ? AND key = ?"
        await self._write(query, problem, number, key)

    async def note_problem_of(self, job: Entry | Watched, problem: str) -> None:
        """The same of a job without outputs, or with a prediction that there is not, in all batches."""
        query = (
            "UPDATE batch_rows AS r SET problem = ?, is_open = false, key = ? FROM batches AS b"
            " WHERE b.number = r.batch AND b.job IS NOT NULL"  # not of one that is being submitted
            " AND (r.key = ? OR r.is_open AND r.name = ? AND r.batch = (SELECT number FROM batches WHERE id = ?))"
        )
        batch, name = _place(job.batch, job.key, job.chain_step)
        await self._write(query, problem, job.key, job.key, name, batch)

    async def move(self, number: int, moves: Sequence[Move]) -> None:
        """Give these open rows their next jobs; one that another worker has moved stays as it is."""
        query = (
            f"UPDATE batch_rows AS r SET key = v.key, due_at = {NOW} + v.pause"
            " FROM unnest(?::text[], ?::text[], ?::text[], ?::float8[]) AS v (name, before, key, pause)"
            " WHERE r.batch = ? AND r.name = v.name AND r.key = v.before AND r.is_open"
        )
        await self._write(query, *_columns(moves), number)

    async def stand(self, number: int, stands: Sequence[Stand]) -> None:
        """Note how far the chains of these open rows came. A row keeps its input, unless that has secrets."""
        query = (
            "UPDATE batch_rows AS r SET key = v.key, problem = v.problem, is_open = NOT v.over,"
            " job = CASE WHEN v.over AND b.secrets <> '[]' THEN NULL ELSE r.job END"
            " FROM batches AS b, unnest(?::text[], ?::text[], ?::text[], ?::boolean[]) AS v (name, key, problem, over)"
            " WHERE b.number = ? AND r.batch = b.number AND r.name = v.name AND r.is_open"
        )
        await self._write(query, *_columns(stands), number)

    async def close(self, number: int, names: Sequence[str]) -> None:
        """Note that nothing follows the jobs of these rows."""
        query = (
            "UPDATE batch_rows SET is_open = false, job = NULL WHERE batch = ? AND name = ANY(?::text[]) AND is_open"
        )
        await self._write(query, number, list(names))

    async def defer_next(self, api: str, entries: Sequence[Entry]) -> None:
        """Have workers look at the open rows of these jobs, which have ended."""
        places = [_place(entry.batch, entry.key, entry.chain_step) for entry in entries]
        await self._store.run(lambda db: defer_next(db, api, places))

    async def settle(self, batch: FleetBatch, first: int, last: int) -> None:
        """Finish a task: its rows' inputs are in their jobs now, and outputs that are there are to be collected."""

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
        """Put the task back into the queue, to be done after so many seconds."""
        await self._store.run(lambda db: defer_rows(db, batch.api, batch.number, [(first, last)], delay=delay))

    async def defer_collect(self, api: str, seqs: Sequence[int], *, delay: float) -> None:
        await self._store.run(lambda db: defer_collect(db, api, seqs, delay=delay))

    async def defer_ended(self, api: str, keys: Sequence[str]) -> None:
        """Have the outputs of these jobs collected that have ended already."""

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
        """Predictions without an end, those that are not ``known``; and the ids of all.

        They are those of batches, and of jobs alone for which a process waits.
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
        """Write ends, and defer the tasks that collect, in one transaction. An end needs no fence.

        A process that waits for a job alone is notified, and keeps its outputs itself.
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
        """Take a role, or keep it, for so many seconds. False while another process has it."""
        return await self._take(role, api, seconds, f"r.holder = excluded.holder OR r.until < {NOW}")

    async def is_due(self, work: str, api: str, seconds: float) -> bool:
        """Whether this process is to do what is done once in so many seconds by one of all."""
        return await self._take(work, api, seconds, f"r.until < {NOW}")

    async def _take(self, role: str, api: str, seconds: float, where: str) -> bool:
        query = (
            f"INSERT INTO roles AS r VALUES (?, ?, ?, {NOW} + ?) ON CONFLICT (role, api) DO UPDATE SET"
            f" holder = excluded.holder, until = excluded.until WHERE {where}"
        )
        return await self._write(query, role, api, self._journal.holder, seconds) > 0

    async def resign(self, role: str, api: str) -> None:
        query = "DELETE FROM roles WHERE role = ? AND api = ? AND holder = ?"
        await self._write(query, role, api, self._journal.holder)

    async def seen(self, api: str, host: str, pid: int, concurrency: int) -> None:
        """Note that this worker lives."""
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
        """Those that live."""
        query = (
            f"SELECT host, pid, concurrency, started_at, {NOW} - seen_at AS age FROM workers"
            f" WHERE api = ? AND seen_at > {NOW} - ? ORDER BY host, pid"
        )
        return await self._store.read(lambda db: [Worker(**row) for row in db.execute(query, (api, ALIVE))])

    async def give_again(self, api: str) -> int:
        """Give the tasks of workers without a heartbeat to others, and count them.

        One whose rows wait as another task already is deleted.
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
        """Defer what the journal says is to be done and no task does; and note which batches are over."""

        def work(db: Database) -> int:
            _note_canceled(db, "over_at IS NULL AND api = ?", api)  # whoever canceled may have died
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
        """Note a depot before anything is in it. It is due after ``ABANDONED``, should no batch come to need it."""
        query = f"INSERT INTO depots VALUES (?, ?, {NOW} + ?) ON CONFLICT DO NOTHING"
        await self._write(query, address, api, ABANDONED)

    async def due_depots(self, api: str) -> list[str]:
        """Depots that no batch needs any more. For ``RETRIED`` they are this process's to delete.

        A batch that is submitted again has another depot, and so never misses what is deleted.
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
        """The lowest rate of the batches that are not over, in create requests a second."""
        query = (
            "SELECT count(*) AS batches, min(rate) AS rate FROM batches"
            " WHERE api = ? AND job IS NOT NULL AND over_at IS NULL"
        )
        row = await self._store.read(lambda db: db.execute(query, (api,)).fetchone())
        return row["rate"] if row["batches"] else default

    async def stop(self, number: int, reason: str) -> None:
        """Create nothing more for the batch. The first reason stays."""
        query = "UPDATE batches SET stopped = ? WHERE number = ? AND stopped = ''"
        await self._write(query, reason, number)

    async def cancel(self, number: int) -> int:
        """Stop the batch, and count the rows that were canceled before they were created.

        The journal intends no request of a canceled batch, and stopping it waits for claims that are being written: so
        the second transaction sees all that were.
        """
        query = "UPDATE batches SET stopped = ? WHERE number = ?"
        await self._write(query, CANCELED, number)
        return await self._store.run(lambda db: _note_canceled(db, "number = ?", number))

    async def under_way(self, number: int) -> list[Entry]:
        """The batch's jobs that have or may have a prediction without an end."""
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
        """The most frequent problems of rows that are over."""
        query = (
            "SELECT coalesce(nullif(r.problem, ''), nullif(j.problem, ''), j.status) AS problem, count(*) AS rows"
            f" FROM {_ROWS} WHERE r.batch = ? AND {_OVER} AND (r.problem <> '' OR j.problem <> '' OR j.status <>"
            " 'succeeded') GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?"
        )
        return await self._store.read(
            lambda db: [(row["problem"], row["rows"]) for row in db.execute(query, (number, most))]
        )

    async def oldest(self, number: int) -> float | None:
        """How many seconds ago the oldest row that is under way was taken up."""
        query = (
            f"SELECT {NOW} - min(j.claimed_at) AS age FROM {_ROWS} WHERE r.batch = ?"
            f" AND j.state IN ('claimed', 'intended', 'created', 'ended') AND NOT {_OVER}"
        )
        row = await self._store.read(lambda db: db.execute(query, (number,)).fetchone())
        age: float | None = row["age"]
        return age

    async def made(self, api: str, seconds: float) -> int:
        """Predictions of jobs that were taken up in the last so many seconds."""
        query = (
            f"SELECT count(*) AS made FROM jobs WHERE api = ? AND prediction_id IS NOT NULL AND claimed_at > {NOW} - ?"
        )
        row = await self._store.read(lambda db: db.execute(query, (api, seconds)).fetchone())
        return int(row["made"])

    async def under_watch(self, api: str) -> int:
        """How many predictions of batches run, or have outputs that are not kept yet."""
        query = (
            "SELECT count(*) AS number FROM jobs AS j JOIN batches AS b ON b.id = j.batch WHERE j.state IN ('created',"
            " 'ended') AND j.batch IS NOT NULL AND b.job IS NOT NULL AND b.api = ? AND j.api = b.api"
        )
        row = await self._store.read(lambda db: db.execute(query, (api,)).fetchone())
        return int(row["number"])

    async def rate_state(self, api: str) -> str | None:
        """The rate limit's row for create requests."""
        query = "SELECT state FROM rates WHERE api = ? AND kind = 'create' ORDER BY state DESC LIMIT 1"
        row = await self._store.read(lambda db: db.execute(query, (api,)).fetchone())
        return row["state"] if row else None


def _columns(items: Sequence[Move] | Sequence[Stand]) -> list[list[Any]]:
    """Their fields, in order: the values of each."""
    return [list(column) for column in zip(*map(msgspec.structs.astuple, items), strict=True)]


def _texts(encoded: str) -> tuple[str, ...]:
    return decode(encoded, tuple[str, ...])


def _note_canceled(db: Database, where: str, value: Any) -> int:
    """Note of the rows of canceled batches that those without a job are not created; count them.

    A batch that is submitted again meanwhile waits, or is not canceled any more.
    """
    query = f"SELECT number FROM batches WHERE {where} AND job IS NOT NULL AND stopped = ? ORDER BY number FOR SHARE"
    numbers = [row["number"] for row in db.execute(query, (value, CANCELED)).fetchall()]
    return db.execute(
        "UPDATE batch_rows AS r SET problem = ?, is_open = false FROM batches AS b"
        " WHERE b.number = ANY(?::bigint[]) AND r.batch = b.number AND r.problem = ''"
        " AND NOT EXISTS (SELECT FROM jobs AS j WHERE j.key = r.key AND j.state <> 'refused')"
        f" AND NOT EXISTS (SELECT FROM jobs AS j WHERE r.is_open AND {_STEP_OF_ROW} AND j.state <> 'refused')",
        (CANCELED_ROW, numbers),
    ).rowcount


def _place(batch: str | None, key: str, step: str | None) -> tuple[str, str]:
    """The batch's id, and the name of the row that has the job of this key, or whose chain it is a step of."""
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

"""The journal in a SQLite file: the statements behind every fact."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from replicate_job.clock import Clock, Moment, SystemClock
from replicate_job.errors import ClaimLostError, DamagedError, JobError, JobHeldError, JournalError, KeyInUseError
from replicate_job.flow.lifecycle import UNFINISHED, State, lacking, state_of
from replicate_job.inputs.upload import FileInfo
from replicate_job.job import Job, read_kept
from replicate_job.journal.entry import (
    Adoption,
    BatchEntry,
    Claim,
    CreateRequest,
    Entry,
    Pruned,
    check_entry,
    damaged,
    decode_job,
    encode_job,
)
from replicate_job.journal.lease import Lease, Process, Term
from replicate_job.journal.prints import print_job, print_request, print_text
from replicate_job.journal.sqlite_thread import BUSY_TIMEOUT, SQLiteThread
from replicate_job.journal.strip import needs_strip, strip_job, strip_prediction, strip_request
from replicate_job.wire.prediction import Prediction

LEASE = 15.0
"""Seconds that a claim lasts without renewal. Claims of a dead process of this machine end at once."""
RIVAL_SPAN = 120.0
"""Seconds. The account's list tells two create requests apart that were sent further apart than this."""

FORGOTTEN = 24 * 3600.0
"""Seconds after the end of its lease at which a holder is deleted."""
LOOKED_UP = 500
"""Keys in one statement; SQLite before 3.32 takes 999 values."""


class _New(msgspec.Struct, frozen=True):
    """What a new row is made of. ``encoded`` is the job's JSON."""

    key: str
    api: str
    job: Job
    save: str | None
    batch: str | None
    encoded: str


class SQLiteJournal:
    """A ``Journal`` in one file, shared by any number of processes. Use it as an async context manager.

    ``token`` is the API's. The journal stores a keyed hash of it, to know later whose list of predictions to read.
    """

    def __init__(
        self,
        path: Path,
        *,
        lease: float = LEASE,
        busy_timeout: float = BUSY_TIMEOUT,
        clock: Clock = SystemClock(),  # noqa: B008 - it has no state
        token: str | None = None,
    ) -> None:
        self.path, self.lease = path, lease
        self._clock, self._token = clock, token
        self._thread = SQLiteThread(
            path,
            self._beat,
            every=lease / 3,
            busy_timeout=busy_timeout,
            opened=self._read_key,
            closing=self._leave,
            committed=self._renewed,
        )
        self._process = Process.current(clock)
        self._holder = self._process.holder
        self._held: Lease | None = None
        self._claims: dict[str, int] = {}  # the fence of each
        self._watched: dict[str, tuple[float | None, float]] = {}
        self._key = b""
        self._token_print = ""
        self.damaged: dict[str, str] = {}

    async def __aenter__(self) -> SQLiteJournal:  # noqa: PYI034 - it has no subclasses
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._thread.close()

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
        new = _New(key, api, job, save, batch, encode_job(job).decode())
        if request and sent is None:
            sent = Moment(self._clock.time(), self._clock.boot, self._clock.now())

        taken: list[Claim] = []

        def work(db: sqlite3.Connection) -> Claim:
            claim = self._claim(db, new, request, sent)
            taken.append(claim)
            if prediction and claim.entry.prediction_id is None:
                _write_created(db, claim, prediction, msgspec.json.encode(prediction).decode())
                claim = msgspec.structs.replace(claim, entry=_get(db, key))
            return claim

        def undo(db: sqlite3.Connection) -> None:
            for claim in taken:  # with ``request``, nothing was sent
                free = "holder=NULL, state=iif(?1, 'claimed', state), sends=sends-?1"
                query = f"UPDATE jobs SET {free} WHERE key=?2 AND fence=?3"  # noqa: S608 - our own columns
                db.execute(query, (claim.intends, key, claim.fence))

        try:
            claim = await self._thread.run(work, synced=bool(request or prediction))
        except asyncio.CancelledError:
            # The thread writes the claim in any case, and it would last as long as this process.
            await asyncio.shield(self._thread.run(undo))
            raise
        self._claims[key] = claim.fence
        return claim

    def _claim(self, db: sqlite3.Connection, new: _New, request: CreateRequest | None, sent: Moment | None) -> Claim:
        if entry := self._insert(db, new, request, sent):
            return Claim(entry, 1, self._hold(db), intends=request is not None)
        row = db.execute("SELECT * FROM jobs WHERE key = ?", (new.key,)).fetchone()
        if row["state"] == "refused":
            # The job certainly never ran, so that its key is free again, also for a corrected job.
            db.execute("DELETE FROM jobs WHERE key = ?", (new.key,))
            entry = self._insert(db, new, request, sent, fence=row["fence"] + 1)
            assert entry  # noqa: S101 - there is none of that key
            return Claim(entry, row["fence"] + 1, self._hold(db), intends=request is not None)
        entry = read_entry(row)
        self._check_same(entry, new)
        self._check_free(db, row)
        lease = self._hold(db)
        save = row["save"] if row["state"] == "collected" else new.save
        db.execute(
            "UPDATE jobs SET fence = fence + 1, holder = ?, save = ? WHERE key = ?", (self._holder, save, new.key)
        )
        return Claim(msgspec.structs.replace(entry, save=save), row["fence"] + 1, lease)

    def _insert(
        self, db: sqlite3.Connection, new: _New, request: CreateRequest | None, sent: Moment | None, fence: int = 1
    ) -> Entry | None:
        """Insert the row of a new job; None where a job has that key."""
        entry = Entry(
            key=new.key,
            api=new.api,
            job=new.job,
            state="intended" if request else "claimed",
            claimed_at=self._clock.time(),
            save=new.save,
            request=request,
            sends=1 if request else 0,
            first_sent=sent,
            last_sent=sent,
            batch=new.batch,
            token=self._token_print if request else None,
            job_print=print_job(self._key, new.job),
        )
        moment = msgspec.json.encode(sent).decode() if sent else None
        inserted = db.execute(
            "INSERT INTO jobs (key, api, job, job_print, save, batch, state, claimed_at, request, request_hash,"
            " shown_hash, sends, first_sent, last_sent, sent_at, token, fence, holder)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
            (
                *(new.key, new.api, new.encoded, entry.job_print, new.save, new.batch, entry.state, entry.claimed_at),
                msgspec.json.encode(request).decode() if request else None,
                *(print_request(self._key, request) if request else (None, None)),
                *(entry.sends, moment, moment, sent.best if sent else None, entry.token, fence, self._holder),
            ),
        )
        return entry if inserted.rowcount else None

    def _check_same(self, entry: Entry, new: _New) -> None:
        if entry.api != new.api:
            raise KeyInUseError(
                f"the key {entry.key!r} belongs to a job at {entry.api}, not {new.api}: choose another key"
            )
        if not self.is_same(entry, new.job):
            other = f"another job ({entry.job.model}, with its own input)"
            raise KeyInUseError(f"the key {entry.key!r} belongs to {other}: choose another key")

    def is_same(self, entry: Entry, job: Job) -> bool:
        if (entry.job.model, entry.job.input_data) == (job.model, job.input_data):
            return True
        return entry.job_print == print_job(self._key, job)

    def _read_key(self, db: sqlite3.Connection) -> None:
        """Read the journal's key for fingerprints, and make the token's fingerprint with it."""
        self._key = bytes(db.execute("SELECT value FROM facts WHERE name = 'key'").fetchone()[0])
        self._token_print = print_text(self._key, self._token.encode()) if self._token else ""

    def _check_free(self, db: sqlite3.Connection, row: sqlite3.Row) -> None:
        if row["holder"] is None or row["state"] == "collected":
            return
        lease = db.execute("SELECT * FROM holders WHERE holder = ?", (row["holder"],)).fetchone()
        if lease is None:
            return
        holder = msgspec.json.decode(lease["process"], type=Process)
        if holder.boot and holder.boot == self._process.boot:
            left = lease["boot_until"] - self._clock.now()
        else:
            left = min(lease["lease_until"] - self._clock.time(), self._watch(lease))
        if left <= 0 or self._process.is_dead(holder):
            return
        running = f"the job {row['key']!r} is being run by process {holder.pid} on {holder.host}"
        raise JobHeldError(running, until=self._clock.time() + left)

    def _watch(self, lease: sqlite3.Row) -> float:
        """Seconds after which a lease ends unless it is renewed, measured by this process alone.

        The holder's clock may have been wrong, and this machine may have been restarted since.
        """
        holder, until, now = lease["holder"], lease["lease_until"], self._clock.now()
        if self._watched.get(holder, (None, 0.0))[0] != until:
            self._watched[holder] = until, now
        return self.lease - (now - self._watched[holder][1])

    def _hold(self, db: sqlite3.Connection) -> Lease:
        """Give the lease of this process, renewed where little of it is left: with this transaction's commit."""
        if self._thread.note is None:
            if self._held and not self._held.is_short:
                return self._held
            self._beat(db)
        lease: Lease = self._thread.note[0]
        return lease

    def _beat(self, db: sqlite3.Connection) -> None:
        if not self._thread.beats:
            self._thread.beats = True
            self._forget_holders(db)
        lease = self._held if self._held and self._held.left > 0 else Lease(self._clock, self.lease)
        term, process = lease.next_term(), msgspec.json.encode(self._process).decode()
        values = (self._holder, term.until_wall, term.until, process)
        db.execute("INSERT OR REPLACE INTO holders VALUES (?, ?, ?, ?)", values)
        self._thread.note = lease, term

    def _renewed(self, note: tuple[Lease, Term]) -> None:
        lease, term = note
        self._held = lease if lease.renew(term) else None

    def _forget_holders(self, db: sqlite3.Connection) -> None:
        """Delete the holders that hold nothing any more, however their processes ended.

        By both clocks the lease is over. Of this boot the second one decides, and of any other the first one: nobody
        who asks whether a job is free (``_check_free``) comes to another answer without the row.
        """
        over = "lease_until < ?1 AND boot_until < ?2 OR lease_until < ?3"
        now = self._clock.time()
        db.execute(f"DELETE FROM holders WHERE {over}", (now, self._clock.now(), now - FORGOTTEN))  # noqa: S608 - our own columns

    def _leave(self, db: sqlite3.Connection) -> None:
        """Delete this holder, unless a claim of it was never let go: that one lasts as long as its lease."""
        if self._held and not self._claims:
            db.execute("DELETE FROM holders WHERE holder = ?", (self._holder,))

    async def renew(self) -> None:
        await self._thread.run(self._beat)

    async def release(self, claim: Claim) -> None:
        query = "UPDATE jobs SET holder = NULL WHERE key = ? AND fence = ?"
        await self._thread.run(lambda db: db.execute(query, (claim.key, claim.fence)).rowcount)
        self._let_go(claim)

    def _let_go(self, claim: Claim) -> None:
        if self._claims.get(claim.key) == claim.fence:
            del self._claims[claim.key]

    async def intend(self, claim: Claim, request: CreateRequest, sent: Moment) -> Claim:
        moment = msgspec.json.encode(sent).decode()

        def work(db: sqlite3.Connection) -> Claim:
            lease, entry = self._hold(db), _held(db, claim)
            if entry.prediction_id is not None:
                return Claim(entry, claim.fence, lease)
            whole, shown = print_request(self._key, request)
            db.execute(
                "UPDATE jobs SET state='intended', request=?, request_hash=?, shown_hash=?, sends=sends+1,"
                " first_sent=coalesce(first_sent, ?), last_sent=?, sent_at=?, token=? WHERE key=?",
                (
                    *(msgspec.json.encode(request).decode(), whole, shown, moment, moment),
                    *(sent.best, self._token_print, claim.key),
                ),
            )
            intended = msgspec.structs.replace(
                entry,
                state="intended",
                request=request,
                sends=entry.sends + 1,
                first_sent=entry.first_sent or sent,
                last_sent=sent,
                token=self._token_print,
            )
            return Claim(intended, claim.fence, lease, intends=True)

        return await self._thread.run(work, synced=True)

    async def created(self, claim: Claim, prediction: Prediction, *, collected: bool = False) -> str:
        encoded = msgspec.json.encode(prediction).decode()

        def work(db: sqlite3.Connection) -> str:
            # Usually nothing has changed since the claim, and one statement is enough.
            if _write_created(db, claim, prediction, encoded, collected=collected):
                if collected and needs_strip(claim.entry.request):
                    _strip(db, msgspec.structs.replace(claim.entry, prediction=prediction))
                return prediction.id
            query = "SELECT claimed_at, prediction_id FROM jobs WHERE key = ?"
            row = db.execute(query, (claim.key,)).fetchone()
            if row is None or row["claimed_at"] != claim.entry.claimed_at:
                raise ClaimLostError(f"the key {claim.key!r} was freed and has been given to another job")
            if row["prediction_id"] is not None:
                return str(row["prediction_id"])
            if _owned(db, claim.entry.api, [prediction.id]):
                return ""
            # Another process has the claim now, and does not know of this prediction yet.
            _write_created(db, claim, prediction, encoded, fenced=False)
            return prediction.id

        owner = await self._thread.run(work, synced=True)
        if collected and owner == prediction.id:
            self._let_go(claim)
        return owner

    async def adopt(
        self, claim: Claim, same: Sequence[str], almost: Sequence[str] = (), *, is_own_list: bool = True
    ) -> Adoption:
        def work(db: sqlite3.Connection) -> Adoption:
            entry = _held(db, claim)
            if entry.request is None:
                return Adoption(entry.prediction_id)
            whole, shown = print_request(self._key, entry.request)
            free, rivals = _not_owned(db, entry.api, same), _rivals(db, entry, shown)
            if entry.prediction_id is not None:  # recorded by a process that was stopped before it sent
                return Adoption(entry.prediction_id, free if not rivals and len(free) < entry.sends else ())
            if not free:
                return Adoption(unclear=_not_owned(db, entry.api, almost), rivals_sent=_rivals_sent(db, entry, shown))
            possible = sum(rivals.values()) + 1 if rivals else entry.sends
            if len(free) > possible or rivals.keys() - {whole} or (rivals and not is_own_list):
                return Adoption(unclear=free)
            db.execute("UPDATE jobs SET state='created', prediction_id=?, problem='' WHERE key=?", (free[0], claim.key))
            return Adoption(free[0], () if rivals else free[1:])

        return await self._thread.run(work, synced=True)

    async def ended(self, claim: Claim, prediction: Prediction) -> None:
        await self._finish(claim, prediction, "state='ended'")

    async def collected(
        self,
        claim: Claim,
        prediction: Prediction,
        files: Sequence[Path] = (),
        problem: str = "",
        *,
        save: str | None = None,
    ) -> None:
        paths = msgspec.json.encode([str(path) for path in files]).decode()
        done = "state='collected', holder=NULL, files=?, problem=?, save=coalesce(?, save)"
        await self._finish(claim, prediction, done, paths, problem, save, is_last=True)
        self._let_go(claim)

    async def _finish(
        self, claim: Claim, prediction: Prediction, assignments: str, *values: Any, is_last: bool = False
    ) -> None:
        """Write a fact about the end, with the id and the prediction: an earlier fact may have failed to write them."""
        if missing := lacking("ended", prediction.id, prediction.status):
            raise JournalError(f"the job {claim.key!r} cannot be finished without {missing}")
        encoded = msgspec.json.encode(prediction).decode()

        def work(db: sqlite3.Connection) -> None:
            entry = _held(db, claim)
            known = entry.prediction_id
            if known is None and _owned(db, claim.entry.api, [prediction.id]):
                raise JournalError(f"{prediction.id} is the prediction of another job of this journal already")
            if known not in {None, prediction.id}:
                raise ClaimLostError(f"the job {claim.key!r} has the prediction {known} already")
            db.execute(
                f"UPDATE jobs SET {assignments}, prediction_id=?, status=?, prediction=? WHERE key=?",  # noqa: S608 - our own columns
                (*values, prediction.id, prediction.status, encoded, claim.key),
            )
            if is_last:
                _strip(db, msgspec.structs.replace(entry, prediction=prediction))

        await self._thread.run(work)

    async def refused(self, claim: Claim, problem: str) -> None:
        await self._never_created(claim, "refused", problem)

    async def uncertain(self, claim: Claim, problem: str) -> None:
        await self._never_created(claim, "uncertain", problem)

    async def unsent(self, claim: Claim) -> None:
        await self._never_created(claim, "claimed", "")

    async def _never_created(self, claim: Claim, state: State, problem: str) -> None:
        """Write a state without a prediction. Raises ClaimLostError if another process has recorded one."""

        def work(db: sqlite3.Connection) -> None:
            entry = _held(db, claim)
            if known := entry.prediction_id:
                raise ClaimLostError(f"the job {claim.key!r} has the prediction {known}")
            query = "UPDATE jobs SET state = ?, problem = ?, sends = sends - ? WHERE key = ?"
            db.execute(query, (state, problem, state == "claimed", claim.key))
            if state == "refused":
                _strip(db, entry)

        await self._thread.run(work)

    async def restart(self, claim: Claim, problem: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            _held(db, claim)
            clear = "state='refused', problem=?, prediction_id=NULL, status=NULL, prediction=NULL"
            db.execute(f"UPDATE jobs SET {clear} WHERE key = ?", (problem, claim.key))  # noqa: S608 - our own columns

        await self._thread.run(work)

    async def account(self, api: str, token: str | None = None) -> str | None:
        def work(db: sqlite3.Connection) -> str | None:
            query = "SELECT account FROM accounts WHERE token = ? AND api = ?"
            row = db.execute(query, (self._token_print if token is None else token, api)).fetchone()
            return row["account"] if row else None

        return await self._thread.run(work)

    async def note_account(self, api: str, account: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO accounts VALUES (?,?,?)", (self._token_print, api, account))

        await self._thread.run(work)

    def uses_token(self, entry: Entry) -> bool:
        return entry.token == self._token_print

    async def get(self, key: str) -> Entry | None:
        entries = await self._select("SELECT * FROM jobs WHERE key = ?", key)
        return entries[0] if entries else None

    async def look_up(self, keys: Sequence[str]) -> dict[str, Entry]:
        entries: list[Entry] = []
        for start in range(0, len(keys), LOOKED_UP):
            portion = keys[start : start + LOOKED_UP]
            query = f"SELECT * FROM jobs WHERE key IN ({','.join('?' * len(portion))})"  # noqa: S608 - only marks
            entries += await self._select_sound(query, *portion)
        return {entry.key: entry for entry in entries}

    async def api_of(self, start: str) -> str | None:
        query, span = "SELECT api FROM jobs WHERE key >= ? AND key < ? LIMIT 1", (start, start + "\U0010ffff")

        def work(db: sqlite3.Connection) -> str | None:
            row = db.execute(query, span).fetchone()
            return row["api"] if row else None

        return await self._thread.run(work)

    async def find(self, prediction_id: str, api: str) -> Entry | None:
        query = "SELECT * FROM jobs WHERE prediction_id = ? AND api = ?"
        entries = await self._select(query, prediction_id, api)
        return entries[0] if entries else None

    async def unfinished(self, api: str) -> list[Entry]:
        marks = ",".join("?" * len(UNFINISHED))
        query = f"SELECT * FROM jobs WHERE state IN ({marks}) AND api = ? AND batch IS NULL ORDER BY seq"  # noqa: S608 - only marks
        return await self._select_sound(query, *UNFINISHED, api)

    async def under_way(self, api: str) -> list[Entry]:
        return await self._select_sound("SELECT * FROM jobs WHERE state = 'intended' AND api = ?", api)

    async def entries(self, limit: int | None = None) -> list[Entry]:
        return await self._select_sound(
            "SELECT * FROM jobs WHERE batch IS NULL AND (state != 'collected' OR prediction IS NOT NULL)"
            " ORDER BY claimed_at DESC, seq DESC LIMIT ?",
            -1 if limit is None else limit,
        )

    async def forget(self, key: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            row = db.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
            entry = read_entry(row) if row else None
            if entry is None or (problem := _needed_for(entry)):
                raise JobError(problem if entry else f"there is no job {key!r}")
            if entry.state == "refused":
                db.execute("DELETE FROM jobs WHERE key = ?", (key,))
                return
            _reduce(db, key)

        await self._thread.run(work)

    async def begin_batch(self, batch: BatchEntry) -> None:
        values = (batch.id, batch.api, batch.source, batch.command, batch.started_at)
        await self._thread.run(
            lambda db: db.execute("INSERT OR REPLACE INTO batches VALUES (?,?,?,?,?)", values).rowcount
        )

    async def batches(self) -> list[BatchEntry]:
        query = (
            "SELECT batches.*, coalesce(unfinished, 0) FROM batches LEFT JOIN (SELECT batch, count(*) AS unfinished"
            " FROM jobs WHERE state NOT IN ('collected', 'refused') GROUP BY batch) ON batch = id"
            " ORDER BY started_at DESC"
        )
        return await self._thread.run(lambda db: [BatchEntry(*row) for row in db.execute(query)])

    async def _select(self, query: str, *values: Any) -> list[Entry]:
        return await self._thread.run(lambda db: [read_entry(row) for row in db.execute(query, values)])

    async def _select_sound(self, query: str, *values: Any) -> list[Entry]:
        """The entries, without damaged rows, which go to ``damaged``."""

        def work(db: sqlite3.Connection) -> list[Entry]:
            entries: list[Entry] = []
            for row in db.execute(query, values):
                try:
                    entries.append(read_entry(row))
                except DamagedError as error:
                    self.damaged[error.key] = str(error)
            return entries

        return await self._thread.run(work)

    async def prune(self, before: float, *, forget: bool = False, dry_run: bool = False) -> Pruned:
        def work(db: sqlite3.Connection) -> Pruned:
            over = "state IN ('collected', 'refused') AND claimed_at < ?"
            # The model of a damaged row cannot be read: the row stays as it is.
            bare = " AND (state = 'refused' OR json_valid(job) AND (request IS NOT NULL OR prediction IS NOT NULL))"
            jobs = f"FROM jobs WHERE {over}" + ("" if forget else bare)
            uploads = "FROM uploads WHERE coalesce(expires_at, 0) < ?"
            counts = [
                int(db.execute(f"SELECT count(*) {what}", (moment,)).fetchone()[0])
                for what, moment in ((jobs, before), (uploads, self._clock.time()))
            ]
            if not dry_run:
                _prune(db, jobs, before, forget=forget)
                db.execute(f"DELETE {uploads}", (self._clock.time(),))
                db.execute("DELETE FROM holders WHERE lease_until < ?", (min(before, self._clock.time()),))
            return Pruned(*counts)

        pruned = await self._thread.run(work)
        if not dry_run:
            await self._thread.vacuum()
        return pruned

    async def swap_rate(self, api: str, kind: str, seen: str, state: str) -> str | None:
        def work(db: sqlite3.Connection) -> str | None:
            place = (self._token_print, api, kind)
            if seen:
                query = "UPDATE rates SET state = ? WHERE token = ? AND api = ? AND kind = ? AND state = ?"
                swapped = db.execute(query, (state, *place, seen))
            else:
                swapped = db.execute("INSERT INTO rates VALUES (?,?,?,?) ON CONFLICT DO NOTHING", (*place, state))
            if swapped.rowcount:
                return None
            row = db.execute("SELECT state FROM rates WHERE token = ? AND api = ? AND kind = ?", place).fetchone()
            return row["state"] if row else ""

        return await self._thread.run(work)

    async def find_upload(self, api: str, sha256: str) -> FileInfo | None:
        def work(db: sqlite3.Connection) -> FileInfo | None:
            query = "SELECT url, expires_at FROM uploads WHERE api = ? AND sha256 = ?"
            row = db.execute(query, (api, sha256)).fetchone()
            return FileInfo(row["url"], row["expires_at"]) if row else None

        return await self._thread.run(work)

    async def remember_upload(self, api: str, sha256: str, info: FileInfo) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM uploads WHERE expires_at < ?", (self._clock.time(),))
            db.execute("INSERT OR REPLACE INTO uploads VALUES (?,?,?,?)", (api, sha256, info.url, info.expires_at))

        await self._thread.run(work)


def _get(db: sqlite3.Connection, key: str) -> Entry:
    return read_entry(db.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone())


def _needed_for(entry: Entry) -> str:
    """Why a job cannot be forgotten; empty where it can."""
    if entry.batch is not None:
        return f"{entry.key!r} is a row of the batch {entry.batch}, which needs it to do nothing twice"
    if entry.state in UNFINISHED:
        return f"the job {entry.key!r} is {entry.state}, and may have to be looked for: finish or cancel it first"
    return ""


def _write_created(  # noqa: PLR0913 - what to write, and under which conditions
    db: sqlite3.Connection,
    claim: Claim,
    prediction: Prediction,
    encoded: str,
    *,
    collected: bool = False,
    fenced: bool = True,
) -> bool:
    """Write the prediction if the job has none, no other job has this one, and the claim is valid. False otherwise."""
    state = state_of(prediction.status, collected=collected)
    changed = db.execute(
        "UPDATE jobs SET state=?, prediction_id=?, status=?, prediction=?, problem='', holder=iif(?, NULL, holder)"
        " WHERE key=? AND claimed_at=? AND prediction_id IS NULL AND (fence=? OR NOT ?)"
        " AND NOT EXISTS (SELECT 1 FROM jobs WHERE prediction_id=? AND api=?)",
        (
            *(state, prediction.id, prediction.status, encoded, state == "collected"),
            *(claim.key, claim.entry.claimed_at, claim.fence, fenced, prediction.id, claim.entry.api),
        ),
    )
    return changed.rowcount > 0


def _held(db: sqlite3.Connection, claim: Claim) -> Entry:
    row = db.execute("SELECT * FROM jobs WHERE key = ?", (claim.key,)).fetchone()
    if row is None or row["fence"] != claim.fence:
        raise ClaimLostError(f"another process has taken over the job {claim.key!r}")
    return read_entry(row)


def _prune(db: sqlite3.Connection, jobs: str, before: float, *, forget: bool) -> None:
    """Delete these jobs. Without ``forget``, the key, id and status of a job that ran stay."""
    if not forget:
        query = f"SELECT key {jobs} AND state = 'collected'"
        for row in db.execute(query, (before,)).fetchall():
            _reduce(db, row["key"])
        db.execute("DELETE FROM jobs WHERE state = 'refused' AND claimed_at < ?", (before,))
    else:
        db.execute(f"DELETE {jobs}", (before,))
    db.execute(
        "DELETE FROM batches WHERE started_at < ? AND NOT EXISTS"
        " (SELECT 1 FROM jobs WHERE batch = id AND (request IS NOT NULL OR prediction IS NOT NULL))",
        (before,),
    )


def _reduce(db: sqlite3.Connection, key: str) -> None:
    """Delete a finished job's data. Its fingerprint, id and status stay: its key never pays for another prediction."""
    model = "json_object('model', json_extract(job, '$.model'))"
    rest = "request=NULL, prediction=NULL, files='[]', problem='', save=NULL, holder=NULL"
    db.execute(f"UPDATE jobs SET job={model}, {rest} WHERE key = ?", (key,))  # noqa: S608 - our own columns


def _strip(db: sqlite3.Connection, entry: Entry) -> None:
    """Delete secrets and file contents, which no further request needs: the job is over, or certainly never ran."""
    request = entry.request
    if request is None or not needs_strip(request):
        return
    prediction = entry.prediction and strip_prediction(entry.prediction, entry.job, request)
    db.execute(
        "UPDATE jobs SET job=?, request=?, prediction=? WHERE key=?",
        (
            encode_job(strip_job(entry.job, request)).decode(),
            msgspec.json.encode(strip_request(entry.job, request)).decode(),
            msgspec.json.encode(prediction).decode() if prediction else None,
            entry.key,
        ),
    )


def _owned(db: sqlite3.Connection, api: str, ids: Sequence[str]) -> set[str]:
    query = "SELECT 1 FROM jobs WHERE prediction_id = ? AND api = ?"
    return {id_ for id_ in ids if db.execute(query, (id_, api)).fetchone()}


def _not_owned(db: sqlite3.Connection, api: str, ids: Sequence[str]) -> tuple[str, ...]:
    owned = _owned(db, api, ids)
    return tuple(id_ for id_ in ids if id_ not in owned)


def _rivals(db: sqlite3.Connection, entry: Entry, shown: int) -> dict[int, int]:
    """Other jobs whose prediction the account's list cannot tell from this one's.

    The result maps each whole fingerprint to the number of its requests sent at about the same time. A request that
    differs in what the list cannot show counts whenever it was sent, for a clock may have been set since.
    """
    if entry.first_sent is None:
        return {}
    query = (
        "SELECT request_hash, sum(sent_at >= ?) FROM jobs WHERE shown_hash = ? AND api = ? AND prediction_id IS NULL"
        " AND key != ? AND state IN ('intended', 'uncertain') GROUP BY request_hash"
    )
    values = (entry.first_sent.best - RIVAL_SPAN, shown, entry.api, entry.key)
    return {row[0]: row[1] for row in db.execute(query, values)}


def _rivals_sent(db: sqlite3.Connection, entry: Entry, shown: int) -> Moment | None:
    query = "SELECT last_sent FROM jobs WHERE shown_hash = ? AND api = ? AND key != ? ORDER BY sent_at DESC LIMIT 1"
    row = db.execute(query, (shown, entry.api, entry.key)).fetchone()
    return _moment(row["last_sent"]) if row else None


def _moment(text: str | None) -> Moment | None:
    return msgspec.json.decode(text, type=Moment) if text else None


def read_entry(row: sqlite3.Row) -> Entry:
    """Raises DamagedError for a row that no release can have written."""
    try:
        return check_entry(_read_entry(row))
    except (ValueError, TypeError, KeyError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise damaged(row["key"], row["prediction_id"], error) from None


def _read_entry(row: sqlite3.Row) -> Entry:
    prediction, request = row["prediction"], row["request"]
    return Entry(
        key=row["key"],
        api=row["api"],
        job=decode_job(row["job"]),
        state=row["state"],
        claimed_at=row["claimed_at"],
        save=row["save"],
        request=msgspec.json.decode(request, type=CreateRequest) if request else None,
        sends=row["sends"],
        first_sent=_moment(row["first_sent"]),
        last_sent=_moment(row["last_sent"]),
        prediction_id=row["prediction_id"],
        status=row["status"],
        prediction=msgspec.json.decode(prediction, type=Prediction) if prediction else None,
        files=tuple(map(read_kept, msgspec.json.decode(row["files"], type=list[str]))),
        problem=row["problem"],
        batch=row["batch"],
        token=row["token"],
        job_print=row["job_print"],
    )

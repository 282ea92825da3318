"""The journal's rules and SQL statements, which all databases share."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Self

import msgspec

from replicate_job.clock import Clock, Moment
from replicate_job.decoding import decode
from replicate_job.errors import (
    ClaimLostError,
    DamagedError,
    JobError,
    JobHeldError,
    JournalError,
    KeyInUseError,
    TooLargeError,
)
from replicate_job.flow.lifecycle import OVER, UNFINISHED, State, lacking, state_of
from replicate_job.inputs.upload import FileInfo
from replicate_job.job import Job, read_kept
from replicate_job.journal.entry import (
    Adoption,
    BatchEntry,
    Claim,
    CreateRequest,
    Entry,
    JobCount,
    Pruned,
    asked,
    check_entry,
    damaged,
    decode_job,
    encode_job,
)
from replicate_job.journal.fingerprints import print_job, print_request, print_text
from replicate_job.journal.lease import Lease, Process, Term
from replicate_job.journal.news import News, Seen
from replicate_job.journal.releases import Releases
from replicate_job.journal.store import Database, Store, Sync
from replicate_job.journal.strip import needs_strip, strip_job, strip_prediction, strip_request
from replicate_job.wire.prediction import Prediction

LEASE = 15.0
"""Seconds that a claim lasts without renewal."""
RIVAL_SPAN = 120.0
"""Create requests that are sent further apart than this many seconds can be told apart by the times in the account's
list."""
_RIVALS = 100
"""The most rivals whose unanswered requests are read, beginning with those whose requests ended last."""

_ALL = 2**62
LOOKED_UP = 500
"""The most keys in a statement. SQLite before 3.32 allows 999 values."""
SCANNED = 100_000
"""The number of newest jobs that are searched for a model's past jobs."""

COUNTED = 10_000
"""The number of rows that a statement counts. That takes about ten milliseconds, in which SQLite lets no other process
write."""
_LAST = "SELECT coalesce(max(seq), 0) AS last FROM jobs"
_COUNT = (
    "SELECT batch, state, status, count(*) AS number FROM jobs WHERE seq > ? AND seq <= ? GROUP BY batch, state, status"
)


class NewJob(msgspec.Struct, frozen=True):
    """The values of a new row. ``encoded`` is the job as JSON. ``mark`` is a unique name of this claim.

    ``request`` is about to be sent, at the moment ``sent``.
    """

    key: str
    api: str
    job: Job
    save: str | None
    batch: str | None
    encoded: str
    mark: str
    chain_step: str | None
    request: CreateRequest | None
    sent: Moment | None


class Made(msgspec.Struct, frozen=True):
    """A prediction that was made for a claimed job. ``encoded`` is the prediction as JSON.

    ``collected``: the prediction has no outputs to save.
    """

    claim: Claim
    prediction: Prediction
    encoded: str
    collected: bool

    @property
    def state(self) -> State:
        return state_of(self.prediction.status, collected=self.collected)

    @property
    def strips(self) -> bool:
        """Whether secrets and file contents are to be deleted with this write."""
        return self.collected and needs_strip(self.claim.entry.request)

    @property
    def sync(self) -> Sync:
        """``soon`` for an ended prediction, since a look-up finds it if a power cut loses its id; else ``now``."""
        return "soon" if self.prediction.is_terminal else "now"

    @property
    def values(self) -> tuple[Any, ...]:
        """The key, the claim's time and fence, and the values to write: state, id, status, prediction."""
        claim, prediction = self.claim, self.prediction
        return (
            *(claim.key, claim.entry.claimed_at, claim.fence),
            *(self.state, prediction.id, prediction.status, self.encoded),
        )


COLUMNS = (
    "key, api, job, job_print, save, batch, state, claimed_at, request, request_hash, shown_hash, sends, first_sent,"
    " last_sent, sent_at, token, fence, holder, claim, chain_step"
)
"""The columns of a new job's row."""
_MARKS = ",".join("?" * len(COLUMNS.split(",")))
INSERT = f"INSERT INTO jobs ({COLUMNS}) VALUES %s ON CONFLICT DO NOTHING"  # noqa: S608 - our own columns
"""The statement for new rows, with ``%s`` in place of the parameter marks of the rows."""
_INSERT = INSERT % f"({_MARKS})"
RELEASED = (
    "holder = NULL, unanswered = CASE WHEN unanswered IS NULL AND state IN ('intended', 'uncertain')"
    " THEN ? ELSE unanswered END"
)
"""The SQL assignments of a release. A process that releases a claim no longer waits for the answer to its request."""


class SQLJournal(ABC):
    """A ``Journal`` in SQL tables, shared by any number of processes. Use it as an async context manager.

    ``token`` is the API's token. The journal stores only the token's keyed hash, which later shows whose list of
    predictions to read. Each database has its own store, and its own way to find out whether a lease has ended.
    """

    kept_batches = "1 = 0"
    """The SQL condition for batches that are kept even if they have no jobs."""

    def __init__(self, store: Store, *, lease: float, clock: Clock, token: str | None) -> None:
        self.lease = lease
        self._store, self._clock, self._token = store, clock, token
        self._process = Process.current(clock)
        self._holder = self._process.holder
        self._held: Lease | None = None
        self._releases = Releases(store)
        self._claims: dict[str, int] = {}  # the fence of each held claim, by the job's key
        self._mark, self._numbers = os.urandom(8).hex(), count()
        self._key = b""
        self._token_print = ""
        self.damaged: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._releases.close()
        await self._store.close()

    @abstractmethod
    def time(self) -> float:
        """Unix time for the records."""

    def moment(self) -> Moment:
        """The present moment, without the API's time."""
        return Moment(self.time(), self._clock.boot, self._clock.now())

    @abstractmethod
    def _write_term(self, db: Database, term: Term) -> None:
        """Write the time until which the claims of this process are valid."""

    @abstractmethod
    def _forget_holders(self, db: Database) -> None:
        """Delete the rows of holders whose leases have ended."""

    @abstractmethod
    def _left(self, db: Database, holder: str) -> tuple[float, Process] | None:
        """The seconds until a holder's lease ends without a renewal, and the holder's process. None without a lease."""

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
        if request and sent is None:
            sent = self.moment()
        encoded = encode_job(job).decode()
        mark = f"{self._mark}-{next(self._numbers):x}"
        new = NewJob(key, api, job, save, batch, encoded, mark, chain_step, request, sent)
        try:
            shared = self._claim_new(new) if request and not prediction else None
            claim = (shared and await shared) or await self._claim_alone(new, prediction)
        except (JobHeldError, DamagedError, TooLargeError):
            raise
        except JournalError:  # the claim may have been committed, with only the answer lost
            self._releases.repeat(partial(self._let_lie, new=new))
            raise
        if claim.entry.state != "collected":  # a finished job needs no claim
            self._claims[key] = claim.fence
        return claim

    def _claim_new(self, new: NewJob) -> Awaitable[Claim | None] | None:  # noqa: ARG002 - a subclass uses it
        """Claim a job without a row, and record the intent of its request, in a transaction that many claims share.

        None if the database has no such transactions, or if the job is too large for them. The awaited value is None if
        the job has a row.
        """
        return None

    async def _claim_alone(self, new: NewJob, prediction: Prediction | None) -> Claim:
        def work(db: Database) -> Claim:
            claim = self._claim(db, new)
            if prediction and claim.entry.prediction_id is None:
                write_created(db, claim, prediction, msgspec.json.encode(prediction).decode())
                claim = msgspec.structs.replace(claim, entry=_get(db, new.key))
            return claim

        sync: Sync | None = "now" if new.request or prediction else None
        return await self._store.run(work, sync=sync, undo=partial(self._undo, new))

    async def _undo(self, new: NewJob) -> None:
        await self._releases.do(partial(self._let_lie, new=new))

    def _let_lie(self, db: Database, new: NewJob) -> None:
        """Release a claim that may have been written, but was not returned. No request was sent for it.

        This happens if the task was cancelled, or if the answer of the database was lost.
        """
        intended = "claim = ? AND state = 'intended'"
        free = f"holder = NULL, sends = sends - CASE WHEN {intended} THEN 1 ELSE 0 END"
        query = f"UPDATE jobs SET {free}, state = CASE WHEN {intended} THEN 'claimed' ELSE state END"  # noqa: S608 - our own columns
        marks = new.mark, mark_of_row(new.mark)
        if db.execute(f"{query} WHERE key = ? AND claim IN (?, ?)", (marks[1], marks[1], new.key, *marks)).rowcount:
            self._tell_free(db, [new])

    def _claim(self, db: Database, new: NewJob) -> Claim:
        if entry := self._insert(db, new):
            self._check_goes_on(db, new)
            return Claim(entry, 1, self._hold(db), intends=new.request is not None)
        row = db.execute("SELECT * FROM jobs WHERE key = ?", (new.key,)).fetchone()
        if row["claim"] in {new.mark, mark_of_row(new.mark)}:  # an earlier try was committed, but the answer was lost
            intends = row["claim"] == mark_of_row(new.mark) and row["state"] == "intended"
            return Claim(read_entry(row), row["fence"], self._hold(db), intends=intends)
        if row["state"] == "refused":
            # The job certainly never ran, so its key is free, even for a different job.
            db.execute("DELETE FROM jobs WHERE key = ?", (new.key,))
            self._check_goes_on(db, new)
            entry = self._insert(db, new, fence=row["fence"] + 1)
            assert entry  # noqa: S101 - for the type checker: the row of that key was just deleted
            return Claim(entry, row["fence"] + 1, self._hold(db), intends=new.request is not None)
        entry = read_entry(row)
        self._check_same(entry, new)
        is_dead = self._check_free(db, row)
        lease = self._hold(db)
        save = row["save"] if row["state"] == "collected" else new.save
        unanswered = entry.unanswered
        if unanswered is None and entry.step == "look up":
            # A process that is only stopped may still send its request. The request of a dead process has ended.
            unanswered = self.moment() if is_dead else entry.request_end
        db.execute(
            "UPDATE jobs SET fence = fence + 1, holder = ?, claim = ?, save = ?, unanswered = ? WHERE key = ?",
            (self._holder, new.mark, save, encode_moment(unanswered), new.key),
        )
        return Claim(msgspec.structs.replace(entry, save=save, unanswered=unanswered), row["fence"] + 1, lease)

    def _check_goes_on(self, db: Database, new: NewJob) -> None:
        """Raise BatchCanceledError if the new job has a request and belongs to a canceled batch."""
        if new.request:
            self._check_batch(db, new.batch, new.key)

    def _check_batch(self, db: Database, batch: str | None, key: str) -> None:  # noqa: B027 - only PostgreSQL has fleets
        """Raise BatchCanceledError if the batch is canceled.

        Otherwise the batch cannot be canceled before the transaction ends.
        """

    def _insert(self, db: Database, new: NewJob, fence: int = 1) -> Entry | None:
        """Insert the row of a new job. None if another job has its key."""
        entry = self._entry(new)
        inserted = db.execute(_INSERT, self._values(new, entry, fence))
        return entry if inserted.rowcount else None

    def _entry(self, new: NewJob) -> Entry:
        request, sent = new.request, new.sent
        return Entry(
            key=new.key,
            api=new.api,
            job=new.job,
            state="intended" if request else "claimed",
            claimed_at=self.time(),
            save=new.save,
            request=request,
            sends=1 if request else 0,
            first_sent=sent,
            last_sent=sent,
            batch=new.batch,
            token=self._token_print if request else None,
            job_print=print_job(self._key, new.job),
            chain_step=new.chain_step,
        )

    def _values(self, new: NewJob, entry: Entry, fence: int = 1) -> tuple[Any, ...]:
        """The row of a new job, in the order of ``COLUMNS``."""
        request, sent = new.request, new.sent
        moment = encode_moment(sent)
        return (
            *(new.key, new.api, new.encoded, entry.job_print, new.save, new.batch, entry.state, entry.claimed_at),
            msgspec.json.encode(request).decode() if request else None,
            *(print_request(self._key, request) if request else (None, None)),
            *(entry.sends, moment, moment, sent.best if sent else None, entry.token, fence),
            *(self._holder, mark_of_row(new.mark), new.chain_step),
        )

    def _check_same(self, entry: Entry, new: NewJob) -> None:
        if entry.api != new.api:
            raise KeyInUseError(
                f"the key {entry.key!r} belongs to a job at {entry.api}, not {new.api}: choose another key"
            )
        if not self.is_same(entry, new.job):
            other = f"another job ({entry.job.model}, with its own input)"
            raise KeyInUseError(f"the key {entry.key!r} belongs to {other}: choose another key")

    def is_same(self, entry: Entry, job: Job) -> bool:
        if asked(entry.job) == asked(job):
            return True
        return entry.job_print == print_job(self._key, job)

    async def printer(self) -> Callable[[Job], str]:
        await self._store.read(lambda _: None)  # opening the store reads the key
        return partial(print_job, self._key)

    async def successes(self, api: str, requests: Sequence[CreateRequest], since: float) -> list[list[Entry]]:
        def work(db: Database) -> list[list[Entry]]:
            prints = [print_request(self._key, request) for request in requests]
            return [
                _successes(db, api, shown, whole if request.secrets else None, since)
                for request, (whole, shown) in zip(requests, prints, strict=True)
            ]

        return await self._store.read(work)

    def _read_key(self, db: Database) -> None:
        """Read the journal's key for fingerprints, and compute the token's fingerprint with it."""
        self._key = bytes(db.execute("SELECT value FROM facts WHERE name = 'key'").fetchone()["value"])
        self._token_print = print_text(self._key, self._token.encode()) if self._token else ""

    def _check_free(self, db: Database, row: Any) -> bool:
        """Raise JobHeldError if another process holds the claim.

        Returns whether the process of the last claim has certainly died without a release.
        """
        if row["holder"] is None or row["state"] == "collected":
            return False
        found = self._left(db, row["holder"])
        if found is None:
            return False
        left, holder = found
        if left > 0:
            running = f"the job {row['key']!r} is being run by process {holder.pid} on {holder.host}"
            raise JobHeldError(running, until=self._clock.time() + left)
        return self._process.is_dead(holder)

    def _hold(self, db: Database) -> Lease:
        """The lease of this process. If less than half of the lease is left, this transaction's commit renews it."""
        if self._store.note is None:
            held = self._held
            if held and not held.is_short:
                return held
            self._beat(db)
        lease: Lease = self._store.note[0]
        return lease

    def _beat(self, db: Database) -> None:
        if not self._store.beats:
            self._store.beats = True
            self._forget_holders(db)
        held = self._held
        lease = held if held and held.left > 0 else Lease(self._clock, self.lease)
        term = lease.next_term()
        self._write_term(db, term)
        self._store.note = lease, term

    def _renewed(self, note: tuple[Lease, Term]) -> None:
        lease, term = note
        self._held = lease if lease.renew(term) else None

    def _leave(self, db: Database) -> None:
        """Delete this holder's row. If a claim was not released, the row stays, and the claim ends with the lease."""
        if self._held and not self._claims:
            db.execute("DELETE FROM holders WHERE holder = ?", (self._holder,))

    def hurry(self) -> None:  # noqa: B027 - only a remote database needs it
        """Do nothing: a file can always be reached."""

    def news(self, name: str) -> AbstractContextManager[News | None]:  # noqa: ARG002 - a file sends no news
        return nullcontext()

    async def seen(self, prediction_id: str, api: str) -> Seen:  # noqa: ARG002 - a file has no fleet
        return Seen(is_watched=False)

    def _tell_free(self, db: Database, jobs: Iterable[Entry | NewJob]) -> None:  # noqa: B027 - a file sends no news
        """Notify the processes that wait for these jobs that their claims are released."""

    async def renew(self) -> None:
        await self._store.run(self._beat)

    async def release(self, claim: Claim, made: Prediction | None = None) -> None:
        query = f"UPDATE jobs SET {RELEASED} WHERE key = ? AND fence = ?"  # noqa: S608 - our own columns
        moment = encode_moment(self.moment())

        def work(db: Database) -> None:
            if made:
                write_created(db, claim, made, msgspec.json.encode(made).decode(), fenced=False)
            if db.execute(query, (moment, claim.key, claim.fence)).rowcount:
                self._tell_free(db, [claim.entry])

        self._let_go(claim)
        await self._releases.do(work, sync="now" if made else None)

    def _let_go(self, claim: Claim) -> None:
        if self._claims.get(claim.key) == claim.fence:
            del self._claims[claim.key]

    async def intend(self, claim: Claim, request: CreateRequest, sent: Moment) -> Claim:
        moment = encode_moment(sent)

        def work(db: Database) -> Claim:
            lease, entry = self._hold(db), _held(db, claim)
            if entry.prediction_id is not None:
                return Claim(entry, claim.fence, lease)
            if self._store.may_be_done and (entry.state, entry.request, entry.last_sent) == ("intended", request, sent):
                return Claim(entry, claim.fence, lease, intends=True)
            self._check_batch(db, entry.batch, entry.key)
            whole, shown = print_request(self._key, request)
            is_first = entry.sends == 0  # earlier requests, if any, were never sent
            db.execute(
                "UPDATE jobs SET state='intended', request=?, request_hash=?, shown_hash=?, sends=sends+1,"
                " first_sent=CASE WHEN ? THEN ? ELSE first_sent END, last_sent=?, sent_at=?, token=?,"
                " unanswered=NULL WHERE key=?",
                (
                    *(msgspec.json.encode(request).decode(), whole, shown, is_first, moment, moment),
                    *(sent.best, self._token_print, claim.key),
                ),
            )
            intended = msgspec.structs.replace(
                entry,
                state="intended",
                request=request,
                sends=entry.sends + 1,
                first_sent=sent if is_first else entry.first_sent,
                last_sent=sent,
                unanswered=None,
                token=self._token_print,
            )
            return Claim(intended, claim.fence, lease, intends=True)

        return await self._store.run(work, sync="now", undo=partial(self.unsent, claim))

    async def created(self, claim: Claim, prediction: Prediction, *, collected: bool = False) -> str:
        found = Made(claim, prediction, msgspec.json.encode(prediction).decode(), collected)
        shared = self._created_plainly(found)
        owner = prediction.id if shared and await shared else await self._created_alone(found)
        if collected and owner == prediction.id:
            self._let_go(claim)
        return owner

    def _created_plainly(self, found: Made) -> Awaitable[bool] | None:  # noqa: ARG002 - a subclass uses it
        """Write the prediction in a transaction that many writes share.

        None if the database has no such transactions, if the prediction is too large for them, or if other values have
        to be written too. The awaited value is False if nothing was written because the job has a prediction or its
        claim was lost. The caller then uses ``_created_alone``.
        """
        return None

    async def _created_alone(self, found: Made) -> str:
        claim, prediction = found.claim, found.prediction

        def work(db: Database) -> str:
            # Usually the row has not changed since the claim, and this statement is enough.
            if write_created(db, claim, prediction, found.encoded, collected=found.collected):
                if found.strips:
                    _strip(db, msgspec.structs.replace(claim.entry, prediction=prediction))
                if found.collected:
                    self._tell_free(db, [claim.entry])
                return prediction.id
            query = "SELECT claimed_at, prediction_id FROM jobs WHERE key = ?"
            row = db.execute(query, (claim.key,)).fetchone()
            if row is None or row["claimed_at"] != claim.entry.claimed_at:
                raise ClaimLostError(f"the key {claim.key!r} was freed and has been given to another job")
            if row["prediction_id"] is not None:
                return str(row["prediction_id"])
            if _owned(db, claim.entry.api, [prediction.id]):
                return ""
            # Another process has the claim now, and has recorded no prediction.
            write_created(db, claim, prediction, found.encoded, fenced=False)
            return prediction.id

        return await self._store.run(work, sync=found.sync)

    async def adopt(
        self,
        claim: Claim,
        same: Sequence[str],
        almost: Sequence[str] = (),
        *,
        is_own_list: bool = True,
        unanswered: Moment | None = None,
    ) -> Adoption:
        def work(db: Database) -> Adoption:
            entry = _held(db, claim)
            if unanswered:
                query = "UPDATE jobs SET unanswered=? WHERE key=? AND unanswered IS NULL"
                db.execute(query, (encode_moment(unanswered), claim.key))
            if entry.request is None:
                return Adoption(entry.prediction_id)
            whole, shown = print_request(self._key, entry.request)
            free, rivals = _not_owned(db, entry.api, same), _rivals(db, entry, shown)
            if entry.prediction_id is not None:  # a process that was stopped has recorded it later
                return Adoption(entry.prediction_id, free if not rivals and len(free) < entry.sends else ())
            if not free:
                unclear = _not_owned(db, entry.api, almost)
                return Adoption(unclear=unclear, rivals_unanswered=_rivals_unanswered(db, entry, shown))
            possible = sum(rivals.values()) + 1 if rivals else entry.sends
            if len(free) > possible or rivals.keys() - {whole} or (rivals and not is_own_list):
                return Adoption(unclear=free)
            db.execute("UPDATE jobs SET state='created', prediction_id=?, problem='' WHERE key=?", (free[0], claim.key))
            return Adoption(free[0], () if rivals else free[1:])

        return await self._store.run(work, sync="now")

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
        """Write ``assignments``, the prediction and its id. An earlier write of the prediction may have failed."""
        if missing := lacking("ended", prediction.id, prediction.status):
            raise JournalError(f"the job {claim.key!r} cannot be finished without {missing}")
        encoded = msgspec.json.encode(prediction).decode()

        def work(db: Database) -> None:
            if self._store.may_be_done and is_last and _is_collected(db, claim, prediction):
                return
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
                self._tell_free(db, [claim.entry])

        await self._store.run(work)

    async def refused(self, claim: Claim, problem: str) -> None:
        await self._never_created(claim, "refused", problem)

    async def uncertain(self, claim: Claim, problem: str) -> None:
        await self._never_created(claim, "uncertain", problem)

    async def unsent(self, claim: Claim) -> None:
        await self._never_created(claim, "claimed", "")

    async def _never_created(self, claim: Claim, state: State, problem: str) -> None:
        """Write a state without a prediction. Raises ClaimLostError if another process has recorded one."""

        def work(db: Database) -> None:
            entry = _held(db, claim)
            if known := entry.prediction_id:
                raise ClaimLostError(f"the job {claim.key!r} has the prediction {known}")
            if self._store.may_be_done and entry.state == state:
                return
            query = "UPDATE jobs SET state = ?, problem = ?, sends = sends - ? WHERE key = ?"
            # A request is subtracted from ``sends`` only one time.
            is_unsent = state == "claimed" and entry.state != "claimed"
            db.execute(query, (state, problem, int(is_unsent), claim.key))
            if state == "refused":
                _strip(db, entry)

        await self._store.run(work)

    async def restart(self, claim: Claim, problem: str) -> None:
        def work(db: Database) -> None:
            _held(db, claim)
            clear = "state='refused', problem=?, prediction_id=NULL, status=NULL, prediction=NULL"
            db.execute(f"UPDATE jobs SET {clear} WHERE key = ?", (problem, claim.key))  # noqa: S608 - our own columns

        await self._store.run(work)

    async def account(self, api: str, token: str | None = None) -> str | None:
        def work(db: Database) -> str | None:
            query = "SELECT account FROM accounts WHERE token = ? AND api = ?"
            row = db.execute(query, (self._token_print if token is None else token, api)).fetchone()
            return row["account"] if row else None

        return await self._store.read(work)

    async def note_account(self, api: str, account: str) -> None:
        def work(db: Database) -> None:
            _put(db, "accounts", ("token", "api"), {"token": self._token_print, "api": api, "account": account})

        await self._store.run(work)

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

    async def steps_of(self, key: str) -> list[Entry]:
        start = f"{key}/"
        query = "SELECT * FROM jobs WHERE key >= ? AND key < ? AND chain_step IS NOT NULL ORDER BY seq"
        entries = await self._select_sound(query, start, f"{start}\U0010ffff")
        return [entry for entry in entries if entry.key == f"{start}{entry.chain_step}"]

    async def api_of(self, start: str) -> str | None:
        query, span = "SELECT api FROM jobs WHERE key >= ? AND key < ? LIMIT 1", (start, start + "\U0010ffff")

        def work(db: Database) -> str | None:
            row = db.execute(query, span).fetchone()
            return row["api"] if row else None

        return await self._store.read(work)

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
            _ALL if limit is None else limit,
        )

    async def scan(self, *, batch: str | None = None, since: float = 0) -> AsyncGenerator[list[Entry], None]:
        last: Any = -1
        bounds: tuple[Any, ...] = (since,)
        if batch is None:
            where, place = "claimed_at >= ?", "seq"
        else:  # a row's key begins with its batch's id, followed by "/" or "~"
            where, place, last = "batch = ? AND key < ?", "key", f"{batch}/"
            bounds = (batch, f"{batch}~\U0010ffff")
        query = f"SELECT * FROM jobs WHERE {place} > ? AND {where} ORDER BY {place} LIMIT {LOOKED_UP}"  # noqa: S608 - our own columns

        def work(db: Database) -> tuple[list[Entry], Any]:
            rows = db.execute(query, (last, *bounds)).fetchall()
            return self._sound(rows), rows[-1][place] if rows else None

        while last is not None:
            entries, last = await self._store.read(work)
            if entries:
                yield entries

    async def past(self, api: str, model: str, limit: int) -> list[Entry]:
        starts = [f'{{"model":"{model}{end}' for end in ('"', ":")]  # the model is the first field of a stored job
        return await self._select_sound(
            "SELECT * FROM jobs WHERE seq > (SELECT coalesce(max(seq), 0) FROM jobs) - ? AND api = ?"
            " AND status IS NOT NULL AND prediction IS NOT NULL AND state IN ('ended', 'collected')"
            " AND (substr(job, 1, ?) = ? OR substr(job, 1, ?) = ?) ORDER BY seq DESC LIMIT ?",
            *(SCANNED, api, len(starts[0]), starts[0], len(starts[1]), starts[1], limit),
        )

    async def forget(self, key: str) -> None:
        def work(db: Database) -> None:
            row = db.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
            entry = read_entry(row) if row else None
            if entry is None and self._store.may_be_done:
                return
            if entry is None or (problem := _needed_for(entry)):
                raise JobError(problem if entry else f"there is no job {key!r}")
            if entry.state == "refused":
                db.execute("DELETE FROM jobs WHERE key = ?", (key,))
                return
            _reduce(db, key, _reduced(row["job"]))

        await self._store.run(work)

    async def begin_batch(self, batch: BatchEntry) -> None:
        await self._store.run(lambda db: self._begin_batch(db, batch))

    def _begin_batch(self, db: Database, batch: BatchEntry) -> None:
        values = {name: getattr(batch, name) for name in ("id", "api", "source", "command", "started_at")}
        _put(db, "batches", ("id",), values)

    async def batches(self) -> list[BatchEntry]:
        query = (
            "SELECT id, api, source, command, started_at, coalesce(open, 0) AS unfinished FROM batches"
            " LEFT JOIN (SELECT batch, count(*) AS open"
            " FROM jobs WHERE state NOT IN ('collected', 'refused') GROUP BY batch) AS counted ON batch = id"
            " WHERE api <> '' ORDER BY started_at DESC"  # without drafts, which are still being submitted
        )
        return await self._store.read(lambda db: [BatchEntry(**row) for row in db.execute(query)])

    async def counts(self) -> list[JobCount]:
        last = await self._store.read(lambda db: int(db.execute(_LAST).fetchone()["last"]))
        numbers = Counter[tuple[str | None, State, str]]()
        for first in range(0, last, COUNTED):
            for row in await self._store.read(partial(_count, first=first)):
                status = row["status"] if row["state"] in OVER else ""
                numbers[row["batch"], row["state"], status] += row["number"]
        return [JobCount(*labels, number) for labels, number in numbers.items()]

    async def _select(self, query: str, *values: Any) -> list[Entry]:
        return await self._store.read(lambda db: [read_entry(row) for row in db.execute(query, values)])

    async def _select_sound(self, query: str, *values: Any) -> list[Entry]:
        """Read entries. Damaged rows are left out, and added to ``damaged``."""
        return await self._store.read(lambda db: self._sound(db.execute(query, values)))

    def _sound(self, rows: Iterable[Any]) -> list[Entry]:
        entries: list[Entry] = []
        for row in rows:
            try:
                entries.append(read_entry(row))
            except DamagedError as error:
                self.damaged[error.key] = str(error)
        return entries

    async def prune(self, before: float, *, forget: bool = False, dry_run: bool = False) -> Pruned:
        def work(db: Database) -> Pruned:
            over = _over(db, before, forget=forget)
            query = "SELECT count(*) AS count FROM uploads WHERE coalesce(expires_at, 0) < ?"
            uploads = int(db.execute(query, (self.time(),)).fetchone()["count"])
            if not dry_run:
                _prune(db, over, before, self.kept_batches)
                db.execute("DELETE FROM uploads WHERE coalesce(expires_at, 0) < ?", (self.time(),))
                db.execute("DELETE FROM holders WHERE lease_until < ?", (min(before, self.time()),))
            return Pruned(len(over), uploads)

        pruned = await self._store.run(work)
        if not dry_run:
            await self._store.vacuum()
        return pruned

    async def swap_rate(self, api: str, kind: str, seen: str, state: str) -> str | None:
        def work(db: Database) -> str | None:
            place = (self._token_print, api, kind)
            if seen:
                query = "UPDATE rates SET state = ? WHERE token = ? AND api = ? AND kind = ? AND state = ?"
                swapped = db.execute(query, (state, *place, seen))
            else:
                swapped = db.execute("INSERT INTO rates VALUES (?,?,?,?) ON CONFLICT DO NOTHING", (*place, state))
            if swapped.rowcount:
                return None
            row = db.execute("SELECT state FROM rates WHERE token = ? AND api = ? AND kind = ?", place).fetchone()
            if row and row["state"] == state and self._store.may_be_done:
                return None
            return row["state"] if row else ""

        return await self._store.run(work)

    async def find_upload(self, api: str, sha256: str) -> FileInfo | None:
        def work(db: Database) -> FileInfo | None:
            query = "SELECT url, expires_at FROM uploads WHERE api = ? AND sha256 = ?"
            row = db.execute(query, (api, sha256)).fetchone()
            return FileInfo(row["url"], row["expires_at"]) if row else None

        return await self._store.read(work)

    async def remember_upload(self, api: str, sha256: str, info: FileInfo) -> None:
        def work(db: Database) -> None:
            db.execute("DELETE FROM uploads WHERE expires_at < ?", (self.time(),))
            values = {"api": api, "sha256": sha256, "url": info.url, "expires_at": info.expires_at}
            _put(db, "uploads", ("api", "sha256"), values)

        await self._store.run(work)


def _get(db: Database, key: str) -> Entry:
    return read_entry(db.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone())


def _needed_for(entry: Entry) -> str:
    """The reason why a job cannot be forgotten; empty if it can."""
    if entry.batch is not None:
        return f"{entry.key!r} is a row of the batch {entry.batch}, which needs it to do nothing twice"
    if entry.state in UNFINISHED:
        return f"the job {entry.key!r} is {entry.state}, and may have to be looked for: finish or cancel it first"
    return ""


def write_created(  # noqa: PLR0913 - the values, and the conditions for the write
    db: Database,
    claim: Claim,
    prediction: Prediction,
    encoded: str,
    *,
    collected: bool = False,
    fenced: bool = True,
) -> bool:
    """Write the prediction if the job has none, and no other job has the prediction. Returns whether it was written.

    Nothing is written if the key was given to another job, or, with ``fenced``, if the claim was lost.
    """
    state = state_of(prediction.status, collected=collected)
    changed = db.execute(
        "UPDATE jobs SET state=?, prediction_id=?, status=?, prediction=?, problem='',"
        " holder=CASE WHEN ? THEN NULL ELSE holder END WHERE key=? AND claimed_at=?"
        " AND prediction_id IS NULL AND (fence=? OR NOT ?)"
        " AND NOT EXISTS (SELECT 1 FROM jobs WHERE prediction_id=? AND api=?)",
        (
            *(state, prediction.id, prediction.status, encoded, state == "collected"),
            *(claim.key, claim.entry.claimed_at, claim.fence, fenced, prediction.id, claim.entry.api),
        ),
    )
    return changed.rowcount > 0


def _held(db: Database, claim: Claim) -> Entry:
    row = db.execute("SELECT * FROM jobs WHERE key = ?", (claim.key,)).fetchone()
    if row is None or row["fence"] != claim.fence:
        raise ClaimLostError(f"another process has taken over the job {claim.key!r}")
    return read_entry(row)


def _is_collected(db: Database, claim: Claim, prediction: Prediction) -> bool:
    query = "SELECT 1 AS is_there FROM jobs WHERE key=? AND claimed_at=? AND state='collected' AND prediction_id=?"
    return db.execute(query, (claim.key, claim.entry.claimed_at, prediction.id)).fetchone() is not None


def mark_of_row(mark: str) -> str:
    """The claim's mark for a row that the claim itself has inserted. It shows that no request was sent before."""
    return f"{mark} new"


def _put(db: Database, table: str, place: Sequence[str], values: Mapping[str, Any]) -> None:
    """Insert a row, or replace the row with the same values in the columns ``place``.

    Columns are named, since later releases may add columns.
    """
    names, marks = ", ".join(values), ",".join("?" * len(values))
    changes = ", ".join(f"{name} = excluded.{name}" for name in values if name not in place)
    conflict = f"ON CONFLICT ({', '.join(place)}) DO UPDATE SET {changes}"
    db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks}) {conflict}", tuple(values.values()))  # noqa: S608 - our own columns


def _over(db: Database, before: float, *, forget: bool) -> dict[str, str | None]:
    """Map the key of each finished job that was claimed before that time to the part of the stored job that is kept.

    The value is None if the whole row is to be deleted.
    """
    query = "SELECT key FROM jobs WHERE state = 'refused' AND claimed_at < ?"
    over: dict[str, str | None] = {row["key"]: None for row in db.execute(query, (before,))}
    query = "SELECT key, job FROM jobs WHERE state = 'collected' AND claimed_at < ?"
    if forget:
        return over | {row["key"]: None for row in db.execute(query, (before,))}
    for row in db.execute(f"{query} AND (request IS NOT NULL OR prediction IS NOT NULL)", (before,)):
        if reduced := _reduced(row["job"]):
            over[row["key"]] = reduced
    return over


def _prune(db: Database, over: Mapping[str, str | None], before: float, kept: str) -> None:
    for key, reduced in over.items():
        if reduced:
            _reduce(db, key, reduced)
        else:
            db.execute("DELETE FROM jobs WHERE key = ?", (key,))
    db.execute(
        f"DELETE FROM batches WHERE started_at < ? AND NOT ({kept}) AND NOT EXISTS"  # noqa: S608 - our own condition
        " (SELECT 1 FROM jobs WHERE batch = id AND (request IS NOT NULL OR prediction IS NOT NULL))",
        (before,),
    )


class _Reduced(msgspec.Struct):
    model: str


def _reduced(job: str) -> str:
    """A stored job reduced to its model. Empty for a damaged job, which is not pruned."""
    try:
        return msgspec.json.encode(decode(job, _Reduced)).decode()
    except ValueError:
        return ""


def _reduce(db: Database, key: str, reduced: str) -> None:
    """Delete a finished job's data. Fingerprint, id and status stay, so that the key creates no second prediction."""
    rest = "request=NULL, prediction=NULL, files='[]', problem='', save=NULL, holder=NULL"
    db.execute(f"UPDATE jobs SET job=?, {rest} WHERE key = ?", (reduced, key))  # noqa: S608 - our own columns


def _strip(db: Database, entry: Entry) -> None:
    """Delete secrets and file contents of a job that is over or certainly never ran: no request needs them any more."""
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


def _owned(db: Database, api: str, ids: Sequence[str]) -> set[str]:
    query = "SELECT 1 AS is_there FROM jobs WHERE prediction_id = ? AND api = ?"
    return {id_ for id_ in ids if db.execute(query, (id_, api)).fetchone()}


def _not_owned(db: Database, api: str, ids: Sequence[str]) -> tuple[str, ...]:
    owned = _owned(db, api, ids)
    return tuple(id_ for id_ in ids if id_ not in owned)


def _rivals(db: Database, entry: Entry, shown: int) -> dict[int, int]:
    """Find the rivals of this job: other jobs whose predictions look the same in the account's list.

    Maps the fingerprint of each whole request to the number of such requests that were sent at about the same time or
    later. If all were sent earlier, the number is 0: they are included too, since a clock may have been set meanwhile.
    """
    if entry.first_sent is None:
        return {}
    query = (
        "SELECT request_hash, sum(CASE WHEN sent_at >= ? THEN 1 ELSE 0 END) AS sent FROM jobs WHERE shown_hash = ?"
        " AND api = ? AND prediction_id IS NULL"
        " AND key != ? AND state IN ('intended', 'uncertain') GROUP BY request_hash"
    )
    values = (entry.first_sent.best - RIVAL_SPAN, shown, entry.api, entry.key)
    return {row["request_hash"]: row["sent"] for row in db.execute(query, values)}


def _successes(db: Database, api: str, shown: int, whole: int | None, since: float) -> list[Entry]:
    """Stored successes with an equal request, newest first.

    ``shown`` is the fingerprint of the part that the API's list shows. ``whole`` is the fingerprint of the whole
    request with its secrets, None if the whole requests need not be equal.
    """
    query = (
        "SELECT * FROM jobs WHERE shown_hash = ? AND sent_at >= ? AND api = ? AND state = 'collected'"
        " AND status = 'succeeded' AND problem = '' AND prediction IS NOT NULL ORDER BY sent_at DESC LIMIT 20"
    )
    found: list[Entry] = []
    for row in db.execute(query, (shown, since, api)):
        if whole is None or row["request_hash"] == whole:
            with suppress(DamagedError):
                found.append(read_entry(row))
    return found


def _rivals_unanswered(db: Database, entry: Entry, shown: int) -> tuple[Moment, ...]:
    """For each rival with a prediction, whose last request got no answer: a moment by which this request has ended."""
    query = (  # a moment's text begins with its Unix time
        "SELECT unanswered FROM jobs WHERE shown_hash = ? AND api = ? AND key != ? AND unanswered IS NOT NULL"
        " AND prediction_id IS NOT NULL ORDER BY unanswered DESC LIMIT ?"
    )
    values = (shown, entry.api, entry.key, _RIVALS)
    return tuple(decode(row["unanswered"], Moment) for row in db.execute(query, values))


def encode_moment(moment: Moment | None) -> str | None:
    return msgspec.json.encode(moment).decode() if moment else None


def _moment(text: str | None) -> Moment | None:
    return decode(text, Moment) if text else None


def _count(db: Database, first: int) -> list[Any]:
    return db.execute(_COUNT, (first, first + COUNTED)).fetchall()


def read_entry(row: Any) -> Entry:
    """Read a row. Raises DamagedError for a row that no release can have written."""
    try:
        return check_entry(_read_entry(row))
    except (ValueError, TypeError, KeyError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise damaged(row["key"], row["prediction_id"], error) from None


def _read_entry(row: Any) -> Entry:
    prediction, request = row["prediction"], row["request"]
    return Entry(
        key=row["key"],
        api=row["api"],
        job=decode_job(row["job"]),
        state=row["state"],
        claimed_at=row["claimed_at"],
        save=row["save"],
        request=decode(request, CreateRequest) if request else None,
        sends=row["sends"],
        first_sent=_moment(row["first_sent"]),
        last_sent=_moment(row["last_sent"]),
        unanswered=_moment(row["unanswered"]),
        prediction_id=row["prediction_id"],
        status=row["status"],
        prediction=decode(prediction, Prediction) if prediction else None,
        files=tuple(map(read_kept, decode(row["files"], list[str]))),
        problem=row["problem"],
        batch=row["batch"],
        token=row["token"],
        job_print=row["job_print"],
        chain_step=row["chain_step"],
    )

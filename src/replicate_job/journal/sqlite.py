"""The journal in a SQLite file: the statements behind every fact."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from replicate_job.errors import ClaimLostError, DamagedError, JobHeldError, KeyInUseError
from replicate_job.inputs.upload import FileInfo
from replicate_job.job import Job
from replicate_job.journal.entry import (
    UNFINISHED,
    Adoption,
    BatchEntry,
    Claim,
    Entry,
    Request,
    check_entry,
    damaged,
    decode_job,
    encode_job,
    is_same,
)
from replicate_job.journal.writer import BUSY_TIMEOUT, Writer
from replicate_job.wire.prediction import Prediction

LEASE = 15.0
"""Seconds that a claim holds without being renewed. A holder that is dead on this machine loses it at once."""
RIVAL_SPAN = 120.0
"""Two creates further apart than this many seconds cannot be mistaken for each other in the account's list."""


FORGOTTEN = 24 * 3600.0
"""Seconds after the end of its lease at which a holder is struck off."""
LOOKED_UP = 500
"""Keys in one statement; SQLite before 3.32 takes 999 values."""


class _New(msgspec.Struct, frozen=True):
    """A row as it would be new. ``encoded`` is the job's JSON."""

    key: str
    api: str
    job: Job
    save: str | None
    batch: str | None
    encoded: str


class SQLiteJournal:
    """A ``Journal`` in one file, shared by any number of processes. Use it as an async context manager."""

    def __init__(
        self,
        path: Path,
        *,
        lease: float = LEASE,
        busy_timeout: float = BUSY_TIMEOUT,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.path, self.lease, self._now = path, lease, now
        self._writer = Writer(path, self._renew, every=lease / 3, busy_timeout=busy_timeout)
        self._host = socket.gethostname()
        self._holder = f"{self._host} {os.getpid()} {uuid.uuid4().hex[:8]}"
        self._leased_until = 0.0
        self.damaged: dict[str, str] = {}

    async def __aenter__(self) -> SQLiteJournal:  # noqa: PYI034 - nobody subclasses it
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._writer.close()

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
        new = _New(key, api, job, save, batch, encode_job(job).decode())

        taken: list[Claim] = []

        def work(db: sqlite3.Connection) -> Claim:
            claim = self._claim(db, new, request)
            taken.append(claim)
            if prediction and claim.entry.prediction_id is None:
                _write_created(db, claim, prediction, msgspec.json.encode(prediction).decode())
                claim = Claim(_get(db, key), claim.fence)
            return claim

        def let_go(db: sqlite3.Connection) -> None:
            for claim in taken:  # with ``request``, nothing was sent
                query = "UPDATE jobs SET holder=NULL, state=iif(?, 'claimed', state) WHERE key=? AND fence=?"
                db.execute(query, (claim.intends, key, claim.fence))

        try:
            return await self._writer.run(work)
        except asyncio.CancelledError:
            # It was or will be written all the same, and nobody would ever let it go.
            await asyncio.shield(self._writer.run(let_go))
            raise

    def _claim(self, db: sqlite3.Connection, new: _New, request: Request | None) -> Claim:
        if entry := self._insert(db, new, request):
            self._hold(db)
            return Claim(entry, 1, intends=request is not None)
        row = db.execute("SELECT * FROM jobs WHERE key = ?", (new.key,)).fetchone()
        if row["state"] == "refused":
            # It certainly never ran, so its key is free again, for a job that was mended too.
            db.execute("DELETE FROM jobs WHERE key = ?", (new.key,))
            entry = self._insert(db, new, request, fence=row["fence"] + 1)
            assert entry  # noqa: S101 - there is none of that key
            self._hold(db)
            return Claim(entry, row["fence"] + 1, intends=request is not None)
        entry = read_entry(row)
        self._check_same(entry, new)
        self._check_free(db, row)
        self._hold(db)
        save = row["save"] if row["state"] == "collected" else new.save
        db.execute(
            "UPDATE jobs SET fence = fence + 1, holder = ?, save = ? WHERE key = ?", (self._holder, save, new.key)
        )
        return Claim(msgspec.structs.replace(entry, save=save), row["fence"] + 1)

    def _insert(self, db: sqlite3.Connection, new: _New, request: Request | None, fence: int = 1) -> Entry | None:
        """A row for a new job, and none where there is one of that key."""
        now = self._now()
        sent = now if request else None
        entry = Entry(
            key=new.key,
            api=new.api,
            job=new.job,
            state="intended" if request else "claimed",
            claimed_at=now,
            save=new.save,
            request=request,
            sends=1 if request else 0,
            first_sent=sent,
            last_sent=sent,
            batch=new.batch,
        )
        inserted = db.execute(
            "INSERT INTO jobs (key, api, job, save, batch, state, claimed_at, request, request_hash,"
            " sends, first_sent, last_sent, fence, holder) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
            " ON CONFLICT DO NOTHING",
            (
                *(new.key, new.api, new.encoded, new.save, new.batch, entry.state, now),
                msgspec.json.encode(request).decode() if request else None,
                request.fingerprint if request else None,
                *(entry.sends, sent, sent, fence, self._holder),
            ),
        )
        return entry if inserted.rowcount else None

    @staticmethod
    def _check_same(entry: Entry, new: _New) -> None:
        if entry.api != new.api:
            raise KeyInUseError(
                f"the key {entry.key!r} belongs to a job at {entry.api}, not {new.api}: choose another key"
            )
        if not is_same(entry.job, new.job):
            other = f"another job ({entry.job.model}, with its own input)"
            raise KeyInUseError(f"the key {entry.key!r} belongs to {other}: choose another key")

    def _check_free(self, db: sqlite3.Connection, row: sqlite3.Row) -> None:
        if row["holder"] is None or row["state"] == "collected":
            return
        lease = db.execute("SELECT lease_until FROM holders WHERE holder = ?", (row["holder"],)).fetchone()
        if lease is None or lease["lease_until"] <= self._now():
            return
        host, pid, _ = row["holder"].rsplit(" ", 2)
        if host == self._host and not _alive(int(pid)):
            return
        until = lease["lease_until"]
        raise JobHeldError(f"the job {row['key']!r} is being run by process {pid} on {host}", until=until)

    def _hold(self, db: sqlite3.Connection) -> None:
        """Make sure that this process has a lease for what it claims."""
        if self._leased_until < self._now() + self.lease / 2:
            self._renew(db)

    def _renew(self, db: sqlite3.Connection) -> None:
        now = self._now()
        self._leased_until, self._writer.beats = now + self.lease, True
        db.execute("INSERT OR REPLACE INTO holders VALUES (?, ?)", (self._holder, self._leased_until))
        db.execute("DELETE FROM holders WHERE lease_until < ?", (now - FORGOTTEN,))

    async def renew(self) -> None:
        await self._writer.run(self._renew)

    async def release(self, claim: Claim) -> None:
        with suppress(ClaimLostError):
            await self._fact(claim, "holder = NULL")

    async def intend(self, claim: Claim, request: Request) -> Entry:
        def work(db: sqlite3.Connection) -> Entry:
            now = self._now()
            entry = _held(db, claim)
            if entry.prediction_id is None:
                db.execute(
                    "UPDATE jobs SET state='intended', request=?, request_hash=?, sends=sends+1,"
                    " first_sent=coalesce(first_sent, ?), last_sent=? WHERE key=?",
                    (msgspec.json.encode(request).decode(), request.fingerprint, now, now, claim.key),
                )
            return _get(db, claim.key)

        return await self._writer.run(work)

    async def unsent(self, claim: Claim) -> None:
        await self._fact(claim, "state='claimed'")

    async def created(self, claim: Claim, prediction: Prediction, *, collected: bool = False) -> str:
        encoded = msgspec.json.encode(prediction).decode()

        def work(db: sqlite3.Connection) -> str:
            # Nearly always all is as it was at the claim, and one statement does.
            if _write_created(db, claim, prediction, encoded, collected=collected):
                return prediction.id
            query = "SELECT claimed_at, prediction_id FROM jobs WHERE key = ?"
            row = db.execute(query, (claim.key,)).fetchone()
            if row["claimed_at"] != claim.entry.claimed_at:
                raise ClaimLostError(f"the key {claim.key!r} was freed and has been given to another job")
            if row["prediction_id"] is not None:
                return str(row["prediction_id"])
            if _owned(db, claim.entry.api, [prediction.id]):
                return ""
            # Another process has the claim now, and does not know yet what this one made.
            _write_created(db, claim, prediction, encoded, fenced=False)
            return prediction.id

        return await self._writer.run(work)

    async def adopt(self, claim: Claim, candidates: Sequence[str], doubtful: Sequence[str] = ()) -> Adoption:
        def work(db: sqlite3.Connection) -> Adoption:
            entry = _held(db, claim)
            if entry.prediction_id is not None:
                return Adoption(entry.prediction_id)
            owned = _owned(db, entry.api, candidates)
            free = [candidate for candidate in candidates if candidate not in owned]
            if not free:
                blurred = _owned(db, entry.api, doubtful)
                unclear = tuple(each for each in doubtful if each not in blurred)
                return Adoption(unclear=unclear, rivals_sent=_rivals_sent(db, entry))
            if len(free) > _rivals(db, entry):
                return Adoption(unclear=tuple(free))
            db.execute("UPDATE jobs SET state='created', prediction_id=?, problem='' WHERE key=?", (free[0], claim.key))
            return Adoption(free[0])

        return await self._writer.run(work)

    async def ended(self, claim: Claim, prediction: Prediction) -> None:
        known = "state='ended', prediction=?, prediction_id=coalesce(prediction_id, ?)"
        await self._fact(claim, known, msgspec.json.encode(prediction).decode(), prediction.id)

    async def collected(
        self, claim: Claim, files: Sequence[Path], problem: str = "", *, save: str | None = None
    ) -> None:
        paths = msgspec.json.encode([str(path) for path in files]).decode()
        done = "state='collected', holder=NULL, files=?, problem=?, save=coalesce(?, save)"
        await self._fact(claim, done, paths, problem, save)

    async def refused(self, claim: Claim, problem: str) -> None:
        await self._fact(claim, "state='refused', problem=?", problem)

    async def uncertain(self, claim: Claim, problem: str) -> None:
        await self._fact(claim, "state='uncertain', problem=?", problem)

    async def _fact(self, claim: Claim, assignments: str, *values: Any) -> None:
        def work(db: sqlite3.Connection) -> None:
            _held(db, claim)
            db.execute(f"UPDATE jobs SET {assignments} WHERE key = ?", (*values, claim.key))  # noqa: S608 - our own columns

        await self._writer.run(work)

    async def get(self, key: str) -> Entry | None:
        found = await self._select("SELECT * FROM jobs WHERE key = ?", key)
        return found[0] if found else None

    async def look_up(self, keys: Sequence[str]) -> dict[str, Entry]:
        found: list[Entry] = []
        for start in range(0, len(keys), LOOKED_UP):
            some = keys[start : start + LOOKED_UP]
            query = f"SELECT * FROM jobs WHERE key IN ({','.join('?' * len(some))})"  # noqa: S608 - only marks
            found += await self._select_sound(query, *some)
        return {entry.key: entry for entry in found}

    async def api_of(self, start: str) -> str | None:
        query, span = "SELECT api FROM jobs WHERE key >= ? AND key < ? LIMIT 1", (start, start + "\U0010ffff")

        def work(db: sqlite3.Connection) -> str | None:
            row = db.execute(query, span).fetchone()
            return row["api"] if row else None

        return await self._writer.run(work)

    async def find(self, prediction_id: str, api: str) -> Entry | None:
        query = "SELECT * FROM jobs WHERE prediction_id = ? AND api = ?"
        found = await self._select(query, prediction_id, api)
        return found[0] if found else None

    async def unfinished(self, api: str) -> list[Entry]:
        marks = ",".join("?" * len(UNFINISHED))
        query = f"SELECT * FROM jobs WHERE state IN ({marks}) AND api = ? AND batch IS NULL ORDER BY seq"  # noqa: S608 - only marks
        return await self._select_sound(query, *UNFINISHED, api)

    async def entries(self, limit: int | None = None) -> list[Entry]:
        return await self._select_sound(
            "SELECT * FROM jobs WHERE batch IS NULL ORDER BY claimed_at DESC, seq DESC LIMIT ?",
            -1 if limit is None else limit,
        )

    async def begin_batch(self, batch: BatchEntry) -> None:
        values = (batch.id, batch.api, batch.source, batch.command, batch.started_at)
        await self._writer.run(
            lambda db: db.execute("INSERT OR REPLACE INTO batches VALUES (?,?,?,?,?)", values).rowcount
        )

    async def batches(self) -> list[BatchEntry]:
        query = (
            "SELECT batches.*, coalesce(unfinished, 0) FROM batches LEFT JOIN (SELECT batch, count(*) AS unfinished"
            " FROM jobs WHERE state NOT IN ('collected', 'refused') GROUP BY batch) ON batch = id"
            " ORDER BY started_at DESC"
        )
        return await self._writer.run(lambda db: [BatchEntry(*row) for row in db.execute(query)])

    async def _select(self, query: str, *values: Any) -> list[Entry]:
        return await self._writer.run(lambda db: [read_entry(row) for row in db.execute(query, values)])

    async def _select_sound(self, query: str, *values: Any) -> list[Entry]:
        """Without the damaged rows, which are put into ``damaged``."""

        def work(db: sqlite3.Connection) -> list[Entry]:
            found: list[Entry] = []
            for row in db.execute(query, values):
                try:
                    found.append(read_entry(row))
                except DamagedError as error:
                    self.damaged[error.key] = str(error)
            return found

        return await self._writer.run(work)

    async def find_upload(self, api: str, sha256: str) -> FileInfo | None:
        def work(db: sqlite3.Connection) -> FileInfo | None:
            query = "SELECT url, expires_at FROM uploads WHERE api = ? AND sha256 = ?"
            row = db.execute(query, (api, sha256)).fetchone()
            return FileInfo(row["url"], row["expires_at"]) if row else None

        return await self._writer.run(work)

    async def remember_upload(self, api: str, sha256: str, info: FileInfo) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM uploads WHERE expires_at < ?", (self._now(),))
            db.execute("INSERT OR REPLACE INTO uploads VALUES (?,?,?,?)", (api, sha256, info.url, info.expires_at))

        await self._writer.run(work)


def _get(db: sqlite3.Connection, key: str) -> Entry:
    return read_entry(db.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone())


def _write_created(  # noqa: PLR0913 - what to write, and under which conditions
    db: sqlite3.Connection,
    claim: Claim,
    prediction: Prediction,
    encoded: str,
    *,
    collected: bool = False,
    fenced: bool = True,
) -> bool:
    """Whether it was written: the job has no prediction yet, that one is no other job's, and the claim holds."""
    state = "collected" if collected else "ended" if prediction.is_terminal else "created"
    changed = db.execute(
        "UPDATE jobs SET state=?, prediction_id=?, prediction=?, problem='', holder=iif(?, NULL, holder)"
        " WHERE key=? AND claimed_at=? AND prediction_id IS NULL AND (fence=? OR NOT ?)"
        " AND NOT EXISTS (SELECT 1 FROM jobs WHERE prediction_id=? AND api=?)",
        (
            *(state, prediction.id, encoded, collected),
            *(claim.key, claim.entry.claimed_at, claim.fence, fenced, prediction.id, claim.entry.api),
        ),
    )
    return changed.rowcount > 0


def _held(db: sqlite3.Connection, claim: Claim) -> Entry:
    row = db.execute("SELECT * FROM jobs WHERE key = ?", (claim.key,)).fetchone()
    if row is None or row["fence"] != claim.fence:
        raise ClaimLostError(f"another process has taken over the job {claim.key!r}")
    return read_entry(row)


def _owned(db: sqlite3.Connection, api: str, ids: Sequence[str]) -> set[str]:
    query = "SELECT prediction_id FROM jobs WHERE prediction_id = ? AND api = ?"
    return {each for each in ids if db.execute(query, (each, api)).fetchone()}


def _rivals(db: sqlite3.Connection, entry: Entry) -> int:
    """How many jobs, this one among them, wait for a prediction with the same request from about the same time."""
    if entry.request is None or entry.first_sent is None:
        return 0
    query = (
        "SELECT count(*) FROM jobs WHERE request_hash = ? AND api = ? AND prediction_id IS NULL"
        " AND state IN ('intended', 'uncertain') AND last_sent >= ?"
    )
    values = (entry.request.fingerprint, entry.api, entry.first_sent - RIVAL_SPAN)
    return int(db.execute(query, values).fetchone()[0])


def _rivals_sent(db: sqlite3.Connection, entry: Entry) -> float | None:
    if entry.request is None:
        return None
    query = "SELECT last_sent FROM jobs WHERE request_hash = ? AND api = ? AND key != ? ORDER BY last_sent DESC LIMIT 1"
    row = db.execute(query, (entry.request.fingerprint, entry.api, entry.key)).fetchone()
    return row["last_sent"] if row else None


def read_entry(row: sqlite3.Row) -> Entry:
    """Raises DamagedError for a row as no release writes it."""
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
        request=msgspec.json.decode(request, type=Request) if request else None,
        sends=row["sends"],
        first_sent=row["first_sent"],
        last_sent=row["last_sent"],
        prediction_id=row["prediction_id"],
        prediction=msgspec.json.decode(prediction, type=Prediction) if prediction else None,
        files=tuple(Path(path) for path in msgspec.json.decode(row["files"], type=list[str])),
        problem=row["problem"],
        batch=row["batch"],
    )


def _alive(pid: int) -> bool:
    if sys.platform == "win32":  # os.kill(pid, 0) would send it a Ctrl-C there: the lease decides alone
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError):  # there is no /proc elsewhere
        # One that was killed and whose parent has not looked yet still has its number.
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] not in {b"Z", b"X"}
    return True

"""The journal in a SQLite file: the statements behind every fact."""

from __future__ import annotations

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

from replicate_job.errors import ClaimLostError, JobHeldError, KeyInUseError
from replicate_job.inputs.upload import FileInfo
from replicate_job.job import Job
from replicate_job.journal.entry import (
    UNFINISHED,
    Adoption,
    Claim,
    Entry,
    Request,
    decode_job,
    encode_job,
    fingerprint,
)
from replicate_job.journal.writer import BUSY_TIMEOUT, Writer
from replicate_job.wire.prediction import Prediction

LEASE = 15.0
"""Seconds that a claim holds without being renewed. A holder that is dead on this machine loses it at once."""
RIVAL_SPAN = 120.0
"""Two creates further apart than this many seconds cannot be mistaken for each other in the account's list."""


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
        self._writer = Writer(path, busy_timeout=busy_timeout)
        self._host = socket.gethostname()

    async def __aenter__(self) -> SQLiteJournal:  # noqa: PYI034 - nobody subclasses it
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._writer.close()

    async def claim(
        self, key: str, api: str, job: Job, save: str | None, prediction: Prediction | None = None
    ) -> Claim:
        def work(db: sqlite3.Connection) -> Claim:
            claim = self._claim(db, key, api, job, save)
            if prediction and claim.entry.prediction_id is None and not _owned(db, api, [prediction.id]):
                _write_created(db, key, prediction)
                claim = Claim(_get(db, key), claim.fence)
            return claim

        return await self._writer.run(work)

    def _claim(self, db: sqlite3.Connection, key: str, api: str, job: Job, save: str | None) -> Claim:
        row = db.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
        if row is None:
            db.execute(
                "INSERT INTO jobs (key, api, job, asked, save, claimed_at, state, fence)"
                " VALUES (?,?,?,?,?,?,'claimed',0)",
                (key, api, encode_job(job).decode(), fingerprint(job), save, self._now()),
            )
        elif row["state"] == "refused":
            # It certainly never ran, so its key is free again, for a job that was mended too.
            db.execute(
                "UPDATE jobs SET api=?, job=?, asked=?, save=?, state='claimed', claimed_at=?, problem='',"
                " request=NULL, request_hash=NULL, prediction_id=NULL, prediction=NULL, files='[]',"
                " sends=0, first_sent=NULL, last_sent=NULL WHERE key=?",
                (api, encode_job(job).decode(), fingerprint(job), save, self._now(), key),
            )
        else:
            self._check_same(row, api, job)
            self._check_free(row)
            if row["state"] != "collected":
                db.execute("UPDATE jobs SET save = ? WHERE key = ?", (save, key))
        holder = f"{self._host} {os.getpid()} {uuid.uuid4().hex[:8]}"
        db.execute(
            "UPDATE jobs SET fence = fence + 1, holder = ?, lease_until = ? WHERE key = ?",
            (holder, self._now() + self.lease, key),
        )
        row = db.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
        return Claim(read_entry(row), row["fence"])

    @staticmethod
    def _check_same(row: sqlite3.Row, api: str, job: Job) -> None:
        if row["api"] != api:
            raise KeyInUseError(
                f"the key {row['key']!r} belongs to a job at {row['api']}, not {api}: choose another key"
            )
        if row["asked"] != fingerprint(job):
            model = decode_job(row["job"]).model
            raise KeyInUseError(
                f"the key {row['key']!r} belongs to another job ({model}, with its own input): choose another key"
            )

    def _check_free(self, row: sqlite3.Row) -> None:
        if row["holder"] is None or row["lease_until"] <= self._now() or row["state"] == "collected":
            return
        host, pid, _ = row["holder"].rsplit(" ", 2)
        if host == self._host and not _alive(int(pid)):
            return
        raise JobHeldError(f"the job {row['key']!r} is being run by process {pid} on {host}", until=row["lease_until"])

    async def renew(self, claim: Claim) -> None:
        await self._fact(claim, "lease_until = ?", self._now() + self.lease)

    async def release(self, claim: Claim) -> None:
        with suppress(ClaimLostError):
            await self._fact(claim, "lease_until = 0, holder = NULL")

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

    async def created(self, claim: Claim, prediction: Prediction) -> str:
        def work(db: sqlite3.Connection) -> str:
            entry = _get(db, claim.key)
            if entry.claimed_at != claim.entry.claimed_at:
                raise ClaimLostError(f"the key {claim.key!r} was freed and has been given to another job")
            if entry.prediction_id is not None:
                return entry.prediction_id
            if _owned(db, entry.api, [prediction.id]):
                return ""
            _write_created(db, claim.key, prediction)
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
                return Adoption(unclear=tuple(each for each in doubtful if each not in blurred))
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
        await self._fact(claim, "state='collected', files=?, problem=?, save=coalesce(?, save)", paths, problem, save)

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

    async def find(self, prediction_id: str, api: str) -> Entry | None:
        query = "SELECT * FROM jobs WHERE prediction_id = ? AND api = ?"
        found = await self._select(query, prediction_id, api)
        return found[0] if found else None

    async def unfinished(self, api: str) -> list[Entry]:
        marks = ",".join("?" * len(UNFINISHED))
        query = f"SELECT * FROM jobs WHERE state IN ({marks}) AND api = ? ORDER BY seq"  # noqa: S608 - only marks
        return await self._select(query, *UNFINISHED, api)

    async def entries(self, limit: int | None = None) -> list[Entry]:
        return await self._select(
            "SELECT * FROM jobs ORDER BY claimed_at DESC, seq DESC LIMIT ?", -1 if limit is None else limit
        )

    async def _select(self, query: str, *values: Any) -> list[Entry]:
        return await self._writer.run(lambda db: [read_entry(row) for row in db.execute(query, values)])

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


def _write_created(db: sqlite3.Connection, key: str, prediction: Prediction) -> None:
    db.execute(
        "UPDATE jobs SET state='created', prediction_id=?, prediction=?, problem='' WHERE key=?",
        (prediction.id, msgspec.json.encode(prediction).decode(), key),
    )


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


def read_entry(row: sqlite3.Row) -> Entry:
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
        files=tuple(Path(path) for path in msgspec.json.decode(row["files"])),
        problem=row["problem"],
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
    return True

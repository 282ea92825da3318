"""Local files of rows. The files are copied to a depot at the submission, and deleted from the depot at the end.

Uploads to the API expire, and a million rows take a day. So a file is uploaded only just before its row is created.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replicate_job.errors import InputError, JobError, JournalError
from replicate_job.fleet.reach import warn_of_folder
from replicate_job.inputs.content import Content, contents
from replicate_job.inputs.upload import check_files, without_bytes
from replicate_job.outputs.depot import FOLDER, Depot
from replicate_job.outputs.place import root_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicate_job.fleet.parts import Fleet
    from replicate_job.flow.context import Context
    from replicate_job.job import Job
    from replicate_job.journal.postgres_fleet import FleetTables

AT_ONCE = 8
"""The number of files that are copied at the same time. Each file is in memory during its copy."""
CLEANED = 10.0
"""Seconds between two searches for depots that no batch needs any more."""


class InputFiles:
    """The input files of a submission. ``address`` is the depot with their copies, None without copies.

    ``save`` is the batch's place for outputs, which also gets the depot. Without ``save`` no file can be copied.
    """

    def __init__(self, context: Context, tables: FleetTables, save: str | None) -> None:
        self._context, self._tables, self._save = context, tables, save
        self._depot: Depot | None = None
        self._read: dict[tuple[str, int, int], Content] = {}
        self._paths: dict[str, Path] = {}  # the files by the SHA-256 of their contents
        self._copied: set[str] = set()

    @property
    def address(self) -> str | None:
        return self._depot.address if self._depot else None

    async def take(self, job: Job, line: int) -> dict[str, Any]:
        """The job's input with each file as a ``Content``. A content that is only in memory is copied now.

        Raises InputError for files that cannot be sent, and JobError if there is no place for their copies.
        """
        if self._save is None:
            raise JobError(
                f"line {line} names a file of this machine, and there is no place where workers could read it: give "
                "--save s3://BUCKET/FOLDER (in Python save_to=), or the URL of the file"
            )
        taken, paths = await asyncio.to_thread(self._take, job)
        self._paths |= paths
        held = {content.sha256: content.data for content in contents(job.input_data)}
        await self._copy((content, data) for content in contents(taken) if (data := held.get(content.sha256)))
        return taken

    def _take(self, job: Job) -> tuple[dict[str, Any], dict[str, Path]]:
        check_files(job.input_data, model=job.model)
        try:
            return without_bytes(job.input_data, self._read)
        except OSError as error:  # the file was changed or deleted just now
            raise InputError(job.model, [f"{error.filename} cannot be read: {error.strerror}"]) from None

    async def copy(self, inputs: Iterable[dict[str, Any]]) -> None:
        """Copy the files of these inputs to the depot, each content once. Raises JobError for an unreadable file."""
        found = (content for values in inputs for content in contents(values))
        await self._copy((content, self._paths[content.sha256]) for content in found if content.sha256 in self._paths)

    async def _copy(self, files: Iterable[tuple[Content, bytes | Path]]) -> None:
        new = {content.sha256: (content, source) for content, source in files if content.sha256 not in self._copied}
        if not new:
            return
        depot = self._depot = self._depot or await self._open()
        rest = iter(new.values())

        async def put_rest() -> None:
            for content, source in rest:
                data = await asyncio.to_thread(_bytes, source) if isinstance(source, Path) else source
                await depot.put(content, data)

        tasks = [asyncio.create_task(put_rest()) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        self._copied |= new.keys()

    async def _open(self) -> Depot:
        root = root_of(self._save or "")
        depot = Depot(f"{root.rstrip('/')}/{FOLDER}/{os.urandom(8).hex()}", self._context.stores)
        await warn_of_folder(self._context, self._tables, f"{root.rstrip('/')}/{FOLDER}", "files of rows are copied to")
        await self._tables.add_depot(self._context.api, depot.address)
        return depot


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror}") from None


async def clean(fleet: Fleet) -> None:
    """Every ``CLEANED`` seconds, delete the files that no batch needs any more."""
    while True:
        with suppress(JournalError):
            for address in await fleet.tables.due_depots(fleet.api):
                await asyncio.shield(_clear(fleet, address))  # the depot's row must be deleted together with its files
        await asyncio.sleep(CLEANED)


async def _clear(fleet: Fleet, address: str) -> None:
    try:
        is_cleared = await Depot(address, fleet.context.stores).clear()
    except (OSError, JobError) as error:
        fleet.context.reporter.note(f"the input files in {address} cannot be deleted now: {error}")
        return
    if is_cleared:
        with suppress(JournalError):  # the next cleaning tries again
            await fleet.tables.forget_depot(address)

"""Warns of a folder that may be missing on other machines of a fleet."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from replicate_job.outputs.place import is_in_store, path_of

if TYPE_CHECKING:
    from replicate_job.flow.context import Context
    from replicate_job.journal.postgres_fleet import FleetTables


async def warn_of_folder(context: Context, tables: FleetTables, root: str, what: str) -> None:
    """Warn that every worker needs the folder ``root``, unless all live workers are on this machine.

    ``what`` is the beginning of the warning, with the purpose of the folder.
    """
    if is_in_store(root) or tables.is_local:
        return
    hosts = {worker.host for worker in await tables.workers(context.api)}
    if hosts == {socket.gethostname()}:
        return
    context.reporter.warn(
        f"{what} {path_of(root)}: workers on other machines need that folder too, or name a bucket with "
        "--save s3://BUCKET/FOLDER (in Python save_to=)"
    )

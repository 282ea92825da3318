"""Deletes old data: finished jobs from the journal, and schemas from the cache."""

from __future__ import annotations

from pathlib import Path

import msgspec

from replicate_job.flow.schema_cache import old_schemas
from replicate_job.journal.protocol import Journal


class Pruned(msgspec.Struct, frozen=True):
    """The numbers of deleted jobs, remembered uploads and cached schemas. With ``dry_run``, nothing was deleted yet."""

    jobs: int
    uploads: int
    schemas: int


async def prune(journal: Journal, cache: Path, before: float, *, forget: bool, dry_run: bool) -> Pruned:
    """See ``Journal.prune``. ``cache`` is the folder with the schemas."""
    pruned = await journal.prune(before, forget=forget, dry_run=dry_run)
    schemas = old_schemas(cache, before)
    if not dry_run:
        for file in schemas:
            file.unlink(missing_ok=True)
    return Pruned(pruned.jobs, pruned.uploads, len(schemas))

"""Finds a stored success of the same version with the same input, which can replace a new prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from replicate_job.aio import in_thread
from replicate_job.flow.collect import result_of
from replicate_job.flow.context import Context
from replicate_job.flow.failure import why
from replicate_job.flow.prepare import write_request
from replicate_job.flow.resolved import Resolved
from replicate_job.inputs.content import Content
from replicate_job.inputs.upload import by_content, has_files
from replicate_job.job import Job, Result
from replicate_job.journal.entry import CreateRequest, Entry
from replicate_job.outputs.discover import find_files

_UNSHOWN = {None, "", "hidden"}
"""Values that a prediction may have in place of a version id. An official model hides its version, and has only one
version at a time."""


class Reuse:
    """``age`` is the greatest age of a reused result, in seconds since its create request."""

    def __init__(self, context: Context, age: float) -> None:
        self._context, self._age = context, age
        self._known: dict[tuple[str, int, int], Content] = {}

    async def find(self, jobs: Sequence[Job], resolved: Resolved) -> list[Result | None]:
        """For each job of this model, a result that can replace the job's prediction, or None. Sends no request.

        None also for a job with a webhook, since the webhook would not be called. A result is not used if its files are
        missing, or are in an object store, since no request is sent to a store.
        """
        requests = [await self._request(job, resolved) for job in jobs]
        asked = [request for request in requests if request]
        since = self._context.clock.time() - self._age
        found = iter(await self._context.journal.successes(self._context.api, asked, since) if asked else [])
        return [self._choose(next(found), resolved) if request else None for request in requests]

    async def _request(self, job: Job, resolved: Resolved) -> CreateRequest | None:
        """The create request of a job, only for the comparison.

        None if no stored result can replace the job's prediction.
        """
        if job.webhook:
            return None
        if not has_files(job.input_data):
            return write_request(job, resolved, job.input_data)
        # Secrets are compared only with the whole request. That needs the file URLs, which are not known yet.
        if any(name in job.input_data for name in resolved.secrets):
            return None
        try:
            values = await in_thread(by_content, job.input_data, self._known)
        except OSError:  # reported later, when the file is sent
            return None
        files: dict[str, str] = {}
        return write_request(job, resolved, _addressed(values, files), files)

    def _choose(self, entries: Sequence[Entry], resolved: Resolved) -> Result | None:
        entry = next((entry for entry in entries if self._is_good(entry, resolved)), None)
        if entry is None or entry.prediction is None:
            return None
        return msgspec.structs.replace(result_of(entry.prediction, entry, entry.files), reused=True)

    def _is_good(self, entry: Entry, resolved: Resolved) -> bool:
        made = entry.prediction
        if made is None or made.data_removed or why(made.status, made.error, made.output, resolved.schema):
            return False
        if not _is_of_version(made.version, resolved):
            return False
        # The local server may have had another port when it made the prediction.
        files = find_files(made.output, resolved.schema, origin=made.url("get") or self._context.client.base_url)
        are_there = all(isinstance(path, Path) and path.is_file() for path in entry.files)
        return are_there and len(entry.files) >= len({file.url for file in files})


def _is_of_version(made: str | None, resolved: Resolved) -> bool:
    """Whether a prediction is of the model's current version."""
    if resolved.version:
        return True  # the compared requests name the version
    if resolved.target.kind != "deployment" and made in _UNSHOWN:
        return True
    return bool(resolved.newest) and made == resolved.newest


def _addressed(value: Any, files: dict[str, str]) -> Any:
    """The input with each file replaced by its SHA-256. The hashes are added to ``files`` as if they were URLs."""
    match value:
        case Content():
            files[value.sha256] = value.sha256
            return value.sha256
        case dict():
            return {name: _addressed(item, files) for name, item in value.items()}
        case list() | tuple():
            return [_addressed(item, files) for item in value]
    return value

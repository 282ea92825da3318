"""Names rows by their inputs, so that rows with equal inputs share a prediction or reuse an earlier success."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from replicate_job.aio import in_thread
from replicate_job.batches.row_job import RowJob
from replicate_job.flow.context import Context
from replicate_job.inputs.content import Content
from replicate_job.inputs.upload import by_content, has_files
from replicate_job.job import Job

_DIGITS = 32
"""The number of hex digits in a name, enough that a million rows do not collide by chance."""


class SharedNames:
    """Names rows by hashes of their inputs and of their files' contents. Each pass over the rows uses a new one."""

    def __init__(self, context: Context) -> None:
        self._journal = context.journal
        self._print: Callable[[Job], str] | None = None
        self._known: dict[tuple[str, int, int], Content] = {}
        self._seen: set[int] = set()  # hashes instead of names, since there may be a million

    async def rename(self, items: Sequence[RowJob]) -> list[RowJob]:
        """The rows with their new names.

        A row that cannot be read keeps its name, and so does a row with an unreadable file.
        """
        self._print = self._print or await self._journal.printer()
        return [await self._renamed(item, self._print) for item in items]

    async def _renamed(self, item: RowJob, make_print: Callable[[Job], str]) -> RowJob:
        if item.problem:
            return item
        values = item.job.input_data
        if has_files(values):
            try:
                values = await in_thread(by_content, values, self._known)
            except OSError:
                return item
        # The hash is keyed with the journal's own key, so that a secret input cannot be guessed from the row's name.
        printed = make_print(msgspec.structs.replace(item.job, input_data=values))
        name, short = f"same-{printed[:_DIGITS]}", int(printed[:16], 16)
        repeats = short in self._seen
        self._seen.add(short)
        return msgspec.structs.replace(item, name=name, repeats=repeats)

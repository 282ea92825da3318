"""Checks that a batch names its rows in the same way as its earlier runs did.

Otherwise the batch would find no row in the journal, and pay for all rows again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from replicate_job.batches.spec import Batch
from replicate_job.errors import JobError
from replicate_job.flow.context import Context

Naming = Literal["line", "input", "column"]

_FORMS: dict[Naming, re.Pattern[str]] = {
    "line": re.compile(r"\d+-[0-9a-f]{8}(?![^+/])"),
    "input": re.compile(r"same-[0-9a-f]{32}(?![^+/])"),
}
_WORDS = {"line": "their lines", "input": "their inputs", "column": "a column"}
_BEFORE = {
    "line": "leave {now} out",
    "input": "give --dedupe (in Python dedupe=True) as before",
    "column": "give --id COLUMN (in Python id=) as before",
}
_NOW = {"input": "--dedupe (in Python dedupe=True)", "column": "--id (in Python id=)"}


def naming(name: str) -> Naming:
    """How a row was named, judged by the form of its name.

    The parts after a ``+`` (combination) and a ``/`` (step) are ignored.
    """
    return next((kind for kind, form in _FORMS.items() if form.match(name)), "column")


async def check_naming(context: Context, batch: Batch, names: Iterable[str]) -> None:
    """Raise JobError if the batch's first rows in the journal were named in another way.

    Called before anything is created. ``names`` are the names of the first rows of this run. The journal has none of
    these rows.
    """
    now: Naming = "input" if batch.dedupe else "line" if batch.id_column is None else "column"
    alike = {now, *map(naming, filter(None, names))}  # a column's value may look like another form: 1001-20260115
    async for entries in context.journal.scan(batch=batch.id):
        found = {naming(entry.key.removeprefix(batch.id).partition("/")[2]) for entry in entries}
        if found and found.isdisjoint(alike):
            before = min(found)
            advice = _BEFORE[before].format(now=_NOW.get(now, ""))
            raise JobError(
                f"the rows of the batch {batch.id} have run under other names, by {_WORDS[before]} and not by "
                f"{_WORDS[now]}: all would be paid for again. {advice[0].upper()}{advice[1:]}, or run a copy of the "
                "file (in Python another key=) as a batch of its own"
            )
        return

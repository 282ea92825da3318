"""The predictions of one row, one after the other: each is a job of its own in the journal."""

from __future__ import annotations

from collections.abc import Iterable

from replicate_job.flow.context import Context
from replicate_job.journal.entry import Entry


def attempt_key(batch: str, name: str, attempt: int = 1) -> str:
    """``<batch>/<name>``, and ``<batch>~2/<name>`` for the second."""
    return f"{batch}/{name}" if attempt == 1 else f"{batch}~{attempt}/{name}"


def attempt_of(batch: str, entry: Entry) -> int:
    number = entry.key.removeprefix(batch).partition("/")[0]
    return int(number[1:]) if number else 1


async def latest(context: Context, batch: str, names: Iterable[str]) -> dict[str, Entry]:
    """The last attempt of each row that the journal has, by the row's name. One that was refused never was."""
    found: dict[str, Entry] = {}
    attempt, asked = 1, list(names)
    while asked:
        keys = {attempt_key(batch, name, attempt): name for name in asked}
        entries = await context.journal.look_up(list(keys))
        current = {keys[key]: entry for key, entry in entries.items() if entry.state != "refused"}
        found |= current
        asked = [name for name, entry in current.items() if has_failed(entry) or entry.state == "uncertain"]
        attempt += 1
    return found


def has_failed(entry: Entry) -> bool:
    """Whether there is nothing good to show for it and nothing to come, so that it may be tried again."""
    if entry.step != "done" or entry.prediction is None:
        return False
    return bool(entry.problem) or entry.prediction.status != "succeeded"

"""The attempts of a row: its predictions, one after the other. Each attempt is a job of its own in the journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from replicate_job.flow.collect import result_of
from replicate_job.flow.context import Context
from replicate_job.job import Result
from replicate_job.journal.entry import Entry


def attempt_key(batch: str, name: str, attempt: int = 1) -> str:
    """The key of a row's attempt: ``<batch>/<name>`` for the first, ``<batch>~2/<name>`` for the second."""
    return f"{batch}/{name}" if attempt == 1 else f"{batch}~{attempt}/{name}"


def attempt_of(batch: str, entry: Entry) -> int:
    return attempt_number(batch, entry.key)


def attempt_number(batch: str, key: str) -> int:
    number = key.removeprefix(batch).partition("/")[0]
    return int(number[1:]) if number else 1


async def latest(context: Context, batch: str, names: Iterable[str]) -> dict[str, Entry]:
    """The journal's entry of each row's last attempt, by the row's name. Refused attempts do not count.

    A row without an attempt is left out.
    """
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


async def attempts_before(context: Context, batch: str, found: Mapping[str, Entry]) -> dict[str, tuple[Entry, ...]]:
    """Each row's attempts before the last one, oldest first, by the row's name. Rows with one attempt are left out.

    ``found`` has the last attempts by the rows' names (see ``latest``). One SQL statement reads all attempts.
    """
    keys = {
        name: [attempt_key(batch, name, number) for number in range(1, attempt_of(batch, entry))]
        for name, entry in found.items()
    }
    asked = [key for several in keys.values() for key in several]
    entries = await context.journal.look_up(asked) if asked else {}
    return {name: tuple(entries[key] for key in several if key in entries) for name, several in keys.items() if several}


def recall(entries: Iterable[Entry]) -> tuple[Result, ...]:
    """The results of the attempts that have a prediction."""
    return tuple(result_of(entry.prediction, entry, entry.files) for entry in entries if entry.prediction)


def has_failed(entry: Entry) -> bool:
    """Whether the job is over, and its prediction did not succeed or an output could not be kept.

    Another attempt may follow.
    """
    if entry.step != "done" or entry.prediction is None:
        return False
    return bool(entry.problem) or entry.prediction.status != "succeeded"

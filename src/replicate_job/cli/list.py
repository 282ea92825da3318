"""``replicate-job list``: list the jobs of the journal, newest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from replicate_job.cli.age import Age
from replicate_job.cli.exits import SUCCEEDED, UNREACHABLE
from replicate_job.cli.help import examples
from replicate_job.cli.moments import of_unix
from replicate_job.cli.options import Common, common
from replicate_job.cli.output import name_damaged, print_json, shorten
from replicate_job.cli.streams import tell, write
from replicate_job.cli.table import table
from replicate_job.journal.entry import BatchEntry, Entry
from replicate_job.journal.open import open_journal
from replicate_job.journal.protocol import Journal
from replicate_job.quantity import MOST, count

BATCHES = 20
"""How many of the newest batches are named below the table. The table does not list the rows of batches."""
_HEADINGS = ("TIME", "PREDICTION", "MODEL", "STATUS", "PREDICT", "FILES")


@click.command(
    "list",
    epilog=examples(
        "replicate-job list --limit 20",
        "replicate-job list --json | jq '.[] | select(.status == \"failed\")'",
        "replicate-job list --remote --since 1h",
        "replicate-job list --cost --since 30d --by model",
    ),
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of objects.")
@click.option(
    "--limit",
    type=click.IntRange(1, MOST),
    metavar="N",
    help="List only the newest N jobs and batches; default all jobs.",
)
@click.option(
    "--remote", is_flag=True, help="List the account's predictions, also those made elsewhere; default the newest 100."
)
@click.option(
    "--cost", is_flag=True, help="List the estimated cost of each job and batch of the journal, by known prices."
)
@click.option("--by", type=click.Choice(["model"]), help="With --cost: sum up by model.")
@click.option("--since", type=Age(), metavar="AGE", help="With --remote or --cost: only those of the last 1h, 2d, 2w.")
@common
async def command(  # noqa: PLR0913 - one argument an option
    shared: Common, limit: int | None, since: int | None, by: str | None, *, as_json: bool, remote: bool, cost: bool
) -> int:
    """List the jobs of the journal with their time, model, status, predict time and files."""
    if remote and cost:
        raise click.UsageError("--cost lists the journal's jobs, and --remote the account's predictions: give only one")
    if remote:
        from replicate_job.cli.remote_list import list_predictions  # noqa: PLC0415 - only --remote needs the API

        return await list_predictions(shared, since, limit, as_json=as_json)
    if cost:
        from replicate_job.cli.cost_list import list_costs  # noqa: PLC0415 - only --cost needs prices

        return await list_costs(shared, since, limit, as_json=as_json, by_model=by is not None)
    if since is not None or by is not None:
        raise click.UsageError("--since needs --remote or --cost, --by needs --cost; the plain list takes --limit")
    async with open_journal(shared.settings.journal) as journal:
        entries, batches = await journal.entries(limit), await journal.batches()
    name_damaged(journal)
    if as_json:
        print_json([describe(entry) for entry in entries])
    elif entries:
        write(table([_HEADINGS, *map(_row, entries)]))
    if not as_json and not shared.quiet:
        tell(_totals(entries) if entries else _none(batches, journal))
        for batch in batches[: min(BATCHES, limit or BATCHES)]:
            left = f", {batch.unfinished} unfinished" if batch.unfinished else ""
            tell(f"batch of {of_unix(batch.started_at)}: {batch.source or batch.id}{left}")
    return UNREACHABLE if journal.damaged else SUCCEEDED


def describe(entry: Entry) -> dict[str, Any]:
    """One job as a JSON object. ``predict_time`` is in seconds, ``time`` is ISO 8601 in UTC."""
    return {
        "key": entry.key,
        "time": datetime.fromtimestamp(entry.claimed_at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "prediction_id": entry.prediction_id,
        "model": entry.job.model,
        "status": _status(entry),
        "state": entry.state,
        "predict_time": _predict_time(entry),
        "files": [str(path) for path in entry.files],
        "problem": entry.problem or None,
        "api": entry.api,
    }


def _status(entry: Entry) -> str:
    """The prediction's status; the job's state if the job has no prediction yet."""
    if entry.status:
        return entry.status
    return "starting" if entry.prediction_id else entry.state


def _predict_time(entry: Entry) -> float | None:
    found = ((entry.prediction and entry.prediction.metrics) or {}).get("predict_time")
    try:
        return float(found) if isinstance(found, int | float) else None
    except OverflowError:
        return None


def _row(entry: Entry) -> tuple[str, ...]:
    predict = _predict_time(entry)
    files = [shorten(path) for path in entry.files]
    return (
        of_unix(entry.claimed_at),
        entry.prediction_id or entry.key,
        entry.job.model,
        _status(entry),
        "" if predict is None else f"{predict:.1f}s",
        f"{files[0]} +{len(files) - 1}" if len(files) > 1 else "".join(files),
    )


def _none(batches: Sequence[BatchEntry], journal: Journal) -> str:
    """The line in place of the totals if there is no job to list."""
    if journal.damaged:
        return "no jobs that can be read"
    return "no jobs outside of batches" if batches else "no jobs yet"


def _totals(entries: list[Entry]) -> str:
    counts = Counter(_status(entry) for entry in entries)
    predict = sum(_predict_time(entry) or 0 for entry in entries)
    files = sum(len(entry.files) for entry in entries)
    each = ", ".join(f"{many} {status}" for status, many in counts.most_common())
    return f"{count(len(entries), 'job')}: {each}; {predict:.1f} s predict time, {count(files, 'file')}"

"""``replicate-job list --remote``: list the account's predictions, wherever they were made."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from datetime import timedelta
from typing import Any

from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.moments import of_api
from replicate_job.cli.options import Common
from replicate_job.cli.output import print_json, shorten
from replicate_job.cli.streams import tell, write
from replicate_job.cli.table import table
from replicate_job.flow.remote import listed
from replicate_job.journal.entry import Entry
from replicate_job.quantity import count
from replicate_job.wire.prediction import Prediction

NEWEST = 100
"""How many predictions are listed at most if neither ``--since`` nor ``--limit`` is given."""
_HEADINGS = ("TIME", "PREDICTION", "MODEL", "STATUS", "SOURCE", "PREDICT", "FILES")

_Listed = tuple[Prediction, Entry | None]


async def list_predictions(shared: Common, since: int | None, limit: int | None, *, as_json: bool) -> int:
    most = limit or (NEWEST if since is None else None)
    async with shared.session() as context:
        age = None if since is None else timedelta(seconds=since)
        async with aclosing(listed(context, since=age)) as found:
            shown: list[_Listed] = []
            async for each in found:
                shown.append(each)
                if len(shown) == most:
                    break
    if as_json:
        print_json([_facts(*each) for each in shown])
        return SUCCEEDED
    if shown:
        write(table([_HEADINGS, *(_row(*each) for each in shown)]))
    if not shared.quiet:
        counts = Counter(prediction.status for prediction, _ in shown)
        told = ", ".join(f"{many} {status}" for status, many in counts.most_common())
        tell(f"{count(len(shown), 'prediction')}: {told}" if shown else "no predictions")
    return SUCCEEDED


def _facts(prediction: Prediction, entry: Entry | None) -> dict[str, Any]:
    return {
        "time": prediction.created_at,
        "prediction_id": prediction.id,
        "model": prediction.model,
        "version": prediction.version,
        "status": prediction.status,
        "source": prediction.source,
        "predict_time": _predict_time(prediction),
        "data_removed": prediction.data_removed,
        "files": [str(file) for file in entry.files] if entry else [],
        "key": entry.key if entry else None,
    }


def _row(prediction: Prediction, entry: Entry | None) -> tuple[str, ...]:
    predict = _predict_time(prediction)
    files = [shorten(file) for file in entry.files] if entry else []
    return (
        of_api(prediction.created_at),
        prediction.id,
        prediction.model or "",
        prediction.status,
        prediction.source or "",
        "" if predict is None else f"{predict:.1f}s",
        f"{files[0]} +{len(files) - 1}" if len(files) > 1 else "".join(files),
    )


def _predict_time(prediction: Prediction) -> float | None:
    seconds = (prediction.metrics or {}).get("predict_time")
    return float(seconds) if isinstance(seconds, int | float) and abs(seconds) < 1e9 else None  # noqa: PLR2004 - 30 years

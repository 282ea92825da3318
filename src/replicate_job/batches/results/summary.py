"""The counts of a batch, made while its results come in."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from replicate_job.batches.results.cause import Causes
from replicate_job.batches.results.record import NO_PREDICTION
from replicate_job.batches.results.spans import Spans
from replicate_job.job import Result
from replicate_job.quantity import count, duration, money, one_line, seconds, size
from replicate_job.wire.prediction import parse_time

_STATUS = 100  # the most characters of a status
_ERROR = 40  # the fewest characters of an error, on the narrowest terminal
_WORDS = {NO_PREDICTION: ("error", "errors")}
_KINDS = 20  # the most statuses that are counted apart: Replicate has a few, but a broken API may have any number


class StandIns:
    """Counts the rows that a stand-in answered. ``what`` describes the first of these stand-ins."""

    def __init__(self) -> None:
        self.rows = self.lacking = self.line = 0
        self.what = self.left_out = ""

    def add(self, result: Result) -> None:
        if not result.stand_in:
            return
        what, _, left_out = result.stand_in.partition("; ")
        self.rows, self.what = self.rows + 1, self.what or what
        if left_out:
            self.lacking += 1
            if not self.left_out:
                self.left_out, self.line = left_out, result.line

    def lines(self, columns: int | None = None) -> list[str]:
        """Lines that a command prints at its end; none if no stand-in answered.

        The list of ignored inputs is cut to three lines of a terminal that is ``columns`` wide. If ``columns`` is None,
        the list is not cut.
        """
        if not self.rows:
            return []
        lines = [f"  a stand-in, {self.what}, answered {count(self.rows, 'row')}"]
        if self.lacking:
            before, after = f"  and left something out of {self.lacking:,}: ", f" (line {self.line})"
            room = len(self.left_out) if columns is None else max(_ERROR, 3 * columns - len(before) - len(after))
            lines.append(before + one_line(self.left_out, room) + after)
        return lines


class Summary:
    """Counts any number of results in a fixed amount of memory.

    ``statuses`` counts rows by status. ``predict_time`` is in seconds. ``cost`` is the cost of the ``priced`` rows in
    USD; ``excludes`` names what is billed and not part of ``cost``. ``files`` counts the saved files; ``size`` is the
    sum of their bytes, as far as they are still on the disk. ``first`` is when the first prediction was created,
    ``last`` when the last one ended, and ``spans`` is the time in which predictions ran. ``stand_ins`` counts the rows
    that a stand-in answered. ``retried`` counts the rows with earlier attempts, ``earlier`` these attempts; their times
    and costs are included. ``reused`` counts the rows without a prediction of their own, which add no times.
    """

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.causes = Causes()
        self.predict_time = 0.0
        self.cost = Decimal(0)
        self.priced = 0
        self.excludes = ""
        self.files = self.size = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.spans = Spans()
        self.stand_ins = StandIns()
        self.retried = self.earlier = self.reused = 0

    @property
    def rows(self) -> int:
        return self.statuses.total()

    @property
    def wall_time(self) -> float | None:
        """Seconds in which predictions ran, without pauses; None if the API returned no times."""
        return self.spans.work if self.first and self.last else None

    def add(self, result: Result) -> None:
        status = f"{result.status} without its files" if result.problem and result.prediction_id else result.status
        known = status in self.statuses or len(self.statuses) < _KINDS
        self.statuses[status if known else "other"] += 1
        self.causes.add(result)
        self.stand_ins.add(result)
        if result.reused:
            self.reused += 1
            return
        self.retried += bool(result.earlier)
        self.earlier += len(result.earlier)
        is_priced = True
        for each in result.predictions:
            self._add_files(each)
            is_priced = is_priced and bool(each.charge or (result.steps and not each.prediction_id))
        self.priced += is_priced
        for each in result.attempts:
            self._add_time(each)
            self._add_cost(each)

    def _add_files(self, result: Result) -> None:
        self.files += len(result.files)
        for path in result.files:
            if isinstance(path, Path):
                with suppress(OSError):
                    self.size += path.stat().st_size

    def _add_time(self, result: Result) -> None:
        self.predict_time += seconds(result.metrics.get("predict_time")) or 0.0
        created, completed = parse_time(result.created_at), parse_time(result.completed_at)
        if created and (self.first is None or created < self.first):
            self.first = created
        if completed and (self.last is None or completed > self.last):
            self.last = completed
        if created and completed:
            self.spans.add(created.timestamp(), max(created, completed).timestamp())

    def _add_cost(self, result: Result) -> None:
        if charge := result.charge:
            self.cost += charge.cost
            self.excludes = self.excludes or charge.excludes

    def cost_line(self) -> str:
        """``about $1.20``, with the number of priced rows if some rows have no price; empty if no row has a price."""
        if not self.priced:
            return ""
        some = "" if self.priced == self.rows else f" for {self.priced:,} of them"
        more = f" without {self.excludes}" if self.excludes else ""
        return f"about {money(self.cost)}{some}{more}"

    def lines(self, columns: int | None = None) -> list[str]:
        """Lines that a command prints at its end: the counts, then each cause with its number of rows and an example.

        ``columns`` is the width of a terminal, at which errors are cut; None for whole errors.
        """
        if not self.rows:
            return ["no rows"]
        statuses = ", ".join(
            one_line(count_status(status, number), _STATUS) for status, number in self.statuses.most_common()
        )
        files = count(self.files, "file") if self.files else "no files"
        files += f" ({size(self.size)})" if self.size else ""
        rest = ", ".join(filter(None, (f"{duration(self.predict_time)} predict time", self.cost_line(), files)))
        first = f"{count(self.rows, 'row')}: {statuses}; {rest}"
        causes = list(self.causes)
        width = max((len(f"{cause.count:,}") for cause in causes), default=0)
        lines = [first, *self.stand_ins.lines(columns)]
        if self.retried:
            again = count(self.earlier, "attempt")
            lines.append(
                f"  {again} came before the last of {count(self.retried, 'row')}, and what they took is counted"
            )
        if self.reused:
            lines.append(f"  {count(self.reused, 'row')} took a prediction that there was, and paid for none")
        for cause in causes:
            before, after = f"  {cause.count:>{width},} × ", f" ({cause.place})"  # noqa: RUF001 - times
            room = len(cause.text) if columns is None else max(_ERROR, columns - len(before) - len(after))
            lines.append(before + one_line(cause.text, room) + after)
        return lines


def count_status(status: str, number: int) -> str:
    """The number and the status as words: ``3 failed``, ``2 errors``."""
    return count(number, *_WORDS.get(status, (status, status)))

"""The report of a batch: one HTML file that needs no other files and no network."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from replicate_job.batches.results.record import read_records
from replicate_job.errors import JobError, OutputError

if TYPE_CHECKING:
    from replicate_job.batches.report.sheet import Sheet

_HEAD = 16_384  # the first bytes of a page, which contain its batch and title


def check_report(report: Path, *, title: str, batch: str) -> None:
    """Raise JobError if the file exists and is not this batch's report, since a mistyped name must not destroy a file.

    A report by an older release does not name its batch. It may be replaced if it has the same title. Raises
    OutputError if the file cannot be read.
    """
    if not report.is_file():
        return
    from replicate_job.batches.report.page import batch_tag, title_tag  # noqa: PLC0415 - few batches have a report yet

    try:
        with report.open("rb") as page:
            head = page.read(_HEAD).decode(errors="replace")
    except OSError as error:
        raise OutputError(f"{report} cannot be read: {error.strerror}; name another file for the report") from None
    is_old = batch_tag("").partition("content")[0] not in head
    if head and batch_tag(batch) not in head and not (is_old and title_tag(title) in head):
        advice = "name another file with --report, or write none with --no-report"
        raise JobError(f"{report} exists and is not the report of this batch: {advice}")


def write_report(  # noqa: PLR0913 - what the page shows
    results: Path, report: Path, *, title: str, command: str = "", batch: str = "", sheet: Sheet | None = None
) -> None:
    """Write a report about the results in the file ``results``. An old report is replaced once the new one is complete.

    The results are read line by line, in a fixed amount of memory. Small pictures are embedded; other files are linked
    to, relative to the report. ``command`` is shown, and ``batch`` is the batch's id. If there is a ``sheet``, it must
    be empty; it is filled and shown. Raises JobError if the results cannot be read, or if ``report`` is a file that is
    not this batch's report. Raises OutputError if the report cannot be written.
    """
    from replicate_job.batches.report.findings import Findings  # noqa: PLC0415 - only the end of a batch needs them
    from replicate_job.batches.report.page import render  # noqa: PLC0415 - as above

    check_report(report, title=title, batch=batch)
    findings = Findings(sheet)
    for result in read_records(results):
        findings.add(result)
    findings.series.settle()
    # Two processes may write the report of one batch: each has a temporary file of its own.
    part = report.with_name(f".{report.name}.{os.getpid()}.part")
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", errors="replace") as page:
            page.writelines(render(findings, report.resolve().parent, title=title, command=command, batch=batch))
        part.replace(report)
    except OSError as error:
        raise OutputError(f"{report} cannot be written: {error.strerror}; name another file for the report") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)

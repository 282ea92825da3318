"""A batch's report: one HTML file that needs nothing else to be read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from replicate_job.batches.report.findings import Findings
from replicate_job.batches.report.page import name_batch, name_title, render
from replicate_job.batches.results.record import read_records
from replicate_job.errors import JobError, OutputError

_HEAD = 16_384  # bytes in which a page says whose it is


def check_report(report: Path, *, title: str, batch: str) -> None:
    """Raise JobError where the file is anything but the report of this batch, or of one of its title, if that is old.

    A slip of the hand must cost nobody a page. OutputError where the file cannot be read.
    """
    if not report.is_file():
        return
    try:
        with report.open("rb") as page:
            head = page.read(_HEAD).decode(errors="replace")
    except OSError as error:
        raise OutputError(f"{report} cannot be read: {error.strerror}; name another file for the report") from None
    names_none = name_batch("").partition("content")[0] not in head  # an older release wrote it
    if head and name_batch(batch) not in head and not (names_none and name_title(title) in head):
        advice = "name another file with --report, or write none with --no-report"
        raise JobError(f"{report} is there and is no report of this batch: {advice}")


def write_report(results: Path, report: Path, *, title: str, command: str = "", batch: str = "") -> None:
    """Write ``report`` about the results in a file, replacing it when the new one is whole.

    Reads the results line by line: memory does not grow with them. Small pictures are embedded, other files are linked
    to by their place relative to the report. Raises JobError where the results cannot be read, or where there is
    anything but the report of this ``batch`` (its id); OutputError where the report cannot be written.
    """
    check_report(report, title=title, batch=batch)
    findings = Findings()
    for result in read_records(results):
        findings.add(result)
    findings.series.settle()
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

"""A batch's report: one HTML file that needs nothing else to be read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from replicate_job.errors import OutputError
from replicate_job.results.findings import Findings
from replicate_job.results.page import render
from replicate_job.results.record import read_records


def write_report(results: Path, report: Path, *, title: str, command: str = "") -> None:
    """Write ``report`` about the results in a file, replacing it when the new one is whole.

    Reads the results line by line: memory does not grow with them. Small pictures are embedded, other files are linked
    to by their place relative to the report. Raises JobError where the results cannot be read, OutputError where the
    report cannot be written.
    """
    findings = Findings()
    for result in read_records(results):
        findings.add(result)
    findings.series.settle()
    part = report.with_name(f".{report.name}.{os.getpid()}.part")
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", errors="replace") as page:
            page.writelines(render(findings, report.resolve().parent, title=title, command=command))
        part.replace(report)
    except OSError as error:
        raise OutputError(f"{report} cannot be written: {error.strerror}; name another file for the report") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)

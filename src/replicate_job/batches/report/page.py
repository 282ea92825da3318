"""The page of a report: HTML with its own style. The page has a script only if it has a contact sheet."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path

from replicate_job.batches.report.findings import Findings
from replicate_job.batches.report.gallery import gallery
from replicate_job.batches.report.plot import Plot, plot_latency, plot_throughput
from replicate_job.batches.results.cause import Cause
from replicate_job.batches.results.record import NO_PREDICTION
from replicate_job.batches.results.summary import Summary, count_status
from replicate_job.quantity import count, duration, money, one_line, per, rounded, size

_CLASSES = {"succeeded": "good", "failed": "bad", NO_PREDICTION: "wrong"}
_CAUSE = 300  # the most characters of an error
_LABELS = {"succeeded": "Succeeded", "failed": "Failed", "canceled": "Canceled", NO_PREDICTION: "Errors"}


def render(findings: Findings, folder: Path, *, title: str, command: str, batch: str = "") -> Iterator[str]:
    """Yield the page part by part. ``folder`` is the page's folder.

    The page contains the batch's id, ``batch``, by which a later run recognises the report of this batch.
    """
    summary = findings.summary
    yield _head(title, batch, with_sheet=findings.sheet is not None)
    yield from _header(summary, title, command)
    if not summary.rows:
        yield "<p>No row has a result yet.</p>\n"
    else:
        yield _share(summary)
        yield from _numbers(findings)
    yield from _plots(findings)
    yield from _causes(list(summary.causes))
    if findings.sheet:
        from replicate_job.batches.report.sheet_page import render_sheet  # noqa: PLC0415 - few batches have one

        yield from render_sheet(findings.sheet, folder)
    else:
        yield from gallery(findings.cards.chosen(), folder, summary.statuses["succeeded"])
    made = _day(datetime.now(UTC))
    yield f"</main>\n<footer>Made by replicate-job, {made}. All times are UTC.</footer>\n</body></html>\n"


@cache
def _style() -> str:
    return Path(__file__).with_name("page.css").read_text("utf-8")


def batch_tag(batch: str) -> str:
    """The element that names the page's batch."""
    return f'<meta name="replicate-job-batch" content="{escape(batch)}">'


def title_tag(title: str) -> str:
    return f"<title>{escape(one_line(title, 200))}</title>"


def _head(title: str, batch: str, *, with_sheet: bool = False) -> str:
    # The policy allows only this style, the sheet's script and local files, so that markup that a model wrote cannot
    # load or run anything.
    page_style, scripts = _style(), ""
    if with_sheet:
        from replicate_job.batches.report.sheet_page import script, style  # noqa: PLC0415 - few batches have one

        page_style, scripts = page_style + style(), f" script-src '{_digest(script())}';"
    files = "'self' file: data:"
    policy = (
        f"default-src 'none'; style-src '{_digest(page_style)}';{scripts} img-src {files}; media-src {files}; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">\n'
        f"{batch_tag(batch)}\n{title_tag(title)}\n<style>{page_style}</style></head>\n<body>\n"
    )


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _header(summary: Summary, title: str, command: str) -> Iterator[str]:
    yield f"<header><h1>{escape(title)}</h1>\n"
    yield f'<p class="lead">{count(summary.rows, "row")}{_period(summary)}</p>\n'
    if rows := summary.stand_ins.rows:
        whose = "every row" if rows == summary.rows else f"{rows:,} of the rows"
        words = f"A stand-in, {summary.stand_ins.what}, answered {whose}"
        yield f'<p class="lead"><span class="badge">stand-in</span> {escape(one_line(words, _CAUSE))}.</p>\n'
    if command:
        yield f'<pre class="command" tabindex="0"><code>{escape(command)}</code></pre>\n'
    yield "</header>\n<main>\n"


def _period(summary: Summary) -> str:
    if not summary.first or not summary.last:
        return ""
    start, end = _day(summary.first), _day(summary.last)
    day, _, clock = end.rpartition(", ")
    if start == end:
        return f", {start} UTC"
    return f", {start} to {clock if start.startswith(day) else end} UTC"


def _day(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M}"


def _share(summary: Summary) -> str:
    """A bar whose parts are the shares of the statuses."""
    parts, x = [], 0.0
    for status, number in _ordered(summary):
        width = number / summary.rows * 100
        name = escape(count_status(status, number))
        parts.append(
            f'<rect class="{_CLASSES.get(status, "rest")}" x="{x:.3f}" width="{width:.3f}" height="1">'
            f"<title>{name}</title></rect>"
        )
        x += width
    label = escape(", ".join(count_status(status, number) for status, number in _ordered(summary)))
    return (
        f'<svg class="share" viewBox="0 0 100 1" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>\n"
    )


def _ordered(summary: Summary) -> list[tuple[str, int]]:
    """Each status with its number of rows: the usual statuses first, in a fixed order."""
    usual = list(_LABELS)
    return sorted(summary.statuses.items(), key=lambda item: usual.index(item[0]) if item[0] in _LABELS else len(usual))


def _numbers(findings: Findings) -> Iterator[str]:
    summary, latency = findings.summary, findings.latency
    yield '<dl class="numbers">\n'
    statuses = {"succeeded": 0, "failed": 0, "canceled": 0, NO_PREDICTION: 0} | dict(_ordered(summary))
    for status, number in statuses.items():
        kind = _CLASSES.get(status, "rest") if number else "none"
        share = f"{number / summary.rows:.1%}" if number else ""
        yield _number(_LABELS.get(status, one_line(status, 30)), f"{number:,}", share, kind)
    yield '</dl>\n<dl class="numbers">\n'
    if latency.number:
        yield _number("Median latency", duration(latency.quantile(0.5)), "created to ended")
        yield _number("95th percentile", duration(latency.quantile(0.95)), f"slowest {duration(latency.most)}")
    yield _number("Predict time", duration(summary.predict_time), "in all")
    if summary.priced:
        notes = [] if summary.priced == summary.rows else [f"of {summary.priced:,} rows"]
        notes += [f"without {summary.excludes}"] if summary.excludes else []
        yield _number("Cost", money(summary.cost), ", ".join(["an estimate", *notes]))
    if summary.wall_time is not None:
        pauses = f"without {duration(summary.spans.pauses)} of pauses" if summary.spans.pauses else ""
        note = ", ".join(filter(None, (_pace(summary.rows, summary.wall_time), pauses)))
        yield _number("Wall time", duration(summary.wall_time), note)
    if summary.retried:
        yield _number("Earlier attempts", f"{summary.earlier:,}", f"of {count(summary.retried, 'row')}")
    if summary.reused:
        yield _number("Reused", f"{summary.reused:,}", "rows that paid for nothing")
    if summary.files:
        yield _number("Files", f"{summary.files:,}", size(summary.size) if summary.size else "")
    yield "</dl>\n"


def _pace(rows: int, wall_time: float) -> str:
    if rows == 1 or not wall_time:
        return ""
    unit, name = per(rows / wall_time)
    return f"{rounded(rows / wall_time * unit)} rows {name}"


def _number(name: str, value: str, note: str = "", kind: str = "") -> str:
    below = f'<dd class="note">{escape(note)}</dd>' if note else ""
    return f'<div class="{kind}"><dt>{escape(name)}</dt><dd>{escape(value)}</dd>{below}</div>\n'


def _plots(findings: Findings) -> Iterator[str]:
    """The plots over time; none if all predictions ended at one moment."""
    if len(findings.series.span) < 2:  # noqa: PLR2004 - a plot needs two bins
        return
    latency = plot_latency(findings.series)
    yield '<section class="plots" aria-label="Over time">\n'
    yield from (_figure(plot) for plot in (latency, plot_throughput(findings.series)) if plot)
    yield "</section>\n"


def _figure(plot: Plot) -> str:
    legend = "".join(f'<li class="{name}">{escape(words)}</li>' for name, words in plot.legend)
    return (
        f'<figure><figcaption><h2>{plot.title}</h2><p>{escape(plot.note)}</p><ul class="legend">{legend}</ul>'
        f"</figcaption>\n{plot.svg}</figure>\n"
    )


def _logs(cause: Cause) -> str:
    if not cause.logs:
        return ""
    return f"<details><summary>Logs of line {cause.logged}</summary><pre>{escape(cause.logs)}</pre></details>"


def _causes(causes: list[Cause]) -> Iterator[str]:
    if not causes:
        return
    yield (
        '<section><h2>Errors</h2><div class="scroll" tabindex="0" role="region" aria-label="Errors"><table>\n'
        '<thead><tr><th scope="col">Rows</th><th scope="col">Error</th><th scope="col">Lines</th></tr></thead><tbody>\n'
    )
    for cause in causes:
        lines = ", ".join(map(str, cause.lines)) + (", …" if cause.count > len(cause.lines) else "")
        text = escape(one_line(cause.text, _CAUSE)) + ("" if cause.is_shared else f" ({cause.place})")
        yield f"<tr><td>{cause.count:,}</td><td>{text}{_logs(cause)}</td><td>{lines}</td></tr>\n"
    yield "</tbody></table></div></section>\n"

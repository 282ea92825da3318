"""The contact sheet's section of a page, and its script: the user can choose pictures and save the choices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path

import msgspec

from replicate_job.batches.report.gallery import Pictures, render_output
from replicate_job.batches.report.sheet import Cell, Group, Sheet
from replicate_job.quantity import duration, one_line

_HEADING = 300  # the most characters of a heading
_ERROR = 160
_THUMB = "M7 10v11H3V10zm2 0 4-8a3 3 0 0 1 3 3v4h5a2 2 0 0 1 2 2.3l-1.4 8A2 2 0 0 1 19.6 21H9z"
_CHOICES = {"up": "Good", "down": "Bad"}


@cache
def script() -> str:
    return Path(__file__).with_name("sheet.js").read_text("utf-8")


@cache
def style() -> str:
    return Path(__file__).with_name("sheet.css").read_text("utf-8")


def render_sheet(sheet: Sheet, folder: Path) -> Iterator[str]:
    """Yield the section cell by cell, or nothing if there are no results. ``folder`` is the page's folder."""
    if not sheet.lines:
        return
    pictures, columns = Pictures(folder), sheet.columns
    cut = '<p class="lead">The first rows and combinations; the others are in the results.</p>' if sheet.is_cut else ""
    yield f'<section class="contact"><h2>Contact sheet</h2>{cut}\n{_bar()}'
    if columns:
        heads = "".join(f'<th scope="col">{escape(one_line(column, _ERROR))}</th>' for column in columns)
        yield (
            '<div class="sheet" tabindex="0" role="region" aria-label="Contact sheet"><table>'
            f"<colgroup>{'<col>' * len(columns)}</colgroup>\n<thead><tr>{heads}</tr></thead>\n"
        )
    for group in sheet.groups():
        yield from _row(group, folder, pictures) if columns else _list(group, folder, pictures)
    yield "</table></div></section>\n" if columns else "</section>\n"
    yield f"<script>{script()}</script>\n"


def _bar() -> str:
    return (
        '<div class="bar"><output>Nothing chosen yet</output>'
        '<button type="button" class="save" disabled>Save choices</button>'
        '<p class="note">Arrow keys go from thumb to thumb.</p></div>\n'
    )


def _row(group: Group, folder: Path, pictures: Pictures) -> Iterator[str]:
    heading = escape(one_line(group.heading, _HEADING))
    yield f'<tbody><tr><th scope="rowgroup" colspan="{len(group.cells)}"><span>{heading}</span></th></tr><tr>\n'
    for cell, label in zip(group.cells, group.labels, strict=True):
        yield f"<td>{_cell(cell, label, folder, pictures)}</td>\n"
    yield "</tr></tbody>\n"


def _list(group: Group, folder: Path, pictures: Pictures) -> Iterator[str]:
    if group.heading:
        yield f'<p class="lead">{escape(one_line(group.heading, _HEADING))}</p>\n'
    yield '<ul class="grid">\n'
    for cell, label in zip(group.cells, group.labels, strict=True):
        caption = f'<p class="label">{escape(one_line(label, _ERROR))}</p>'
        yield f"<li>{_cell(cell, label, folder, pictures, caption)}</li>\n"
    yield "</ul>\n"


def _cell(cell: Cell | None, label: str, folder: Path, pictures: Pictures, caption: str = "") -> str:
    if cell is None:
        return f'<article><div class="text missing">no result yet</div>{caption}</article>'
    result = cell.result
    name = escape(one_line(f"line {result.line}, {label}", _ERROR))
    if cell.card is None:
        reason = escape(one_line(f"{result.status}: {cell.error}" if cell.error else result.status, _ERROR))
        return f'<article aria-label="{name}"><div class="text failure">{reason}</div>{caption}{_facts(cell)}</article>'
    about = {
        "line": result.line,
        "key": result.key,
        "model": result.model,
        "grid": result.grid,
        "prediction_id": result.prediction_id,
        "files": [_relative(path, folder) if isinstance(path, Path) else str(path) for path in result.files],
    }
    data = escape(msgspec.json.encode(about).decode(errors="replace"))
    thumbs = "".join(
        f'<button type="button" class="{choice}" aria-pressed="false" aria-label="{words}: {name}">'
        f'<svg viewBox="0 0 24 24" aria-hidden="true"><path d="{_THUMB}"/></svg></button>'
        for choice, words in _CHOICES.items()
    )
    below = f'<div class="below">{_facts(cell)}<span class="thumbs">{thumbs}</span></div>'
    output = render_output(cell.card, folder, pictures)
    return f'<article aria-label="{name}" data-cell="{data}">{output}{caption}{below}</article>'


def _facts(cell: Cell) -> str:
    """The line of details below a picture."""
    facts = [duration(cell.latency)] if cell.latency is not None else []
    return f'<p class="note">{escape(" · ".join(facts))}</p>'


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # the file is on another drive of Windows
        return str(path)

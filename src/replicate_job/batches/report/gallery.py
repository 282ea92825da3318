"""The grid of results in a report. Small pictures are embedded in the page, other files are linked to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import quote

from replicate_job.batches.report.card import Card
from replicate_job.job import Kept
from replicate_job.quantity import count, duration, one_line
from replicate_job.wire import data_url
from replicate_job.wire.media import media_type

LARGEST = 300_000
"""Bytes of the largest picture that is embedded."""
TOTAL = 12_000_000
"""The most characters of all embedded pictures."""
_ALT = 120  # the most characters of the prompt in a picture's ``alt`` text
_MORE = 8  # the most files of a result besides the first
_CALLS = 24  # the most steps of a chain that are shown


def gallery(cards: list[Card], folder: Path, succeeded: int) -> Iterator[str]:
    """Yield a section card by card, or nothing if there are no cards. ``folder`` is the page's folder."""
    if not cards:
        return
    pictures = Pictures(folder)
    share = f"{len(cards)} of {succeeded:,}, from the whole batch" if len(cards) < succeeded else "all that succeeded"
    yield f'<section><h2>Results</h2><p class="lead">{share}</p>\n<ul class="grid">\n'
    for card in cards:
        content = f"{_steps(card, folder, pictures) or render_output(card, folder, pictures)}\n{_caption(card)}"
        kind = ' class="chain"' if card.steps else ""
        yield f'<li{kind}><article aria-label="Line {card.line}">{content}</article></li>\n'
    yield "</ul></section>\n"


def _steps(card: Card, folder: Path, pictures: Pictures) -> str:
    """The steps of a chain side by side."""
    if not card.steps:
        return ""
    shown = card.steps[:_CALLS]
    items = "".join(
        f'<li>{render_output(step, folder, pictures)}<p class="note">{escape(name)}</p></li>' for name, step in shown
    )
    beyond = len(card.steps) - len(shown)
    more = f'<p class="more">and {count(beyond, "more prediction")}</p>' if beyond else ""
    return f'<ol class="steps">{items}</ol>{more}'


def render_output(card: Card, folder: Path, pictures: Pictures) -> str:
    if card.files:
        first, *rest = card.files
        return _file(first, card, folder, pictures) + _more(rest, folder)
    if card.urls:
        links = [
            f'<a href="{escape(url)}" rel="noopener noreferrer">{escape(one_line(url, 80))}</a>' for url in card.urls
        ]
        note = '<p class="note">not saved; the address lives for an hour</p>'
        return f'<div class="text"><div>{"<br>".join(links[:_MORE])}{note}</div></div>'
    return f'<div class="text"><div>{escape(card.text)}</div></div>'


def _file(path: Kept, card: Card, folder: Path, pictures: Pictures) -> str:
    """The HTML of a file: a picture as a link, a player above a link, or a link. For an object in a store, its URL."""
    if not isinstance(path, Path):
        return f'<div class="text file">{escape(path)}</div>'
    kind, name = media_type(path.name).partition("/")[0], escape(path.name)
    if not path.exists():
        return f'<div class="text missing">{name} is no longer there</div>'
    if kind == "image":
        alt = escape(one_line(card.prompt, _ALT) or f"Output of line {card.line}")
        picture = f'<img src="{escape(pictures.source(path))}" alt="{alt}" loading="lazy" decoding="async">'
        return _link(path, folder, picture, "media")
    source = escape(address(path, folder))
    if kind in {"audio", "video"}:
        player = f'<{kind} controls preload="metadata" src="{source}" aria-label="{name}"></{kind}>'
        return f'<div class="media {kind}">{player}</div>{_link(path, folder, name, "file")}'
    return _link(path, folder, name, "text file")


def _link(path: Path, folder: Path, content: str, kind: str) -> str:
    if not may_open(path):
        return f'<div class="{kind}">{content}</div>'
    return f'<a class="{kind}" href="{escape(address(path, folder))}">{content}</a>'


def _more(rest: list[Kept], folder: Path) -> str:
    if not rest:
        return ""
    names = " ".join(
        _link(path, folder, escape(path.name), "file") if isinstance(path, Path) else escape(path)
        for path in rest[:_MORE]
    )
    beyond = f" and {count(len(rest) - _MORE, 'more file')}" if len(rest) > _MORE else ""
    return f'<div class="more">{names}{beyond}</div>'


def _caption(card: Card) -> str:
    latency = f" · {duration(card.latency)}" if card.latency is not None else ""
    prompt = f'<p class="prompt">{escape(card.prompt)}</p>' if card.prompt else ""
    left_out = card.stand_in.partition("; ")[2]
    badge = f'<p class="note"><span class="badge">stand-in</span> {escape(left_out)}</p>' if card.stand_in else ""
    return f'{prompt}{badge}<p class="note">line {card.line:,}{latency}</p>'


class Pictures:
    """Makes the sources of ``<img>`` elements, and counts the embedded characters."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._room = folder, TOTAL

    def source(self, path: Path) -> str:
        """A data URL if the picture is small and there is room, else the picture's address."""
        try:
            if path.stat().st_size <= LARGEST:
                url = data_url.encode(media_type(path.name), path.read_bytes())
                if len(url) <= self._room:
                    self._room -= len(url)
                    return url
        except OSError:
            pass  # this process cannot read it, but the browser may be able to
        return address(path, self._folder)


def address(path: Path, folder: Path) -> str:
    """The file's path relative to the page's folder, so that the page and the file can be moved together.

    The path begins with ``./``, so that a browser does not read it as a URL.
    """
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:  # the file is on another drive of Windows
        return path.absolute().as_uri()
    return "./" + quote(os.fsencode(Path(relative).as_posix()))


def may_open(path: Path) -> bool:
    """Whether a link to the file is safe. Scripts in HTML or SVG that a model wrote could read the user's files."""
    kind = media_type(path.name)
    return "html" not in kind and "xml" not in kind

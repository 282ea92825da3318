"""The results that a report shows, as a grid."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from replicate_job.batches.report.card import Card
from replicate_job.batches.report.picture import Pictures, address, may_open
from replicate_job.quantity import count, duration, one_line
from replicate_job.wire.media import media_type

_ALT = 120  # characters of a prompt that stand for its picture
_MORE = 8  # further files of a result that are named


def gallery(cards: list[Card], folder: Path, succeeded: int) -> Iterator[str]:
    """A section in pieces, one a card; nothing where there are none. ``folder`` is the page's."""
    if not cards:
        return
    pictures = Pictures(folder)
    which = f"{len(cards)} of {succeeded:,}, from the whole batch" if len(cards) < succeeded else "all that succeeded"
    yield f'<section><h2>Results</h2><p class="lead">{which}</p>\n<ul class="grid">\n'
    for card in cards:
        content = f"{_shown(card, folder, pictures)}\n{_told(card)}"
        yield f'<li><article aria-label="Line {card.line}">{content}</article></li>\n'
    yield "</ul></section>\n"


def _shown(card: Card, folder: Path, pictures: Pictures) -> str:
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


def _file(path: Path, card: Card, folder: Path, pictures: Pictures) -> str:
    """The file itself, in a link to it or above one."""
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


def _more(rest: list[Path], folder: Path) -> str:
    if not rest:
        return ""
    names = " ".join(_link(path, folder, escape(path.name), "file") for path in rest[:_MORE])
    beyond = f" and {count(len(rest) - _MORE, 'more file')}" if len(rest) > _MORE else ""
    return f'<div class="more">{names}{beyond}</div>'


def _told(card: Card) -> str:
    latency = f" · {duration(card.latency)}" if card.latency is not None else ""
    prompt = f'<p class="prompt">{escape(card.prompt)}</p>' if card.prompt else ""
    return f'{prompt}<p class="note">line {card.line:,}{latency}</p>'

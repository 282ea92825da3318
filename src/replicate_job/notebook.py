"""How a Result looks in a notebook."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from replicate_job.outputs.discover import as_text, find_files
from replicate_job.wire import data_url
from replicate_job.wire.media import media_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_job.job import Result

INLINE = 10 * 1000**2
"""Bytes of files that one Result may put into a notebook; what is beyond is named instead."""

_TEXT = 100_000  # characters of text output shown
_PLAIN = 200  # characters of the one line
_PLAYED = {
    "image": '<img src="{}" alt="{}" style="max-width:100%">',
    "audio": '<audio controls src="{}" title="{}"></audio>',
    "video": '<video controls src="{}" title="{}" style="max-width:100%"></video>',
}


def mimebundle(result: Result) -> dict[str, str]:
    """``text/html`` with the images, sounds, videos and text of a Result, and ``text/plain``, one line.

    Saved files are embedded, ``INLINE`` bytes in all; where nothing was saved, the output's own URLs are shown, as long
    as they live. Everything that came from a model is escaped. A file that is gone is only named.
    """
    # A local run's files lie at the API's own origin.
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(result.urls.get("get", "")))
    words = as_text(result.output, origin=origin)
    plain = _line(result, words)
    shown = list(_saved(result.files) if result.files else _remote(result.output, origin))
    parts = []
    if result.status != "succeeded" or not (words or shown):
        parts.append(f"<div>{escape(plain)}</div>")
    if words:
        cut = words if len(words) <= _TEXT else words[:_TEXT] + "…"
        parts.append(f'<div style="white-space:pre-wrap">{escape(cut)}</div>')
    parts += [f"<div>{part}</div>" for part in shown]
    return {"text/plain": plain, "text/html": "\n".join(parts)}


def _line(result: Result, words: str | None) -> str:
    line = f"prediction {result.prediction_id} {result.status}"
    if result.error:
        line += f": {result.error}"
    elif result.files:
        line += f": {', '.join(map(str, result.files))}"
    elif words:
        line += f": {words}"
    line = " ".join(line.split())
    return line if len(line) <= _PLAIN else line[: _PLAIN - 1] + "…"


def _saved(files: tuple[Path, ...]) -> Iterator[str]:
    left = INLINE
    for path in map(Path, files):
        kind = media_type(path.name)
        try:
            size = path.stat().st_size
            content = path.read_bytes() if size <= left and _player(kind) else None
        except OSError:
            yield f"{escape(str(path))} (no longer there)"
            continue
        if content is None:
            yield f"{escape(str(path))} ({size:,} bytes)"
        else:
            left -= size
            yield _show(kind, data_url.encode(kind, content), path.name)


def _remote(output: Any, origin: str) -> Iterator[str]:
    left = INLINE
    for file in find_files(output, origin=origin):
        if file.url[:5].lower() != "data:":
            yield _show(media_type(urlsplit(file.url).path), file.url, file.url)
            continue
        try:
            kind, content = data_url.decode(file.url)
        except ValueError:
            continue
        if len(content) > left:
            yield f"{escape(kind)} ({len(content):,} bytes)"
        else:
            left -= len(content)
            yield _show(kind, data_url.encode(kind, content), kind)


def _player(kind: str) -> str | None:
    return _PLAYED.get(kind.partition("/")[0])


def _show(kind: str, url: str, name: str) -> str:
    """A player where the browser has one for this type, else a link (to the web only), else the name."""
    player = _player(kind)
    if player:
        return player.format(escape(url), escape(name))
    return escape(name) if url.startswith("data:") else f'<a href="{escape(url)}">{escape(name)}</a>'

"""Displays a Result in a notebook."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from replicate_job.outputs.discover import as_text, find_files
from replicate_job.wire import data_url
from replicate_job.wire.media import media_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

INLINE = 10 * 1000**2
"""How many bytes of files one Result may embed in a notebook. Further files are only named."""

_TEXT = 100_000  # The most characters of text output that are shown.
_PLAIN = 200  # The most characters of the plain-text line.
_PLAYED = {
    "image": '<img src="{}" alt="{}" style="max-width:100%">',
    "audio": '<audio controls src="{}" title="{}"></audio>',
    "video": '<video controls src="{}" title="{}" style="max-width:100%"></video>',
}


def mimebundle(  # noqa: PLR0913 - the parts of a Result
    title: str, output: Any, files: Sequence[Path | Any], *, error: Any, has_succeeded: bool, api: str
) -> dict[str, str]:
    """Maps ``text/html`` to the images, sounds, videos and text of an output, and ``text/plain`` to a line.

    The line begins with ``title``. The saved ``files`` are embedded, up to ``INLINE`` bytes in all. A missing file or
    an object in a store is only named. Without saved files the URLs of the output are shown. Everything that came from
    a model is escaped. ``api`` is a URL of the API: a local run has its files at the same origin.
    """
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(api))
    words = as_text(output, origin=origin)
    plain = _line(title, error or ", ".join(map(str, files)) or words)
    shown = list(_saved(files) if files else _remote(output, origin))
    parts = []
    if not has_succeeded or not (words or shown):
        parts.append(f"<div>{escape(plain)}</div>")
    if words:
        cut = words if len(words) <= _TEXT else words[:_TEXT] + "…"
        parts.append(f'<div style="white-space:pre-wrap">{escape(cut)}</div>')
    parts += [f"<div>{part}</div>" for part in shown]
    return {"text/plain": plain, "text/html": "\n".join(parts)}


def _line(title: str, detail: Any) -> str:
    line = " ".join((f"{title}: {detail}" if detail else title).split())
    return line if len(line) <= _PLAIN else line[: _PLAIN - 1] + "…"


def _saved(files: Sequence[Path | Any]) -> Iterator[str]:
    room = INLINE
    for path in files:
        if not isinstance(path, Path):  # an object in a store
            yield escape(path)
            continue
        kind = media_type(path.name)
        try:
            size = path.stat().st_size
            content = path.read_bytes() if size <= room and _player(kind) else None
        except OSError:
            yield f"{escape(str(path))} (no longer there)"
            continue
        if content is None:
            yield f"{escape(str(path))} ({size:,} bytes)"
        else:
            room -= size
            yield _show(kind, data_url.encode(kind, content), path.name)


def _remote(output: Any, origin: str) -> Iterator[str]:
    room = INLINE
    for file in find_files(output, origin=origin):
        if file.url[:5].lower() != "data:":
            yield _show(media_type(urlsplit(file.url).path), file.url, file.url)
            continue
        try:
            kind, content = data_url.decode(file.url)
        except ValueError:
            continue
        if len(content) > room:
            yield f"{escape(kind)} ({len(content):,} bytes)"
        else:
            room -= len(content)
            yield _show(kind, data_url.encode(kind, content), kind)


def _player(kind: str) -> str | None:
    return _PLAYED.get(kind.partition("/")[0])


def _show(kind: str, url: str, name: str) -> str:
    """A player if the browser has one for this type, else a link (to the web only), else the name."""
    player = _player(kind)
    if player:
        return player.format(escape(url), escape(name))
    return escape(name) if url.startswith("data:") else f'<a href="{escape(url)}">{escape(name)}</a>'

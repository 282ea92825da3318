"""Pages of lists: cursors, and the links from a page to the next and the previous one."""

from __future__ import annotations

import asyncio
import base64
import re
from bisect import bisect_left
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlencode

import msgspec

from replicate_job.serving.answer import Answer, RefusedError, problem
from replicate_job.serving.resource import page_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

PAGE = 100
"""Items on a page, as in the API."""
BAD_CURSOR = problem(400, "Invalid cursor", "Bad request")
_OLDER, _NEWER = "o", "n"
_CURSOR = re.compile(r"([on])(\d{1,18})", re.ASCII)  # SQLite can hold numbers of 18 digits
_LARGE = 2**20  # bytes of a page that is joined in a thread

Item = TypeVar("Item")


class ListPage(msgspec.Struct, Generic[Item], frozen=True):
    """Items, newest first. ``next`` (older items) and ``previous`` are cursors; None if there are no more items."""

    items: list[Item]
    next: str | None
    previous: str | None


def read_page(
    items: Sequence[Item],
    place: Callable[[Item], int],
    cursor: str | None,
    is_shown: Callable[[Item], bool] = lambda _: True,
) -> ListPage[Item]:
    """One page of those ``items`` that are shown. ``items`` are in order, the oldest first.

    A cursor is a direction and a number. ``place`` returns the number of an item, and numbers rise along the list. So
    pages stay right when items are added or removed between two requests. Raises RefusedError for a malformed cursor.
    """
    direction, at = (_OLDER, None) if cursor is None else _read_cursor(cursor)
    index = len(items) if at is None else bisect_left(items, at, key=place)
    # Both iterators are lazy. After a page's items, one more is read: if it exists, the page links to another page.
    older = (item for number in range(index - 1, -1, -1) if is_shown(item := items[number]))
    newer = (item for number in range(index, len(items)) if is_shown(item := items[number]))
    shown = list(islice(older, PAGE)) if direction == _OLDER else list(islice(newer, PAGE))[::-1]
    start, end = (place(shown[-1]), place(shown[0]) + 1) if shown else (at, at)
    return ListPage(
        shown,
        next=None if next(older, None) is None else _cursor(_OLDER, start),
        previous=None if next(newer, None) is None else _cursor(_NEWER, end),
    )


async def page_answer(bodies: Iterable[bytes], page: ListPage[Any], url: str, **query: str) -> Answer:
    """The response with a page. ``bodies`` are the items as JSON. The links are ``url`` with ``query`` and a cursor."""

    def link(cursor: str | None) -> str | None:
        return cursor and f"{url}?{urlencode({**query, 'cursor': cursor})}"

    empty = msgspec.json.encode(page_body([], next=link(page.next), previous=link(page.previous)))
    pieces = [empty.removesuffix(b"]}")]
    for body in bodies:
        pieces += (body, b",")
    pieces[max(len(pieces) - 1, 1) :] = [b"]}"]
    is_large = sum(map(len, pieces)) > _LARGE  # ``join`` releases the GIL, so the event loop is not blocked
    return Answer(200, await asyncio.to_thread(b"".join, pieces) if is_large else b"".join(pieces))


def _cursor(direction: str, place: int | None) -> str:
    return base64.urlsafe_b64encode(f"{direction}{place}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[str, int]:
    with suppress(ValueError):
        text = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode()
        if match := _CURSOR.fullmatch(text):
            return match[1], int(match[2])
    raise RefusedError(BAD_CURSOR)

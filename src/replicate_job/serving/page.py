"""Lists in pages: which part of a list a cursor means, and how a page leads to its neighbours."""

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
"""Items on a page, as the API has it."""
BAD_CURSOR = problem(400, "Invalid cursor", "Bad request")
_OLDER, _NEWER = "o", "n"
_CURSOR = re.compile(r"([on])(\d{1,18})", re.ASCII)  # a number that SQLite can hold
_LARGE = 2**20  # bytes

Item = TypeVar("Item")


class ListPage(msgspec.Struct, Generic[Item], frozen=True):
    """Items, newest first. ``next`` (older ones) and ``previous`` are cursors, None where there is nothing more."""

    items: list[Item]
    next: str | None
    previous: str | None


def read_page(
    items: Sequence[Item],
    place: Callable[[Item], int],
    cursor: str | None,
    is_shown: Callable[[Item], bool] = lambda _: True,
) -> ListPage[Item]:
    """One page of ``items``, which are the oldest first; a cursor means a ``place``, which rises along them.

    Items may come and go between two pages. Raises RefusedError for a cursor that is none.
    """
    direction, at = (_OLDER, None) if cursor is None else _read_cursor(cursor)
    index = len(items) if at is None else bisect_left(items, at, key=place)
    older = (item for number in range(index - 1, -1, -1) if is_shown(item := items[number]))
    newer = (item for number in range(index, len(items)) if is_shown(item := items[number]))
    found = list(islice(older, PAGE)) if direction == _OLDER else list(islice(newer, PAGE))[::-1]
    start, end = (place(found[-1]), place(found[0]) + 1) if found else (at, at)
    return ListPage(
        found,
        next=None if next(older, None) is None else _cursor(_OLDER, start),
        previous=None if next(newer, None) is None else _cursor(_NEWER, end),
    )


async def page_answer(bodies: Iterable[bytes], page: ListPage[Any], url: str, **query: str) -> Answer:
    """The items as JSON texts, in a page at ``url`` whose neighbours are asked for with the same ``query``."""

    def link(cursor: str | None) -> str | None:
        return cursor and f"{url}?{urlencode({**query, 'cursor': cursor})}"

    empty = msgspec.json.encode(page_body([], next=link(page.next), previous=link(page.previous)))
    pieces = [empty.removesuffix(b"]}")]
    for body in bodies:
        pieces += (body, b",")
    pieces[max(len(pieces) - 1, 1) :] = [b"]}"]
    large = sum(map(len, pieces)) > _LARGE  # then ``join`` lets other threads go on
    return Answer(200, await asyncio.to_thread(b"".join, pieces) if large else b"".join(pieces))


def _cursor(direction: str, place: int | None) -> str:
    return base64.urlsafe_b64encode(f"{direction}{place}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[str, int]:
    with suppress(ValueError):
        text = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode()
        if found := _CURSOR.fullmatch(text):
            return found[1], int(found[2])
    raise RefusedError(BAD_CURSOR)

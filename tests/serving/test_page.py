"""Pages of a list, compared with the whole list."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.serving.answer import RefusedError
from replicate_job.serving.page import PAGE, ListPage, page_answer, read_page

ITEMS = st.sets(st.integers(0, 400), max_size=330).map(sorted)


@given(ITEMS, st.sets(st.integers(0, 400)))
def test_pages_hold_every_shown_item_once_and_link_back_to_the_first(items: list[int], hidden: set[int]) -> None:
    def read(cursor: str | None) -> ListPage[int]:
        return read_page(items, int, cursor, lambda item: item not in hidden)

    pages = [read(None)]
    while pages[-1].next:
        pages.append(read(pages[-1].next))
    assert [item for page in pages for item in page.items] == [item for item in items[::-1] if item not in hidden]
    assert all(len(page.items) == PAGE for page in pages[:-1])
    back = [pages[-1]]
    while back[-1].previous:
        back.append(read(back[-1].previous))
    assert back == pages[::-1]


@given(ITEMS, st.sets(st.integers(0, 400)))
def test_the_next_page_continues_below_the_last_item_although_items_change(items: list[int], gone: set[int]) -> None:
    first = read_page(items, int, None)
    left = [item for item in items if item not in gone] + [500]
    if first.next:
        lowest = first.items[-1]
        assert read_page(left, int, first.next).items == [item for item in left[::-1] if item < lowest][:PAGE]


def test_an_empty_list_has_no_links_and_a_page_after_the_end_links_back() -> None:
    assert read_page([], int, None) == ListPage([], None, None)
    below_two = read_page(range(1, 102), int, None).next
    beyond = read_page(range(50, 60), int, below_two)
    assert (beyond.items, beyond.next) == ([], None)
    assert read_page(range(50, 60), int, beyond.previous) == ListPage(list(range(59, 49, -1)), None, None)


@pytest.mark.parametrize(
    "cursor", ["", "x", "!!!!", "é", "bzk5OTk5OTk5OTk5OTk5OTk5OTk5", "bzEuMA", "bzE\u00b2", "a" * 5000]
)
def test_a_malformed_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(RefusedError, match="Invalid cursor"):
        read_page([1], int, cursor)


@given(st.text(max_size=20))
def test_any_text_as_a_cursor_is_read_or_refused(cursor: str) -> None:
    try:
        page = read_page([1, 2, 3], int, cursor)
    except RefusedError:
        return
    assert set(page.items) <= {1, 2, 3}


@pytest.mark.parametrize("size", [0, 1, 10, 2**21])
async def test_the_links_of_a_page_keep_the_query(size: int) -> None:
    bodies = [msgspec.json.encode("a" * size)] * (3 if size else 0)
    answer = await page_answer(
        bodies, ListPage([1, 2, 3], "older", None), "http://here/list", created_after="2026-01-01"
    )
    said = msgspec.json.decode(answer.body)
    assert said["results"] == ["a" * size] * len(bodies)
    assert said["previous"] is None
    assert parse_qs(urlsplit(said["next"]).query) == {"created_after": ["2026-01-01"], "cursor": ["older"]}

"""What an answer means for a transfer that has begun."""

from __future__ import annotations

import pytest

from replicate_job.outputs.resume import Known, judge, request_headers

WHOLE = Known('"v1"', 10, "image/png")


def test_the_first_request_asks_for_plain_bytes_of_the_whole() -> None:
    assert request_headers(0, WHOLE) == {"accept-encoding": "identity"}


def test_the_rest_is_asked_for_only_if_it_is_of_the_same_file() -> None:
    assert request_headers(4, WHOLE) == {"accept-encoding": "identity", "range": "bytes=4-", "if-range": '"v1"'}
    assert request_headers(4, Known(None, 10)) == {"accept-encoding": "identity"}


def test_a_weak_etag_names_no_bytes_and_a_date_stands_in() -> None:
    headers = {"etag": 'W/"v1"', "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT"}

    assert judge(200, headers, 0, Known()).known.validator == "Mon, 01 Jan 2024 00:00:00 GMT"
    assert judge(200, {"etag": 'W/"v1"'}, 0, Known()).known.validator is None


def test_a_whole_answer_starts_over_and_replaces_what_was_known() -> None:
    headers = {"etag": '"v2"', "content-length": "7", "content-type": "image/webp"}
    verdict = judge(200, headers, 4, WHOLE)

    assert (verdict.action, verdict.known) == ("restart", Known('"v2"', 7, "image/webp"))


def test_the_part_that_was_asked_for_is_appended() -> None:
    verdict = judge(206, {"content-range": "bytes 4-9/10"}, 4, Known('"v1"', None, "image/png"))

    assert (verdict.action, verdict.known) == ("append", WHOLE)
    assert judge(206, {"content-range": "bytes 4-9/*"}, 4, WHOLE).known == WHOLE


@pytest.mark.parametrize(
    ("content_range", "have"),
    [("bytes 3-9/10", 4), ("bytes 4-9/11", 4), ("", 4), ("items 4-9/10", 4), ("bytes */10", 4), ("bytes 0-9/10", 0)],
)
def test_any_other_part_starts_over(content_range: str, have: int) -> None:
    verdict = judge(206, {"content-range": content_range}, have, WHOLE)

    assert (verdict.action, verdict.anew, verdict.known) == ("again", True, Known())


def test_a_range_beyond_the_end_means_done_only_at_the_end() -> None:
    assert judge(416, {"content-range": "bytes */10"}, 10, WHOLE).action == "done"
    assert judge(416, {"content-range": "bytes */8"}, 10, WHOLE).anew
    assert judge(416, {}, 10, WHOLE).anew
    assert judge(416, {"content-range": "bytes */0"}, 0, Known()).action == "again"


@pytest.mark.parametrize(
    ("status", "action"),
    [(404, "expired"), (410, "expired"), (403, "refused"), (401, "refused"), (204, "refused"), (304, "refused")]
    + [(status, "again") for status in (408, 425, 429, 500, 502, 503, 504)],
)
def test_a_status_means_gone_or_no_or_later(status: int, action: str) -> None:
    assert judge(status, {}, 0, Known()).action == action


def test_a_server_that_is_busy_says_when() -> None:
    assert judge(429, {"retry-after": "3"}, 0, WHOLE).after == 3.0
    assert judge(503, {"retry-after": "Mon, 01 Jan 2024 00:00:00 GMT"}, 0, WHOLE).after is None
    assert judge(503, {}, 4, WHOLE).known == WHOLE


def test_compressed_bytes_are_refused() -> None:
    assert judge(200, {"content-encoding": "gzip"}, 0, Known()).action == "refused"
    assert judge(200, {"content-encoding": "identity"}, 0, Known()).action == "restart"

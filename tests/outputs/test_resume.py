"""The meaning of a response for a download that has been interrupted."""

from __future__ import annotations

import pytest

from replicate_job.outputs.resume import Known, judge, request_headers

WHOLE = Known('"v1"', 10, "image/png")


def test_the_first_request_asks_for_the_whole_file_uncompressed() -> None:
    assert request_headers(0, WHOLE) == {"accept-encoding": "identity"}


def test_the_rest_of_a_file_is_requested_with_if_range() -> None:
    assert request_headers(4, WHOLE) == {"accept-encoding": "identity", "range": "bytes=4-", "if-range": '"v1"'}
    assert request_headers(4, Known(None, 10)) == {"accept-encoding": "identity"}


def test_a_last_modified_header_is_used_in_place_of_a_weak_etag() -> None:
    headers = {"etag": 'W/"v1"', "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT"}

    assert judge(200, headers, 0, Known()).known.validator == "Mon, 01 Jan 2024 00:00:00 GMT"
    assert judge(200, {"etag": 'W/"v1"'}, 0, Known()).known.validator is None


def test_after_a_complete_response_the_download_starts_over() -> None:
    headers = {"etag": '"v2"', "content-length": "7", "content-type": "image/webp"}
    verdict = judge(200, headers, 4, WHOLE)

    assert (verdict.action, verdict.known) == ("restart", Known('"v2"', 7, "image/webp"))


def test_a_response_with_the_requested_range_is_appended() -> None:
    verdict = judge(206, {"content-range": "bytes 4-9/10"}, 4, Known('"v1"', None, "image/png"))

    assert (verdict.action, verdict.known) == ("append", WHOLE)
    assert judge(206, {"content-range": "bytes 4-9/*"}, 4, WHOLE).known == WHOLE


@pytest.mark.parametrize(
    ("content_range", "have"),
    [("bytes 3-9/10", 4), ("bytes 4-9/11", 4), ("", 4), ("items 4-9/10", 4), ("bytes */10", 4), ("bytes 0-9/10", 0)],
)
def test_after_a_response_with_another_range_the_download_starts_over(content_range: str, have: int) -> None:
    verdict = judge(206, {"content-range": content_range}, have, WHOLE)

    assert (verdict.action, verdict.anew, verdict.known) == ("again", True, Known())


def test_a_416_means_that_a_download_is_complete_only_at_the_end_of_the_file() -> None:
    assert judge(416, {"content-range": "bytes */10"}, 10, WHOLE).action == "done"
    assert judge(416, {"content-range": "bytes */8"}, 10, WHOLE).anew
    assert judge(416, {}, 10, WHOLE).anew
    assert judge(416, {"content-range": "bytes */0"}, 0, Known()).action == "again"


@pytest.mark.parametrize(
    ("status", "action"),
    [(404, "expired"), (410, "expired"), (403, "refused"), (401, "refused"), (204, "refused"), (304, "refused")]
    + [(status, "again") for status in (408, 425, 429, 500, 502, 503, 504)],
)
def test_each_status_means_that_the_file_expired_or_is_refused_or_is_requested_again(status: int, action: str) -> None:
    assert judge(status, {}, 0, Known()).action == action


def test_the_seconds_of_a_retry_after_header_are_used() -> None:
    assert judge(429, {"retry-after": "3"}, 0, WHOLE).after == 3.0
    assert judge(503, {"retry-after": "Mon, 01 Jan 2024 00:00:00 GMT"}, 0, WHOLE).after is None
    assert judge(503, {}, 4, WHOLE).known == WHOLE


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "br", "zstd", "GZIP"])
def test_a_compressed_response_cannot_be_continued_with_a_range(coding: str) -> None:
    headers = {"content-encoding": coding, "content-length": "9", "etag": '"v1"', "content-type": "image/png"}
    verdict = judge(200, headers, 4, WHOLE)

    assert (verdict.action, verdict.known, verdict.end) == ("restart", Known(media_type="image/png"), None)
    assert request_headers(4, verdict.known) == {"accept-encoding": "identity"}


def test_an_unknown_encoding_is_refused() -> None:
    assert judge(200, {"content-encoding": "compress"}, 0, Known()).action == "refused"
    assert judge(200, {"content-encoding": "gzip, gzip"}, 0, Known()).action == "refused"
    assert judge(200, {"content-encoding": "identity"}, 0, Known()).action == "restart"


@pytest.mark.parametrize(
    "headers",
    [
        {"etag": '"v2"'},
        {"etag": 'W/"v1"'},
        {"last-modified": "Tue, 02 Jan 2024 00:00:00 GMT"},
        {"content-encoding": "gzip"},
        {"content-range": "bytes 4-9/11"},
        {"content-range": "bytes 4-3/10"},
        {"content-range": "bytes 4-10/10"},
    ],
)
def test_after_a_range_of_another_file_the_download_starts_over(headers: dict[str, str]) -> None:
    known = Known('"v1"', 10, "image/png", "Mon, 01 Jan 2024 00:00:00 GMT")
    same = {"content-range": "bytes 4-9/10"}

    assert judge(206, same, 4, known).action == "append"
    assert judge(206, same | {"etag": '"v1"'}, 4, known).action == "append"
    verdict = judge(206, same | headers, 4, known)
    assert (verdict.action, verdict.anew, verdict.known) == ("again", True, Known())
    if "content-range" not in headers:
        assert judge(416, {"content-range": "bytes */4"} | headers, 4, known).action == "again"


def test_a_416_of_another_file_is_not_the_end() -> None:
    assert judge(416, {"content-range": "bytes */4"}, 4, Known('"v1"', 10)).anew
    assert judge(416, {"content-range": "bytes */4"}, 4, Known('"v1"')).action == "done"


def test_after_a_range_that_was_not_requested_the_download_starts_over() -> None:
    """Without a validator no range was requested, so a partial response is not used."""
    assert judge(206, {"content-range": "bytes 4-9/10"}, 4, Known(None, 10)).anew
    assert judge(416, {"content-range": "bytes */4"}, 4, Known(None, 4)).anew


def test_a_last_modified_header_within_the_same_second_is_not_a_validator() -> None:
    modified = {"last-modified": "Mon, 01 Jan 2024 00:00:00 GMT"}

    assert judge(200, modified | {"date": "Mon, 01 Jan 2024 00:00:00 GMT"}, 0, Known()).known.validator is None
    assert judge(200, modified | {"date": "Mon, 01 Jan 2024 00:00:01 GMT"}, 0, Known()).known.validator
    assert judge(200, modified | {"date": "no date"}, 0, Known()).known.validator is None
    assert judge(200, modified | {"date": f"Mon, 01 Jan {9**20} 00:00:00 GMT"}, 0, Known()).known.validator is None


def test_the_length_of_a_file_stays_known_if_a_later_response_omits_it() -> None:
    assert judge(200, {"etag": '"v1"'}, 4, WHOLE).known.total == 10
    assert judge(200, {"etag": '"v2"'}, 4, WHOLE).known.total is None

"""Fingerprints tell whether two jobs are the same. Without the journal's key nobody can test an input against them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from replicate_job.job import Job
from replicate_job.journal.entry import CreateRequest
from replicate_job.journal.fingerprints import print_job, print_request
from replicate_job.wire.target import Target

KEY = b"key"


def request(
    given: dict[str, Any], *, path: str = "/models/a/b/predictions", secrets: tuple[str, ...] = ()
) -> CreateRequest:
    return CreateRequest(Target("model", "a", "b"), path, msgspec.json.encode({"input": given}), secrets=secrets)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ({"n": 1, "m": 2}, {"m": 2, "n": 1.0}, True),
        ({"n": [1.0, {"x": 2}]}, {"n": [1, {"x": 2.0}]}, True),
        ({"n": 1}, {"n": 2}, False),
        ({"n": 1}, {"n": True}, False),
        ({"n": 1}, {"n": "1"}, False),
        ({"text": "1.0"}, {"text": "1"}, False),
    ],
)
def test_equal_jobs_and_requests_have_equal_fingerprints(
    one: dict[str, Any], other: dict[str, Any], *, is_same: bool
) -> None:
    assert (print_job(KEY, Job("a/b", one)) == print_job(KEY, Job("a/b", other))) is is_same
    assert (print_request(KEY, request(one)) == print_request(KEY, request(other))) is is_same


def test_another_fingerprint_key_gives_another_fingerprint() -> None:
    assert print_job(KEY, Job("a/b")) != print_job(b"other", Job("a/b"))
    assert print_request(KEY, request({})) != print_request(b"other", request({}))


def test_a_request_for_another_target_has_another_fingerprint() -> None:
    assert print_request(KEY, request({})) != print_request(KEY, request({}, path="/deployments/a/b/predictions"))
    assert print_request(KEY, request({})) == print_request(KEY, request({}, path="/models/A/B/predictions"))


def test_requests_that_differ_only_in_secrets_have_equal_fingerprints_of_their_listed_part() -> None:
    one, other = (request({"n": 1, "key": key}, secrets=("key",)) for key in ("hush", "husher"))
    (whole, shown), (other_whole, other_shown) = print_request(KEY, one), print_request(KEY, other)
    assert shown == other_shown
    assert whole != other_whole


def test_data_urls_are_compared_by_their_content() -> None:
    text, base64, other = (request({"file": url}) for url in ("data:,hi", "data:;base64,aGk=", "data:,ho"))
    assert print_request(KEY, text)[1] == print_request(KEY, base64)[1] != print_request(KEY, other)[1]

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.errors import JobError
from replicate_job.inputs.content import Content
from replicate_job.job import Job
from replicate_job.journal.entry import CreateRequest, decode_job, encode_job, fingerprint
from replicate_job.journal.fingerprints import print_job
from replicate_job.wire.target import Target

_MARKS = ["replicate-job:file", "replicate-job:content"]
_NAMES = st.text(max_size=5) | st.sampled_from([mark + end for mark in _MARKS for end in ("", "!", "!!")])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([Path("/a/b.png"), Path("/ä"), Content.of(b"x", "ä.txt")]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
_INPUTS = st.dictionaries(_NAMES, _VALUES, max_size=4)
REQUEST = CreateRequest(
    Target("version", version="a" * 64), "/predictions", b'{"input":{"n":1},"version":"x/y:abc"}', "5m"
)


@given(_INPUTS, st.booleans(), st.none() | st.just("5m"))
def test_a_stored_job_reads_back_with_its_local_files(given_: dict[str, Any], wait: bool, after: str | None) -> None:  # noqa: FBT001 - hypothesis calls it
    job = Job("a/b", given_, wait_for_completion=wait, cancel_after=after, env=("X",), webhook_events_filter=("start",))
    assert decode_job(encode_job(job)) == job
    assert fingerprint(decode_job(encode_job(job))) == fingerprint(job)


@given(_INPUTS)
def test_a_fingerprint_ignores_the_order_of_names_and_the_waiting_options(given_: dict[str, Any]) -> None:
    turned = dict(reversed(given_.items()))
    assert fingerprint(Job("a/b", given_)) == fingerprint(Job("a/b", turned, poll_interval=7, title="T"))
    assert fingerprint(Job("a/b", given_)) != fingerprint(Job("a/c", given_))


def test_a_relative_path_is_stored_as_an_absolute_one() -> None:
    assert decode_job(encode_job(Job("a/b", {"image": Path("cat.png")}))).input_data["image"] == Path.cwd() / "cat.png"


def test_a_job_stored_by_an_earlier_release_is_read() -> None:
    text = b'{"model":"a/b","input_data":{"image":{"replicate-job:file":"/its/path"},"n":{"replicate-job:file":1}}}'
    assert decode_job(text).input_data == {"image": Path("/its/path"), "n": {"replicate-job:file": 1}}


OLD = (
    b'{"model":"a/b","input_data":{"n":1},"wait_for_completion":true,"poll_interval":1,"max_poll_attempts":60,'
    b'"cancel_after":null,"webhook":null,"webhook_events_filter":[],"allow_unknown":false,'
    b'"title":"Replicate Run AI Model","env":[]}'
)


def test_a_job_stored_by_an_earlier_release_keeps_its_budget_and_its_fingerprint() -> None:
    old, new = decode_job(OLD), Job("a/b", {"n": 1})
    assert (old.budget, old.interval, new.budget, new.interval) == (60, 1, None, None)
    assert fingerprint(old) == fingerprint(new)
    assert print_job(b"key", old) == print_job(b"key", new)
    assert decode_job(encode_job(new)) == new


def test_data_that_looks_like_a_file_has_another_fingerprint() -> None:
    data, file = Job("a/b", {"x": {"replicate-job:file": "/a"}}), Job("a/b", {"x": Path("/a")})
    assert fingerprint(data) != fingerprint(file)


def test_a_file_given_as_bytes_is_stored_without_its_bytes() -> None:
    content = Content.of(b"hush", "a.txt")
    text = encode_job(Job("a/b", {"x": [content]}))
    (read,) = decode_job(text).input_data["x"]
    assert (read.name, read.media_type, read.size, read.sha256, read.data) == (
        *("a.txt", "text/plain", 4, content.sha256, None),
    )
    assert b"hush" not in text
    assert b"aHVzaA" not in text


def test_a_file_given_as_bytes_is_compared_by_its_bytes_and_not_by_its_name() -> None:
    jobs = [Job("a/b", {"x": Content.of(*given_)}) for given_ in ((b"1", "a"), (b"1", "tmp7"), (b"2", "a"))]
    prints = [fingerprint(job) for job in jobs]
    assert prints[0] == prints[1] != prints[2]
    assert fingerprint(Job("a/b", {"x": {"replicate-job:content": jobs[0].input_data["x"].sha256}})) != prints[0]


@pytest.mark.parametrize("value", [object(), 1j])
def test_the_error_names_a_value_that_is_not_json(value: Any) -> None:
    with pytest.raises(JobError, match="an input cannot hold"):
        encode_job(Job("a/b", {"x": value}))


def test_a_stored_request_reads_back_with_its_input_and_version() -> None:
    assert (REQUEST.input, REQUEST.version) == ({"n": 1}, "abc")
    assert msgspec.json.decode(msgspec.json.encode(REQUEST), type=CreateRequest) == REQUEST

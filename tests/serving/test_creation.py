from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.serving.answer import RefusedError
from replicate_job.serving.creation import BY_DEFAULT, EVENTS, Creation, read_creation, read_version

VERSION = "0123456789abcdef" * 4
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=5), some, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["input", "version", "webhook", "webhook_events_filter", "stream", "other"])


def fields(body: Any, *, names_version: bool = False) -> list[tuple[str, str]]:
    with pytest.raises(RefusedError) as caught:
        read_creation(msgspec.json.encode(body), names_version=names_version)
    assert caught.value.answer.status == 422
    return [(each["type"], each["field"]) for each in msgspec.json.decode(caught.value.answer.body)["invalid_fields"]]


def test_a_create_request_keeps_the_exact_json_of_its_input() -> None:
    body = (
        b'{"input": {"n": 1.0,  "n": 2e0}, "version": "a", "webhook": "https://a/b", "webhook_events_filter": ["logs"]}'
    )
    creation = read_creation(body, names_version=True)
    assert creation == Creation({"n": 2.0}, body, "a", "https://a/b", ("logs",))
    assert creation.events == {"logs"}
    assert creation.raw_input == msgspec.Raw(b'{"n": 1.0,  "n": 2e0}')


def test_without_webhook_fields_there_is_no_webhook_and_the_default_events() -> None:
    for more in ({}, {"webhook": None, "webhook_events_filter": None, "stream": True}):
        creation = read_creation(msgspec.json.encode({"input": {}} | more))
        assert (creation.version, creation.webhook, creation.events) == ("", "", BY_DEFAULT)


def test_a_422_names_every_fault_of_a_create_request() -> None:
    body = {"b": 1, "a": 2, "version": 5, "input": [], "webhook": "x", "webhook_events_filter": ["end"]}
    assert fields(body, names_version=True) == [
        ("required", ""),
        ("additional_property_not_allowed", ""),
        ("additional_property_not_allowed", ""),
        ("invalid_type", "input"),
        ("format", "webhook"),
        ("enum", "webhook_events_filter"),
    ]
    assert fields({"version": VERSION, "input": {}}) == [("additional_property_not_allowed", "")]


@given(st.dictionaries(NAMES, JSON), st.booleans())
def test_any_json_object_is_read_as_a_create_request_or_refused(body: dict[str, Any], names_version: bool) -> None:  # noqa: FBT001 - drawn
    try:
        creation = read_creation(msgspec.json.encode(body), names_version=names_version)
    except RefusedError:
        return
    assert (creation.input, msgspec.json.decode(creation.raw_input)) == (body["input"], body["input"])
    assert creation.events <= EVENTS


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"input": {"a": "\xff"}}', b'{"input":' + b"[" * 100_000])
def test_a_body_that_is_not_a_json_object_gets_a_400(body: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        read_creation(body)
    assert caught.value.answer.status == 400


@pytest.mark.parametrize("named", ["me/model", VERSION, f"me/model:{VERSION}"])
def test_the_field_version_may_hold_a_model_or_a_version_id_or_both(named: str) -> None:
    assert str(read_version(named)) == named


@pytest.mark.parametrize(
    "named",
    [
        "",
        "hello",
        "me/model:",
        f":{VERSION}",
        "me/model:1",
        f"me/model/{VERSION}",
        "deployments/me/model",
        "https://replicate.com/me/model",
        "me/model/",
        " me/model",
        VERSION.upper(),
        VERSION[:-1],
    ],
)
def test_a_version_in_any_other_form_is_not_found(named: str) -> None:
    with pytest.raises(RefusedError, match="Invalid version or not permitted"):
        read_version(named)

"""Whether a given request created a listed prediction: same, almost, or other."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.flow.matching import Verdict, judge
from replicate_job.inputs.secrets import REDACTED
from replicate_job.journal.entry import CreateRequest
from replicate_job.wire.prediction import Prediction
from replicate_job.wire.target import parse_target

VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
OTHER = "f" * 64
HI = "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4"
"""SHA-256 of "hi"."""


def make_request(
    target: str = "acme/private", given: Any = None, version: str = "", secrets: tuple[str, ...] = ()
) -> CreateRequest:
    body = {"input": {"n": 1} if given is None else given} | ({"version": version} if version else {})
    named = parse_target(target)
    return CreateRequest(named, "/predictions", msgspec.json.encode(body), secrets=secrets)


def verdict(request: CreateRequest, prediction: dict[str, Any], content: str | None = None) -> Verdict:
    whole = {"id": "x", "status": "starting", "input": {"n": 1}} | prediction

    async def read(_url: str, _longest: int) -> str | None:
        return content

    return asyncio.run(judge(msgspec.convert(whole, Prediction), request, read))


def same_input(sent: Any, listed: Any) -> bool:
    return verdict(make_request(given={"x": sent}), {"model": "acme/private", "input": {"x": listed}}) == "same"


@pytest.mark.parametrize(
    ("request_", "prediction", "expected"),
    [
        (make_request(), {"model": "acme/private", "version": "hidden"}, "same"),
        (make_request(), {"model": "acme/other", "version": "hidden"}, "other"),
        (make_request(), {"model": "acme/private", "deployment": "acme/flux"}, "almost"),
        (make_request(), {"model": "acme/private", "input": {"n": 2}}, "other"),
        (make_request(), {"model": "acme/private", "input": {"n": 1, "m": 1}}, "almost"),
        (make_request(), {"model": "acme/private", "input": {}}, "almost"),
        (make_request(), {"model": "acme/private", "input": {}, "data_removed": True}, "almost"),
        (make_request(), {"model": "acme/other", "input": {}, "data_removed": True}, "other"),
        (make_request(given={}), {"model": "acme/private", "input": {}}, "same"),
        (make_request(VERSION, version=VERSION), {"version": VERSION}, "same"),
        (make_request(VERSION, version=VERSION), {"version": OTHER}, "other"),
        (make_request(f"a/b:{VERSION}", version=VERSION), {"version": VERSION, "model": "a/b"}, "same"),
        (make_request(f"a/b:{VERSION}", version=VERSION), {"version": VERSION, "deployment": "a/c"}, "almost"),
        # The API hides the version of an official model, so the model's name and the input decide.
        (make_request(f"a/b:{VERSION}", version=VERSION), {"version": "hidden", "model": "a/b"}, "same"),
        (make_request(f"a/b:{VERSION}", version=VERSION), {"version": "hidden", "model": "a/c"}, "other"),
        (make_request("Acme/Private"), {"model": "acme/private", "version": "hidden"}, "same"),
        (make_request(f"a/old:{VERSION}", version=VERSION), {"version": VERSION, "model": "a/new"}, "same"),
        (make_request(given={"n": 1, "m": None}), {"model": "acme/private"}, "same"),
        (make_request(given={"n": 1, "m": 2}), {"model": "acme/private"}, "other"),
        (make_request("deployments/a/b"), {"model": "c/d", "version": OTHER}, "almost"),
        (make_request("deployments/a/b"), {"deployment": "a/b", "model": "c/d", "version": OTHER}, "same"),
        (make_request("deployments/a/b"), {"deployment": "a/c", "model": "c/d", "version": OTHER}, "other"),
    ],
)  # fmt: skip
def test_the_verdict_on_a_target_is_as_in_the_table(
    request_: CreateRequest, prediction: dict[str, Any], expected: Verdict
) -> None:
    assert verdict(request_, prediction) == expected


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def _listed(value: Any) -> Any:
    """The value as another JSON library may write it: whole floats as integers."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {name: _listed(item) for name, item in reversed(value.items())}
    return [_listed(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any) -> str:
    """A text that is equal for equal JSON: true is not 1, 1 equals 1.0, order and nulls do not count."""
    match value:
        case bool() | None | str():
            return repr(value)
        case int() | float():
            return repr(float(value) + 0.0)  # -0.0 is 0.0
        case list():
            return f"[{','.join(map(_plain, value))}]"
        case _:
            held = {name: item for name, item in value.items() if item is not None}  # null equals a missing value
            return f"{{{','.join(sorted(repr(name) + ':' + _plain(item) for name, item in held.items()))}}}"


@given(_VALUES)
def test_an_input_equals_its_listed_form(value: Any) -> None:
    sent = msgspec.json.decode(msgspec.json.encode(value))
    assert same_input(sent, msgspec.json.decode(msgspec.json.encode(_listed(value))))


@given(_VALUES, _VALUES)
def test_inputs_are_equal_only_if_their_json_is(one: Any, other: Any) -> None:
    assert same_input(one, other) == (_plain(one) == _plain(other))


FILE = {"image": "data:text/plain,hi"}
LINK = {"image": "https://replicate.delivery/x"}


@pytest.mark.parametrize(
    ("sent", "listed", "content", "expected"),
    [
        (FILE, LINK, HI, "same"),
        (FILE, LINK, "00", "other"),
        (FILE, LINK, "", "other"),
        (FILE, LINK, None, "almost"),
        (FILE, FILE, None, "same"),
        (FILE, {"image": "data:text/plain,ho"}, None, "other"),
        (FILE, {"image": "hi"}, None, "other"),
        (LINK, {"image": "https://replicate.delivery/y"}, None, "other"),
        ({"n": True}, {"n": 1}, None, "other"),
        ({"n": 0}, {"n": False}, None, "other"),
        ({"n": {"a": 1}}, {"n": {"a": 1, "b": None}}, None, "same"),
        ({"n": {"a": 1}}, {"n": {"a": 1, "b": 2}}, None, "almost"),
        ({"text": "hush"}, {"text": REDACTED}, None, "almost"),
    ],
)
def test_only_the_parts_that_can_be_compared_decide_whether_a_request_matches(
    sent: Any, listed: Any, content: str | None, expected: Verdict
) -> None:
    assert verdict(make_request(given=sent), {"model": "acme/private", "input": listed}, content) == expected


@pytest.mark.parametrize("listed", [REDACTED, "[REDACTED]", "", None])
def test_a_secret_is_left_out_of_the_comparison(listed: Any) -> None:
    request = make_request(given={"n": 1, "key": "hush"}, secrets=("key",))
    assert verdict(request, {"model": "acme/private", "input": {"n": 1, "key": listed}}) == "same"
    assert verdict(request, {"model": "acme/private", "input": {"n": 1}}) == "same"
    assert verdict(request, {"model": "acme/private", "input": {"n": 2, "key": listed}}) == "other"


def test_a_request_with_only_secrets_cannot_be_compared() -> None:
    request = make_request(given={"key": "hush"}, secrets=("key",))
    assert verdict(request, {"model": "acme/private", "input": {"key": REDACTED}}) == "almost"

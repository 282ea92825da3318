from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.errors import JobError
from replicate_job.wire.target import Target, parse_target, read_prediction_id

VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
_HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
_TARGETS = st.one_of(
    st.builds(Target, st.just("model"), _NAMES, _NAMES),
    st.builds(Target, st.just("version"), _NAMES, _NAMES, _HEX),
    st.builds(Target, st.just("version"), version=_HEX),
    st.builds(Target, st.just("deployment"), _NAMES, _NAMES),
)


@given(_TARGETS)
def test_a_target_as_text_parses_to_the_same_target(target: Target) -> None:
    assert parse_target(str(target)) == target
    if target.owner not in {"p", "predictions", "models", "v1", "deployments"}:  # parts of addresses
        assert parse_target(f" https://replicate.com/{target}/\n") == target


@given(st.text())
def test_any_text_parses_or_its_error_lists_the_forms(text: str) -> None:
    try:
        target = parse_target(text)
    except JobError as error:
        assert "owner/name" in str(error)  # noqa: PT017 - the text may also be valid, so pytest.raises does not fit
    else:
        assert parse_target(str(target)) == target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("black-forest-labs/flux-schnell", Target("model", "black-forest-labs", "flux-schnell")),
        (f"stability-ai/sdxl:{VERSION}", Target("version", "stability-ai", "sdxl", VERSION)),
        (VERSION, Target("version", version=VERSION)),
        ("deployments/acme/flux", Target("deployment", "acme", "flux")),
        ("https://www.replicate.com/meta/llama-2-70b-chat", Target("model", "meta", "llama-2-70b-chat")),
    ],
)
def test_each_form_parses_to_its_target(text: str, expected: Target) -> None:
    assert parse_target(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "flux",
        "a/b/c",
        "a/b:",
        "a:latest",
        "latest",
        ":latest",
        "deployments/a/b:latest",
        "https://replicate.com/a/b/c",
        "https://replicate.com/p/gm3qorzdhgbfurvjtvhg6dckhu",
        "https://evil.com/?replicate.com/a/b",
        f"a/b{VERSION}:",
        f":{VERSION}",
        VERSION[:-1],
        VERSION.upper(),
        f"deployments/a/b:{VERSION}",
        f"deployments/{VERSION}",
        "../b",
        "a/..",
        "a/b?x=1",
        "a/b\nc/d",
        "https://example.com/a/b",
    ],
)
def test_text_that_does_not_name_a_model_is_refused(text: str) -> None:
    with pytest.raises(JobError, match="names no model"):
        parse_target(text)


@pytest.mark.parametrize("name", ["acme/flux", "deployments/acme/flux"])
@pytest.mark.parametrize("page", [
    "https://replicate.com/{}", "http://www.replicate.com/{}/", "replicate.com/{}",
    "https://replicate.com/{}?input=a b",
    "https://replicate.com/{}?prediction=gm3qorzdhgbfurvjtvhg6dckhu#output", "https://replicate.com/{}/api",
    "https://replicate.com/{}/api/schema#input", "https://replicate.com/{}/examples/", "https://replicate.com/{}/readme",
    "https://replicate.com/{}/playground?x=1", "https://replicate.com/{}/versions", "https://replicate.com/{}/llms.txt",
    "https://api.replicate.com/v1/{api}", "https://api.replicate.com/v1/{api}/predictions",
])  # fmt: skip
def test_the_address_of_each_page_of_a_model_names_the_model(page: str, name: str) -> None:
    address = page.format(name, api=name if name.startswith("deployments/") else f"models/{name}")
    assert str(parse_target(address.replace(" ", "%20"))) == name


@pytest.mark.parametrize(
    "page",
    [
        "https://replicate.com/acme/flux/versions/{}",
        "https://replicate.com/acme/flux/versions/{}/api?x=1",
        "https://api.replicate.com/v1/models/acme/flux/versions/{}",
        "https://replicate.com/acme/flux:{}",
    ],
)
def test_the_address_of_each_page_of_a_version_names_the_version(page: str) -> None:
    assert parse_target(page.format(VERSION)) == Target("version", "acme", "flux", VERSION)


def test_the_word_latest_as_a_version_means_the_model() -> None:
    assert parse_target("acme/flux:latest") == Target("model", "acme", "flux")


def test_a_prediction_address_as_a_model_is_refused_with_the_prediction_id() -> None:
    with pytest.raises(JobError, match="is the prediction gm3qorzdhg and names no model: write owner/name"):
        parse_target("https://replicate.com/p/gm3qorzdhg?x")


@pytest.mark.parametrize(
    "address",
    [
        "https://replicate.com/p/{}",
        "replicate.com/p/{}",
        " https://replicate.com/p/{}?tab=json#logs ",
        "https://replicate.com/acme/flux?prediction={}",
        "https://api.replicate.com/v1/predictions/{}",
        "https://api.replicate.com/v1/predictions/{}/cancel",
        "http://127.0.0.1:5005/p/{}/",
        "https://gateway.ai.cloudflare.com/v1/A/G/replicate/predictions/{}",
    ],
)
def test_the_addresses_of_a_prediction_give_its_id(address: str) -> None:
    assert read_prediction_id(address.format("gm3qorzdhgbf")) == "gm3qorzdhgbf"


@pytest.mark.parametrize("text", ["gm3qorzdhgbf", "order-17", "http://127.0.0.1/", "a/p/b", "ftp://x/p/b", ""])
def test_text_that_is_not_the_address_of_a_prediction_is_returned_unchanged(text: str) -> None:
    assert read_prediction_id(text) == text

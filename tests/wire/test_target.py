from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.errors import JobError
from replicate_job.wire.target import Target, parse_target

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
def test_what_a_target_prints_reads_back(target: Target) -> None:
    assert parse_target(str(target)) == target
    assert parse_target(f" https://replicate.com/{target}/\n") == target


@given(st.text())
def test_any_other_text_is_one_clear_error(text: str) -> None:
    try:
        target = parse_target(text)
    except JobError as error:
        assert "owner/name" in str(error)  # noqa: PT017 - either way is right, and each is checked
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
def test_the_forms(text: str, expected: Target) -> None:
    assert parse_target(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "flux",
        "a/b/c",
        "a/b:",
        "a/b:latest",
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
def test_what_names_nothing(text: str) -> None:
    with pytest.raises(JobError, match="names no model"):
        parse_target(text)

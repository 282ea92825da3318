"""Templates: names in braces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.errors import JobError
from replicate_job.template import escape, read_template


def test_names_in_braces_are_replaced_by_their_values() -> None:
    template = read_template("out/{model}/{line}-{name}")
    assert template.fill({"model": "acme/fox", "line": "7", "name": "a.png"}) == "out/acme/fox/7-a.png"
    assert template.names == {"model", "line", "name"}


def test_double_braces_stand_for_single_braces() -> None:
    assert read_template("a{{b}}{c}").fill({"c": "{d}"}) == "a{b}{d}"


def test_braces_in_a_filled_in_value_stay_text() -> None:
    some = read_template("{line}/{name}").fill_some({"line": "{x}"})
    assert str(some) == "{{x}}/{name}"
    assert read_template(str(some)).fill({"name": "n"}) == "{x}/n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("out/{name", "in 'out/{name', column 5: this { is not closed (write {{ for a { itself)"),
        ("out/name}", "in 'out/name}', column 9: this } closes nothing (write }} for a } itself)"),
        ("a{}", "in 'a{}', column 2: there is no name in these braces"),
        ("a{b{c}", "in 'a{b{c}', column 2: this { is not closed (write {{ for a { itself)"),
    ],
)
def test_the_error_for_a_malformed_template_names_the_column(text: str, message: str) -> None:
    with pytest.raises(JobError) as caught:
        read_template(text)
    assert str(caught.value) == message


def test_the_error_for_an_unknown_name_has_the_column_and_the_known_names() -> None:
    with pytest.raises(JobError) as caught:
        read_template("{id}/{modle}").check(["model", "id"])
    assert str(caught.value) == (
        "in '{id}/{modle}', column 6: there is no {modle}; did you mean {model}? There are {model}, {id}"
    )


def test_a_name_without_a_value_raises_an_error() -> None:
    with pytest.raises(JobError, match=r"column 1: there is no \{line\}"):
        read_template("{line}").fill({})


@given(st.text())
def test_an_escaped_text_stands_for_itself(text: str) -> None:
    assert read_template(escape(text)).fill({}) == text


@given(st.lists(st.text(alphabet="ab{}"), max_size=5))
def test_a_template_is_written_as_it_was_read(values: list[str]) -> None:
    template = read_template("{x}".join(map(escape, values)))
    assert read_template(str(template)).fill({"x": "|"}) == "|".join(values)

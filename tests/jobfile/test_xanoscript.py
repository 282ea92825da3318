"""The grammar of run.job, and the values that its literals have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicate_job.errors import JobFileError
from replicate_job.jobfile.runjob import MAX_DEPTH, RunJob
from replicate_job.jobfile.xanoscript import parse

SEED = (Path(__file__).parents[2] / "run.xs").read_text(encoding="utf-8")


def value_of(text: str) -> object:
    return parse(
        f'run.job "t" {{\n  main = {{\n    name: "f"\n    input: {{\n      x: {text}\n    }}\n  }}\n}}\n'
    ).input["x"]


def refusal(text: str) -> JobFileError | None:
    try:
        parse(text, file="run.xs")
    except JobFileError as error:
        return error
    return None


def test_the_original_run_job_is_read_in_full() -> None:
    assert parse(SEED) == RunJob(
        title="Replicate Run AI Model",
        function="replicate_run_prediction",
        input={
            "model": "black-forest-labs/flux-schnell",
            "input_data": {
                "prompt": "A serene mountain landscape at sunset with a lake reflection",
                "aspect_ratio": "16:9",
                "output_format": "webp",
                "output_quality": 80,
            },
            "wait_for_completion": True,
            "poll_interval": 1,
            "max_poll_attempts": 60,
        },
        env=("REPLICATE_API_TOKEN",),
    )


def test_a_run_job_may_have_any_function_name_and_an_unquoted_title_and_no_input() -> None:
    assert parse("run.job nightly_sum { main = {name: 'sum_up'} }") == RunJob(title="nightly_sum", function="sum_up")


def test_a_description_is_kept_and_attributes_come_in_any_order() -> None:
    job = parse('run.job "t" {\n env = []\n description = "what it is for"\n main = { input: {}, name: "f" }\n}')
    assert job == RunJob(title="t", function="f", description="what it is for")


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + SEED,
        SEED.replace("\n", "\r\n"),
        "\ufeff" + SEED.replace("\n", "\r\n"),
        SEED.replace("\n", "\r"),
        SEED.replace("  ", "\t"),
        SEED.rstrip("\n"),
        SEED.rstrip("\n") + " // the end",
        "// first, { a brace\n\n  // second\n" + SEED + "\n\n// last\n",
        SEED.replace("\n", " // note, with: marks { } \n"),
        SEED.replace("= {", "=\n\n  // on the next line\n  {"),
        SEED.replace(": ", ":\n // here, too\n "),
        SEED.replace("\n      wait", "\n  ,  // a comma of its own\n   wait").replace("\n      poll", ",\n      poll"),
        SEED.replace(": 60\n", ": 60,\n").replace(": 80\n", ": 80\n,\n").replace('"]', '"\n,]'),
    ],
)
def test_the_layout_of_a_file_does_not_matter(text: str) -> None:
    assert parse(text) == parse(SEED)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("-12", -12),
        ("2", 2),
        ("500.00", 500.0),
        ("-0.5", -0.5),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("true", True),
        ("false", False),
        ("null", None),
        ("{}", {}),
        ("[]", []),
        ("[true,null, false\n null]", [True, None, False, None]),
        ("{\n}", {}),
        ("[ // nothing\n ]", []),
        ("[1, 2\n 3,\n 4\n , 5,]", [1, 2, 3, 4, 5]),
        ("[[1], {a: [2]}]", [[1], {"a": [2]}]),
        ("{a: 1, b: 2\n c: 3\n}", {"a": 1, "b": 2, "c": 3}),
        ("{meta.author.name: 1}", {"meta.author.name": 1}),
        (
            "{true: 1, null: true, false: 2, name: 3, main: 4, run: 5}",
            {"true": 1, "null": True, "false": 2, "name": 3, "main": 4, "run": 5},
        ),
        ('{"with space": 1, \'single\': 2, "": 3}', {"with space": 1, "single": 2, "": 3}),
        ("{_a: 1, B2: 2}", {"_a": 1, "B2": 2}),
    ],
)
def test_literals_of_values_and_keys_are_read(text: str, value: object) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\n\t\r\a\v\b\f"', "\n\t\r\a\v\b\f"),
        (r'"\x41\x7e\xe9"', "A~é"),
        (r'"\101\000"', "A\0"),
        (r'"\"\\\/\q\d\$"', '"\\/qd$'),
        (r'"\x4"', "x4"),
        (r'"C:\\new"', "C:\\new"),
        ('"// no comment, { nor: a brace"', "// no comment, { nor: a brace"),
        ('"Ünïcode, 山水 🏔"', "Ünïcode, 山水 🏔"),
        ('"a\tb"', "a\tb"),
        ('"@photo.png"', "@photo.png"),
        (r"'a \n \' \\ \x41 \"'", "a \\n ' \\ \\x41 \\\""),
        ("''", ""),
        ('""', ""),
    ],
)
def test_escapes_in_strings_are_read(text: str, value: str) -> None:
    assert value_of(text) == value


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        (['"""', '"""'], ""),
        (['"""', "one", '"""'], "one"),
        (['"""  ', "    one", "      two", '    """'], "one\n  two"),
        (['"""', "    one", "", "  ", "    two", "", '    """'], "one\n\n\ntwo\n"),
        (['"""', r'  a "quoted" \n "" // kept', '  """'], r'a "quoted" \n "" // kept'),
        (['"""', "\t\tone", '\t"""'], "\tone"),
    ],
)
def test_a_block_keeps_its_lines_without_the_indent_of_its_closing_quotes(lines: list[str], value: str) -> None:
    assert value_of("\n".join(lines)) == value
    assert value_of("\r\n".join(lines)) == value


@pytest.mark.parametrize("depth", [100, MAX_DEPTH - 1])
def test_deep_nesting_is_read(depth: int) -> None:
    found = value_of("[" * depth + "]" * depth)
    for _ in range(depth - 1):
        assert isinstance(found, list)
        (found,) = found
    assert found == []
    value_of("{a: " * (depth - 1) + "{}" + "}" * (depth - 1))


@pytest.mark.long
@pytest.mark.parametrize("depth", [MAX_DEPTH, 1_000, 20_000])
def test_the_error_of_too_deep_nesting_is_at_the_bracket_that_exceeds_the_limit(depth: int) -> None:
    with pytest.raises(JobFileError, match="more than 200 deep") as caught:
        value_of("[" * depth + "]" * depth)
    assert (caught.value.line, caught.value.column) == (5, len("      x: ") + MAX_DEPTH)
    with pytest.raises(JobFileError, match="more than 200 deep"):
        value_of("{a: " * depth + "1" + "}" * depth)


def test_too_deep_nesting_in_env_or_description_raises_an_error_with_its_position() -> None:
    with pytest.raises(JobFileError, match="more than 200 deep") as caught:
        parse('run.job "t" {\n main = {name: "f"}\n env = ' + "[" * 300 + "]" * 300 + "\n}")
    assert caught.value.line == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
GAPS = st.sampled_from(["", " ", "\t", "\n", "\n\n", " // c, d: {\n", "\r\n\t"])
SEPARATORS = st.sampled_from([",", "\n", " , ", "\n,\n", "// x\n", ", // , \n", "\n // y\n\n", "\r\n"])


def write(value: object, draw: st.DrawFn) -> str:
    """The value in one of the many layouts that the grammar allows."""
    if isinstance(value, dict | list):
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        if isinstance(value, dict):
            items = [f"{write(key, draw)}:{draw(GAPS)}{write(item, draw)}" for key, item in value.items()]
        else:
            items = [write(item, draw) for item in value]
        written = "".join(item + draw(SEPARATORS) for item in items[:-1]) + "".join(items[-1:])
        last = draw(SEPARATORS | st.just("")) if items else ""
        return opening + draw(GAPS) + written + last + closing
    if isinstance(value, str):
        if draw(st.booleans()) and not set(value) & {"\n", "\r"}:
            return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        escape = {"\n": "\\n", "\r": "\\x0d", '"': '\\"', "\\": "\\\\"}
        return '"' + "".join(escape.get(char, char) for char in value) + '"'
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or value is True or value is False
        else str(value)
    )


@st.composite
def laid_out(draw: st.DrawFn) -> tuple[object, str]:
    value = draw(JSON)
    return value, write(value, draw)


@pytest.mark.long
@given(laid_out())
@settings(max_examples=150, deadline=None)
def test_a_value_is_the_same_in_every_layout(case: tuple[object, str]) -> None:
    value, text = case
    assert repr(value_of(text)) == repr(value)


@given(
    st.integers(0, len(SEED)), st.integers(0, 12), st.text(st.sampled_from("{}[]\"'\\,:=\n \t.-0e$é/a\x00"), max_size=4)
)
@settings(max_examples=300, deadline=None)
def test_the_error_of_a_damaged_file_has_a_place_inside_the_file(at: int, length: int, instead: str) -> None:
    text = SEED[:at] + instead + SEED[at + length :]
    error = refusal(text)
    if error is not None:
        lines = text.split("\n")
        assert error.line is not None
        assert error.column is not None
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1
        assert str(error).startswith(f"run.xs:{error.line}:{error.column}: ")
        assert "\n" not in str(error)


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_text_that_is_no_run_job_is_refused(text: str) -> None:
    with pytest.raises(JobFileError):
        parse(text)


def test_long_strings_and_comments_are_read_in_linear_time() -> None:
    text = "a, b: \\\\ " * 100_000
    assert value_of(f'[ // {text}\n "{text}"\n // {text}\n]') == [text.replace("\\\\", "\\")]


def test_lark_is_imported_only_for_xanoscript() -> None:
    code = "import sys, replicate_job.jobfile; sys.exit('lark' in sys.modules or 'json' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

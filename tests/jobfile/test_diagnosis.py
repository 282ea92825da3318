"""The errors for a wrong run.xs file: the place, the found text, the expected text, and the probable cause."""

from __future__ import annotations

import pytest

from replicate_job.errors import JobFileError
from replicate_job.jobfile.xanoscript import parse

COMMA = "two entries on one line need a comma between them"
CONSTANT = "values are constants: env = [...] names the variables that must be set, and a value cannot refer to one"
NUMBER = "a number is written 5, -5 or 0.5: no exponent, no plus sign, no leading zero"
KEY = "a key of other characters than letters, digits, _ and . stands in quotes"
QUOTE = r"a string ends on its line: close its quote, write \n for a newline"
BLOCK = 'the text of a """ block starts on a new line, and the closing """ stand on a line of their own'
BARE = "text stands in quotes; true, false and null are in small letters"
MANY = "there is a comma too many"
OTHER = "this tool reads a run.job, and no other construct"


def refusal(text: str) -> JobFileError:
    with pytest.raises(JobFileError) as caught:
        parse(text, file="run.xs")
    assert caught.value.file == "run.xs"
    return caught.value


@pytest.mark.parametrize(
    ("body", "column", "message", "hint"),
    [
        ("a: 1 b: 2", 6, 'found "b", expected a comma, a newline or "}"', COMMA),
        ("a: [1 2]", 7, 'found "2", expected a comma, a newline or "]"', COMMA),
        ("a: 1,, b: 2", 6, 'found ",", expected a key or "}"', MANY),
        (", a: 1", 1, 'found ",", expected a key or "}"', MANY),
        ("a: [1,,2]", 7, 'found ",", expected a value or "]"', MANY),
        ("a: [,1]", 5, 'found ",", expected a value or "]"', MANY),
        ("a: 1, a: 2", 7, 'found a second "a", expected each key once', ""),
        ('a.b: 1, "a.b": 2', 9, 'found a second "a.b", expected each key once', ""),
        (
            r'a: "caf\u00e9"',
            8,
            r"found a \u escape, expected \n \t \r \a \v \b \f \xHH or \ooo",
            r"tools disagree on what \u means here: write the character itself",
        ),
        ("a: $env.TOKEN", 4, 'found "$env.TOKEN", expected a value', CONSTANT),
        ("a: $input.x", 4, 'found "$input.x", expected a value', CONSTANT),
        ('a: "x" ~ "y"', 8, 'found "~", expected a comma, a newline or "}"', CONSTANT),
        ('a: "x"|upper', 7, 'found "|upper", expected a comma, a newline or "}"', CONSTANT),
        ("a: `1 + 1`", 4, 'found "`1", expected a value', CONSTANT),
        ("a: 1 + 1", 6, 'found "+", expected a comma, a newline or "}"', CONSTANT),
        ("a: now.year", 4, 'found "now.year", expected a value', CONSTANT),
        ("a: 1e5", 4, 'found "1e5", expected a value', NUMBER),
        ("a: 007", 4, 'found "007", expected a value', NUMBER),
        ("a: +1", 4, 'found "+1", expected a value', NUMBER),
        ("a: .5", 4, 'found ".5", expected a value', NUMBER),
        ("a: 1.", 4, 'found "1.", expected a value', NUMBER),
        ("a: -", 4, 'found "-", expected a value', NUMBER),
        ("a: 80px", 4, 'found "80px", expected a value', NUMBER),
        ("a: " + "9" * 5000, 4, "found a number of 5000 characters, expected one that fits", ""),
        ("a: " + "9" * 400 + ".5", 4, "found a number of 402 characters, expected one that fits", ""),
        ("a: webp", 4, 'found "webp", expected a value', BARE),
        ("a: True", 4, 'found "True", expected a value', BARE),
        ("a: trueish", 4, 'found "trueish", expected a value', BARE),
        ("a: @photo.png", 4, 'found "@photo.png", expected a value', BARE),
        ('a: "open', 4, 'found "open, expected a value', QUOTE),
        ("a: 'open", 4, "found 'open, expected a value", QUOTE),
        ('a: """one"""', 4, 'found """one""", expected a value', BLOCK),
        ('a: """\none', 4, 'found """, expected a value', BLOCK),
        ("a: “x”", 4, 'found "“x”", expected a value', "quotes are the straight ones, \" or '"),
        ("a = 1", 3, 'found "=", expected ":"', "inside an object write key: value"),
        ("content-type: 1", 8, 'found "-type", expected ":"', KEY),
        ("1st: 1", 1, 'found "1st", expected a key or "}"', KEY),
        ("naïve: 1", 1, 'found "naïve", expected a key or "}"', KEY),
        ("a.: 1", 1, 'found "a.", expected a key or "}"', KEY),
        ("a: 1 # note", 6, 'found "#", expected a comma, a newline or "}"', "a comment starts with //"),
        ("/* note */ a: 1", 1, 'found "/*", expected a key or "}"', "a comment starts with //"),
        ("a: {b: 1]", 9, 'found "]", expected a comma, a newline or "}"', 'the "{" on line 4 is not closed'),
        ("a: \u00a01", 4, "found the character U+00A0, expected a value", ""),
        ("a: 1\x00", 5, 'found the character U+0000, expected a comma, a newline or "}"', ""),
        ("a", 2, 'found the end of the line, expected ":"', ""),
    ],
)
def test_the_error_for_a_mistake_in_an_object_has_its_position_and_a_hint(
    body: str, column: int, message: str, hint: str
) -> None:
    error = refusal(f'run.job "t" {{\nmain = {{name: "f"\ninput: {{\n{body}\n}} }}\n}}\n')
    assert (error.line, error.column, error.message, error.hint) == (4, column, message, hint)
    assert str(error) == f"run.xs:4:{column}: {message}" + (f" ({hint})" if hint else "")


@pytest.mark.parametrize(
    ("body", "line", "column", "message"),
    [
        ('a: """\n  x"""', 5, 4, 'found text before closing """, expected them on a line of their own'),
        ('a: """\n x\n  """', 6, 3, 'found a line indented less than the closing """, expected at least their indent'),
        ("a: [1", 5, 1, 'found "}", expected a value or "]"'),
        ("a:\n\n", 7, 1, 'found "}", expected a value'),
        ("a: 1 // one\n\n, // two\n, b: 2", 7, 1, 'found ",", expected a key or "}"'),
    ],
)
def test_the_error_for_a_mistake_on_a_later_line_has_its_position(
    body: str, line: int, column: int, message: str
) -> None:
    error = refusal(f'run.job "t" {{\nmain = {{name: "f"\ninput: {{\n{body}\n}} }}\n}}\n')
    assert (error.line, error.column, error.message) == (line, column, message)


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "hint"),
    [
        ("", 1, 1, "found the end of the file, expected run.job", ""),
        ("// only a comment", 1, 18, "found the end of the file, expected run.job", ""),
        ('{"model": "a/b"}', 1, 1, 'found "{", expected run.job', "a job file in JSON has a name that ends in .json"),
        ('function "f" {\n}', 1, 1, 'found "function", expected run.job', OTHER),
        ("\n task t {\n}", 2, 2, 'found "task", expected run.job', OTHER),
        ("query q verb=GET {\n}", 1, 1, 'found "query", expected run.job', OTHER),
        ('run.service "s" {\n}', 1, 1, 'found "run.service", expected run.job', OTHER),
        ('run.jobs "s" {\n}', 1, 1, 'found "run.jobs", expected run.job', OTHER),
        ("run.job {\n}", 1, 9, 'found "{", expected a title in quotes', ""),
        ("run.job a.b {\n}", 1, 9, 'found "a.b", expected a title in quotes', ""),
        (
            'run.job "t"\n{\n}',
            1,
            12,
            'found the end of the line, expected "{"',
            'the "{" stands on the line of its run.job',
        ),
        ('run.job "t" {\n}', 2, 1, 'found "}", expected an attribute (main, env or description)', ""),
        (
            '// run.job\nrun.job "t" {\n env = []\n}',
            2,
            1,
            "found a run.job without main, which names the function to run",
            'write main = { name: "…", input: { … } }',
        ),
        (
            'run.job "t" {\n main = {name: "f"}, env = []\n}',
            2,
            20,
            'found ",", expected a newline or "}"',
            "attributes are separated by newlines, not by commas",
        ),
        (
            'run.job "t" {\n main = {name: "f"} env = []\n}',
            2,
            21,
            'found "env", expected a newline or "}"',
            "each attribute starts on a line of its own",
        ),
        (
            'run.job "t" {\n main: {name: "f"}\n}',
            2,
            6,
            'found ":", expected "="',
            "outside an object write name = value",
        ),
        (
            'run.job "t" {\n main = {name: "f"}\n}\nrun.job "u" {\n}',
            4,
            1,
            'found "run.job", expected the end of the file',
            "a file holds one run.job and nothing after its closing brace",
        ),
        (
            'run.job "t" {\n main = {\n  name: "f"\n}',
            4,
            2,
            'found the end of the file, expected a newline or "}"',
            'the "{" on line 1 is not closed',
        ),
        (
            'run.job "t" {\n mian = {}\n}',
            2,
            2,
            'found "mian" in run.job, expected main, env or description',
            "did you mean main?",
        ),
        ('run.job "t" {\n main = {}\n main = {}\n}', 3, 2, 'found a second "main", expected each key once', ""),
        ('run.job "t" {\n main = "f"\n}', 2, 2, "main must be an object with name and input", ""),
        (
            'run.job "t" {\n main = {nmae: "f"}\n}',
            2,
            10,
            'found "nmae" in main, expected name or input',
            "did you mean name?",
        ),
        (
            'run.job "t" {\n main = {}\n}',
            2,
            2,
            "found main without name, which is the function to run",
            'write name: "…"',
        ),
        ('run.job "t" {\n main = {name: ""}\n}', 2, 10, 'main.name must be a non-empty string, found ""', ""),
        ('run.job "t" {\n main = {name: 5}\n}', 2, 10, "main.name must be a non-empty string, found 5", ""),
        ('run.job "t" {\n main = {name: "f", input: []}\n}', 2, 21, "main.input must be an object, found an array", ""),
        (
            'run.job "t" {\n main = {name: "f"}\n env = "A"\n}',
            3,
            2,
            'env must be an array of names of environment variables, found "A"',
            "",
        ),
        (
            'run.job "t" {\n main = {name: "f"}\n env = ["A", 5]\n}',
            3,
            2,
            "env lists names of environment variables, as non-empty strings, found 5",
            "",
        ),
        ('run.job "t" {\n main = {name: "f"}\n description = 5\n}', 3, 2, "description must be a string, found 5", ""),
    ],
)
def test_the_error_for_a_mistake_outside_the_input_has_its_position_and_a_hint(
    text: str, line: int, column: int, message: str, hint: str
) -> None:
    error = refusal(text)
    assert (error.line, error.column, error.message, error.hint) == (line, column, message, hint)


def test_a_byte_order_mark_and_carriage_returns_do_not_change_the_position_in_an_error() -> None:
    error = refusal('\ufeffrun.job "t" {\r\n main = {name: "f"}, env = []\r\n}')
    assert (error.line, error.column) == (2, 20)
    assert refusal('\ufefffunction "f" {}').column == 1


def test_a_long_text_in_an_error_is_cut_and_put_on_one_line() -> None:
    error = refusal('run.job "t" {\n main = {name: "f" "' + "long " * 40 + '"}\n}')
    assert error.message == 'found "long long long long long long…, expected a comma, a newline or "}"'
    assert "\n" not in str(refusal('run.job """\nt\n""" "u" {}'))

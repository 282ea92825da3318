"""Explains why a job file does not parse, and names the probable cause."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from lark import UnexpectedInput

    from replicate_job.errors import JobFileError
    from replicate_job.jobfile.source import Source

_GAP = re.compile(r"(?:[ \t\n]|//[^\n]*+)*+")
_STRING = r'"""(?:[^"]|"(?!""))*+"""|"(?!"")(?:[^"\\\n]|\\.)*+"|\'(?:[^\'\\\n]|\\.)*+\''
_UNCLOSED = r"\"(?:[^\"\\\n]|\\.)*+\\?(?=\n|\Z)|'(?:[^'\\\n]|\\.)*+\\?(?=\n|\Z)"
_FOUND = re.compile(rf"{_STRING}|\"\"\"|{_UNCLOSED}|[^\s,:={{}}\[\]\"']+|.")
_BRACKETS = re.compile(rf"{_STRING}|//[^\n]*|[{{}}\[\]]")
_SHOWN = 30

# Maps a terminal of the grammar to its name in messages. A message lists the names in this order.
_EXPECTED = {
    "RUN_JOB": "run.job",
    "NAME": "an attribute (main, env or description)",
    "KEY": "a key",
    "NUMBER": "a value",
    "_COLON": '":"',
    "_IS": '"="',
    "_OPEN": '"{"',
    "_COMMA": "a comma",
    "_NEWLINE": "a newline",
    "RBRACE": '"}"',
    "RSQB": '"]"',
    "$END": "the end of the file",
}

_NO_EXPRESSIONS = (
    "values are constants: env = [...] names the variables that must be set, and a value cannot refer to one"
)
_NUMBERS = "a number is written 5, -5 or 0.5: no exponent, no plus sign, no leading zero"
_KEYS = "a key of other characters than letters, digits, _ and . stands in quotes"

# Each entry: an expected terminal ("" for any), a pattern of the text that was found, and the hint. The first match
# wins.
_HINTS = tuple(
    (terminal, re.compile(pattern), hint)
    for terminal, pattern, hint in (
        ("RUN_JOB", r"\{", "a job file in JSON has a name that ends in .json"),
        ("RUN_JOB", r"(?s:.)", "this tool reads a run.job, and no other construct"),
        ("$END", r"(?s:.)", "a file holds one run.job and nothing after its closing brace"),
        ("", r'"""', 'the text of a """ block starts on a new line, and the closing """ stand on a line of their own'),
        ("", _UNCLOSED, r"a string ends on its line: close its quote, write \n for a newline"),
        ("", r"[\u2018\u2019\u201c-\u201e]", "quotes are the straight ones, \" or '"),
        ("", r"#|/\*", "a comment starts with //"),
        ("NUMBER", r"[+-]|\.?[0-9]", _NUMBERS),
        ("", r"[$`~|(+*/?]", _NO_EXPRESSIONS),
        ("NUMBER", r",", "there is a comma too many"),
        ("KEY", r",", "there is a comma too many"),
        ("NUMBER", r"(?:\w+\.)+\w+|\w+\(", _NO_EXPRESSIONS),
        ("NUMBER", r"[\w@]", "text stands in quotes; true, false and null are in small letters"),
        ("_COLON", r"=", "inside an object write key: value"),
        ("_OPEN", r"\n", 'the "{" stands on the line of its run.job'),
        ("_IS", r":", "outside an object write name = value"),
        ("_COLON", r"(?<!\s)[^\s,{}\[\]\"']", _KEYS),
        ("KEY", r"[^\s{}\[\]]", _KEYS),
        ("_COMMA", r"[\w\"']", "two entries on one line need a comma between them"),
        ("_NEWLINE", r",", "attributes are separated by newlines, not by commas"),
        ("_NEWLINE", r"[A-Za-z]", "each attribute starts on a line of its own"),
    )
)


def diagnose(source: Source, error: UnexpectedInput) -> JobFileError:
    """The error for the place where parsing stopped: what was found, what was expected, and the probable cause."""
    text, expected = source.text, error.interactive_parser.accepts()  # type: ignore[no-untyped-call] # lark has no types here
    at = _offset(text, error)
    hint = next((hint for name, found, hint in _HINTS if (not name or name in expected) and found.match(text, at)), "")
    if at >= len(text) or text[at] in "}]":
        hint = _unclosed(text, at) or hint
    return source.error(f"found {_found(text, at)}, expected {_expected(expected)}", at, hint)


def _offset(text: str, error: UnexpectedInput) -> int:
    """The offset of the offending token. A comma's token begins with newlines and comments, which are skipped."""
    token = getattr(error, "token", None)
    if token is not None and token.type == "$END":
        return len(text)
    at = error.pos_in_stream or 0
    after = _GAP.match(text, at)
    return after.end() if after and text.startswith(",", after.end()) else at


def _found(text: str, at: int) -> str:
    found = _FOUND.match(text, at)
    if at >= len(text):
        return "the end of the file"
    if not found:
        return "the end of the line"
    word = found[0].replace("\n", " ")
    if len(word) > _SHOWN:
        word = word[:_SHOWN] + "…"
    if len(word) == 1 and (word.isspace() or not word.isprintable()):
        return f"the character U+{ord(word):04X}"
    return word if word[0] in "\"'" else f'"{word}"'


def _expected(terminals: AbstractSet[str]) -> str:
    names = dict(_EXPECTED)
    if "DOUBLE" in terminals and "NUMBER" not in terminals:
        names["NAME"] = "a title in quotes"
    if "NUMBER" in terminals:
        del names["_OPEN"]
    if terminals & {"RUN_JOB", "$END"}:
        del names["_NEWLINE"]
    *most, last = [name for terminal, name in names.items() if terminal in terminals]
    return f"{', '.join(most)} or {last}" if most else last


def _unclosed(text: str, at: int) -> str:
    """A hint about the last open bracket, if the text at ``at`` does not close that bracket; else empty."""
    opened = open_brackets(text[:at])
    if not opened or text[opened[-1]] + text[at : at + 1] in {"{}", "[]"}:
        return ""
    line = text.count("\n", 0, opened[-1]) + 1
    return f'the "{text[opened[-1]]}" on line {line} is not closed'


def open_brackets(text: str, limit: int | None = None) -> list[int]:
    """The offsets of the brackets that are open at the end of the text. Stops if more than ``limit`` are open."""
    opened: list[int] = []
    for found in _BRACKETS.finditer(text):
        if found[0] in "{[":
            opened.append(found.start())
            if limit is not None and len(opened) > limit:
                break
        elif found[0] in "}]" and opened:
            opened.pop()
    return opened

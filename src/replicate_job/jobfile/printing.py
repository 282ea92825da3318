"""Writes a Job or RunJob as the text of a run.xs file."""

from __future__ import annotations

import math
import re
from pathlib import PurePath
from typing import Any

import msgspec

from replicate_job.errors import JobError
from replicate_job.job import FUNCTION, Job
from replicate_job.jobfile.runjob import MAX_DEPTH, RunJob

_INDENT = "  "
_BARE_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f]')
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ALWAYS = ("model", "input_data", "wait_for_completion", "poll_interval", "max_poll_attempts")


def to_xanoscript(job: Job | RunJob) -> str:
    """The job as the text of a run.xs file. Reading the text back gives an equal job.

    A value without a literal in XanoScript raises a JobError that names its field: infinity, NaN, a local
    file (``pathlib.Path``), and every other value that JSON lacks.
    """
    run_job = _from_job(job) if isinstance(job, Job) else job
    if not run_job.function:
        raise JobError("main.name is empty: a run.job names a function")
    if not all(run_job.env):
        raise JobError("env has an empty name: it lists names of environment variables")
    attributes = [f"main = {_main(run_job)}"]
    if run_job.description:
        attributes.append(f"description = {_string(run_job.description, 'description')}")
    if run_job.env:
        attributes.append(f"env = {_value(list(run_job.env), 'env', 1, 0)}")
    body = "".join(f"{_INDENT}{attribute}\n" for attribute in attributes)
    return f"run.job {_string(run_job.title, 'title')} {{\n{body}}}\n"


def _from_job(job: Job) -> RunJob:
    plain = Job("")
    values = {name: getattr(job, name) for name in Job.__struct_fields__ if name not in {"title", "env"}}
    written = {name: value for name, value in values.items() if name in _ALWAYS or value != getattr(plain, name)}
    if job.fallback:
        parts = map(msgspec.structs.asdict, job.fallback)
        written["fallback"] = [{name: value for name, value in part.items() if value} for part in parts]
    return RunJob(job.title, FUNCTION, written, job.env)


def _main(run_job: RunJob) -> str:
    lines = [f"name: {_string(run_job.function, 'main.name')}"]
    if run_job.input:
        lines.append(f"input: {_value(run_job.input, '', 2, 1)}")
    return _lines("{", lines, "}", 1)


def _value(value: Any, path: str, level: int, depth: int) -> str:
    """The literal of a value. ``level`` is the indent, ``depth`` the level of nesting; ``path`` names it in errors."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return _string(value, path)
        case int() | float():
            return _number(value, path)
        case dict() | list() | tuple() if depth > MAX_DEPTH:
            raise JobError(f"{path[:80]}… is nested more than {MAX_DEPTH} deep: a run.xs file cannot hold it")
        case dict():
            return _object(value, path, level, depth)
        case list() | tuple():
            return _array(value, path, level, depth)
        case PurePath():
            raise JobError(f"{path} is a local file: a run.xs file can hold only its URL")
    raise JobError(f"{path} is a {type(value).__name__}: a run.xs file holds only what JSON does")


def _object(value: dict[Any, Any], path: str, level: int, depth: int) -> str:
    lines = []
    for key, member in value.items():
        if not isinstance(key, str):
            raise JobError(f"{path or 'input'} has the key {key!r}: keys are strings")
        name = key if _BARE_KEY.fullmatch(key) else _string(key, f"a key of {path or 'input'}")
        lines.append(f"{name}: {_value(member, f'{path}.{key}' if path else key, level + 1, depth + 1)}")
    return _lines("{", lines, "}", level) if lines else "{}"


def _array(value: list[Any] | tuple[Any, ...], path: str, level: int, depth: int) -> str:
    """The literal of an array: on several lines if it contains objects or arrays that are not empty, else on one."""
    items = []
    for index, item in enumerate(value):
        items.append(_value(item, f"{path}[{index}]", level + 1, depth + 1))
    if any(isinstance(item, dict | list | tuple) and item for item in value):
        return _lines("[", items, "]", level)
    return f"[{', '.join(items)}]"


def _lines(opening: str, lines: list[str], closing: str, level: int) -> str:
    inner = "\n" + _INDENT * (level + 1)
    return f"{opening}{inner}{inner.join(lines)}\n{_INDENT * level}{closing}"


def _string(text: str, path: str) -> str:
    if _SURROGATE.search(text):
        raise JobError(f"{path} has half of a surrogate pair, which is not valid Unicode")
    return '"' + _ESCAPED.sub(lambda found: _ESCAPES.get(found[0], f"\\x{ord(found[0]):02x}"), text) + '"'


def _number(value: float, path: str) -> str:
    """The literal of a number, without an exponent, which XanoScript lacks. A float keeps its decimal point."""
    if isinstance(value, int):
        try:
            return int.__repr__(value)
        except ValueError:  # Python limits the digits of an integer
            raise JobError(f"{path} has too many digits to write") from None
    if not math.isfinite(value):
        raise JobError(f"{path} is {value}: a run.xs file has no literal for it")
    digits = float.__repr__(value)
    if "e" in digits:
        from decimal import Decimal  # noqa: PLC0415 - rarely needed, and slow to import

        digits = f"{Decimal(digits):f}"
    return digits if "." in digits else f"{digits}.0"

"""Converts the table of a file with steps to a Chain."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from replicate_job.chain import Chain, Step
from replicate_job.errors import JobError
from replicate_job.jobfile.fields import RULES
from replicate_job.jobfile.flat import plain_json
from replicate_job.jobfile.runjob import did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_job.errors import JobFileError
    from replicate_job.jobfile.source import Source

_FILE = ("step", "title", "description")
_STEP = Step.__struct_fields__
_HEADER = re.compile(r"(?m)^[ \t]*\[\[[ \t]*step[ \t]*\]\]")


def to_chain(values: Mapping[str, Any], source: Source) -> Chain:
    """Make the chain. Raises JobFileError, which names the line on which a wrong step begins."""
    for name in values:
        if name not in _FILE:
            raise source.error(f"unknown name {shown(name)} beside the steps", hint=did_you_mean(name, _FILE))
    tables, title = values["step"], values.get("title", "")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise source.error("step must be an array of tables, each under [[step]]")
    if not isinstance(title, str):
        raise source.error(f"title must be a string, found {shown(title)}")
    places = [found.start() for found in _HEADER.finditer(source.text)]
    steps = []
    for number, table in enumerate(tables):
        steps.append(_step(table, source, places[number] if len(places) == len(tables) else None))
    try:
        return Chain(steps, title)
    except JobError as error:
        raise source.error(str(error)) from None


def _step(table: Mapping[str, Any], source: Source, at: int | None) -> Step:
    def wrong(message: str, hint: str = "") -> JobFileError:
        return source.error(f"step {shown(table.get('name', ''))}: {message}", at, hint)

    for name, value in table.items():
        if name not in _STEP:
            hint = did_you_mean(name, _STEP) or "inputs of the model itself belong in input"
            raise wrong(f"unknown name {shown(name)}", hint)
        good, wanted = RULES[{"name": "model", "for_each": "model", "input": "input_data"}.get(name, name)]
        if not good(value):
            raise wrong(f"{name} must be {wanted}, found {shown(value)}")
    for name in ("name", "model"):
        if name not in table:
            raise wrong(f"{name} is missing")
    return Step(**{**table, "input": plain_json(table.get("input", {}), "input", source, r"({})\b")})

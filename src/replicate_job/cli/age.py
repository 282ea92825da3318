"""Ages on the command line: how long ago something was made."""

from __future__ import annotations

import re
from typing import Any

import click

from replicate_job.wire.duration import parse_seconds

DAY = 24 * 3600
_DAYS = r"(?a)(\d{1,6})([dw])"


class Age(click.ParamType[int]):
    """The type of options for an age: ``30d``, ``2w``, ``12h`` or any other duration, converted to seconds."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        if days := re.fullmatch(_DAYS, value.strip()):
            return int(days[1]) * DAY * (7 if days[2] == "w" else 1)
        try:
            return parse_seconds(value)
        except ValueError:
            self.fail(f"{value!r} must be like 30d, 2w or 12h", param, ctx)

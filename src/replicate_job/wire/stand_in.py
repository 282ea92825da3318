"""The lines that a stand-in adds to a prediction's log.

The first line says that the model is a stand-in. Each further line names a part of the request that the stand-in left
out.
"""

from __future__ import annotations

import re

LEFT_OUT = "Stand-in: "
"""The beginning of a line about a part of a request that a stand-in left out."""

_NOTICE = r"\S+/\S+ is a stand-in\b,? ?(?P<what>[^:]*)"


def notice(slug: str, description: str) -> str:
    """The line that says that a model is a stand-in. The description begins with ``A stand-in``."""
    return f"{slug} is {description[:1].lower()}{description[1:]}"


def is_notice(line: str) -> bool:
    return re.match(_NOTICE, line) is not None


def notices(logs: str | None) -> list[str]:
    """The lines that say that a model is a stand-in."""
    return list(filter(is_notice, _lines(logs)))


def stand_in(logs: str | None) -> str:
    """The log's description of a stand-in, such as ``not FLUX; not painted: car``. Empty if the real model ran."""
    what, left_out = "", []
    for line in _lines(logs):
        if line.startswith(LEFT_OUT):
            left_out.append(line.removeprefix(LEFT_OUT))
        elif not what and (found := re.match(_NOTICE, line)):
            what = found["what"].strip(" .")
    return "; ".join([what or "not the model itself", *left_out]) if what or left_out else ""


def _lines(logs: str | None) -> list[str]:
    """The lines of the logs; empty if no line can be from a stand-in. So most logs need not be split."""
    return logs.splitlines() if logs and "tand-in" in logs else []

"""How far a model is, by the tqdm lines in its logs: `` 40%|████      | 4/10 [00:01<00:02, 2.9it/s]``."""

from __future__ import annotations

import re

import msgspec

_BAR = re.compile(r"(\d{1,3})%\|[^|\n\r]*\|\s*(\d+)/(\d+)")
_TAIL = 4096


class Progress(msgspec.Struct, frozen=True):
    """``fraction`` is in [0, 1]; ``current`` of ``total`` steps."""

    fraction: float
    current: int
    total: int


def read_progress(logs: str | None) -> Progress | None:
    """The last bar in the logs; None where there is none."""
    bars = _BAR.findall((logs or "")[-_TAIL:])
    if not bars:
        return None
    percent, current, total = map(int, bars[-1])
    return Progress(min(percent, 100) / 100, current, total)

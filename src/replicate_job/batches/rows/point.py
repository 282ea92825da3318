"""One combination of a grid: what it gives to a row, and what it adds to the row's name."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

_PLAIN_TEXT = re.compile(r"[\w.:/+-]{1,24}", re.ASCII)
_LONGEST = 80  # characters of a combination's name that shows its values


class Point(msgspec.Struct, frozen=True):
    """``number`` counts combinations from 0, ``values`` has a value for each name, and ``texts`` the same as texts.

    ``is_text``: the values take their types from the model's schema. ``model`` is empty for the job's own.
    """

    number: int
    values: dict[str, Any]
    texts: dict[str, str]
    is_text: bool
    model: str = ""

    @property
    def name(self) -> str:
        """What tells its row from those of other combinations, whatever else the grid holds; empty where nothing does.

        The job's own model adds nothing, so that its rows keep their names when a model is added.
        """
        parts = [f"{name}={text}" for name, text in sorted(self.texts.items())]
        if self.model:
            parts.insert(0, f"@{self.model}")
        is_plain = all(map(_PLAIN_TEXT.fullmatch, self.texts.values())) and len(",".join(parts)) <= _LONGEST
        if not parts or is_plain:
            return ",".join(parts)
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]

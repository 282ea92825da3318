"""A combination of a grid: the values that it sets in a row, and its part of the row's name."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

_PLAIN_TEXT = re.compile(r"[\w.:/+-]{1,24}", re.ASCII)
_LONGEST = 80  # a longer name of a combination is a hash of its values


class Point(msgspec.Struct, frozen=True):
    """A combination. ``number`` is its number in the grid, from 0.

    ``values`` has a value for each of the grid's names, ``texts`` has the values as texts.

    ``is_text``: the values get their types from the model's schema. ``model`` is empty for the job's own model.
    """

    number: int
    values: dict[str, Any]
    texts: dict[str, str]
    is_text: bool
    model: str = ""

    @property
    def name(self) -> str:
        """The combination's part of a row's name. It does not depend on the rest of the grid.

        The job's own model is not in the name, so that its rows keep their names when a model is added. The name is
        empty for this model without values.
        """
        parts = [f"{name}={text}" for name, text in sorted(self.texts.items())]
        if self.model:
            parts.insert(0, f"@{self.model}")
        is_plain = all(map(_PLAIN_TEXT.fullmatch, self.texts.values())) and len(",".join(parts)) <= _LONGEST
        if not parts or is_plain:
            return ",".join(parts)
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]

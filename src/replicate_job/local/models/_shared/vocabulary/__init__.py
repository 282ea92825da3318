"""A prompt against tables of words: what is asked for, what was understood, what was not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_WORD = re.compile(r"\w(?:[\w#♯♭&'\u2019-]*[\w#♯♭])?")


class Prompt:
    """``text`` is the prompt in small letters."""

    def __init__(self, text: str) -> None:
        self.text = text.lower()
        self._words = tuple(dict.fromkeys(_WORD.findall(self.text)))
        self._known: set[str] = set()

    def names(self, table: Mapping[str, str], part: str | None = None) -> list[str]:
        """Names in a table whose pattern occurs in the prompt, or in that part of it, in the table's order."""
        found = []
        for name, pattern in table.items():
            hits = re.findall(rf"\b(?:{pattern})(?:s|es)?\b", self.text if part is None else part)
            if hits:
                found.append(name)
                self.understand(" ".join(hits))
        return found

    def understand(self, said: str) -> None:
        """Count the words of ``said`` as understood; those that ``names`` finds are."""
        self._known.update(_WORD.findall(said))

    @property
    def understood(self) -> tuple[str, ...]:
        return tuple(word for word in self._words if word in self._known)

    def missed(self, small: Collection[str]) -> tuple[str, ...]:
        """The words that were not understood, without those that ask for nothing in particular."""
        return tuple(word for word in self._words if word not in self._known and word not in small)

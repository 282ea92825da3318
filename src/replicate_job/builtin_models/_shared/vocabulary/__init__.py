"""Compares a prompt with tables of words: finds the things that it asks for, and records which words were used."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_WORD = re.compile(r"\w(?:[\w#♯♭&'\u2019-]*[\w#♯♭])?")


class Prompt:
    """A prompt. ``text`` is in lower case. ``find`` finds words, and ``did`` marks words as used (``done``)."""

    def __init__(self, text: str) -> None:
        self.text = text.lower()
        self._words = tuple(dict.fromkeys(_WORD.findall(self.text)))
        self._done: set[str] = set()

    def find(self, table: Mapping[str, str], part: str | None = None) -> dict[str, str]:
        """Maps each name in ``table`` whose pattern occurs in ``part`` (None: the prompt) to the matching words."""
        text, found = self.text if part is None else part, {}
        for name, pattern in table.items():
            if hits := re.findall(rf"\b(?:{pattern})(?:s|es)?\b", text):
                found[name] = " ".join(hits)
        return found

    def did(self, said: str) -> None:
        """Mark the words of ``said`` as used."""
        self._done.update(_WORD.findall(said))

    @property
    def done(self) -> tuple[str, ...]:
        return tuple(word for word in self._words if word in self._done)

    def missed(self, small: Collection[str]) -> tuple[str, ...]:
        """The words that are neither used nor in ``small``."""
        return tuple(word for word in self._words if word not in self._done and word not in small)

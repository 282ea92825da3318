"""Lines that thousands of jobs may say: one of a kind is told a minute, and how many more there were."""

from __future__ import annotations

import re

import msgspec

MINUTE = 60.0
"""Seconds in which a kind is told once."""
KINDS = 20
"""How many kinds are told a minute, at most."""

_BEGINNING = 300
"""Characters that decide the kind: what follows may be a page that a server sent."""
_QUOTED = re.compile(r"""(?<!\w)(['"`]).*?\1(?!\w)""")
_DIGIT = re.compile(r"\d")


def kind_of(line: str) -> str:
    """The line without what differs from job to job: quoted text, and each word that has a digit in it."""
    words = _QUOTED.sub("'", line[:_BEGINNING]).split()
    return " ".join("#" if _DIGIT.search(word) else word for word in words)


class _Kind(msgspec.Struct):
    """``told`` is when; ``more`` lines have come since, ``line`` being the last."""

    line: str
    told: float
    more: int = 0


class Repeats:
    """Any ``now`` is in seconds, of a clock that only grows."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}
        self._crowded, self._others = 0.0, 0

    def hear(self, line: str, now: float) -> bool:
        """Whether to tell it at once; else it is counted, and ``due`` later."""
        kind = kind_of(line)
        if heard := self._kinds.get(kind):
            heard.line, heard.more = line, heard.more + 1
        elif len(self._kinds) < KINDS:
            self._kinds[kind] = _Kind(line, now)
            return True
        else:
            self._crowded = self._crowded if self._others else now
            self._others += 1
        return False

    def due(self, now: float) -> list[str]:
        """What was counted, of each kind that was last told a minute ago."""
        lines = []
        for name, kind in list(self._kinds.items()):
            if now - kind.told < MINUTE:
                continue
            if kind.more:
                lines.append(kind.line + (f" (and {kind.more - 1:,} more like it)" if kind.more > 1 else ""))
                kind.told, kind.more = now, 0
            else:
                del self._kinds[name]
        if self._others and now - self._crowded >= MINUTE:
            lines.append(f"{self._others:,} more, of other kinds: -v tells each")
            self._others = 0
        return lines

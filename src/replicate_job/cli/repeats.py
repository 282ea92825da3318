"""Limits warnings that thousands of jobs may repeat: it shows one of each kind a minute, and counts the others."""

from __future__ import annotations

import re

import msgspec

MINUTE = 60.0
"""The fewest seconds between two shown lines of the same kind."""
KINDS = 20
"""The most kinds that are shown in a minute."""

_BEGINNING = 300
"""How many leading characters decide the kind. The other characters may be a whole page from a server."""
_QUOTED = re.compile(r"""(?<!\w)(['"`]).*?\1(?!\w)""")
_DIGIT = re.compile(r"\d")


def kind_of(line: str) -> str:
    """The line without the parts that differ between jobs: quoted texts, and words with a digit."""
    words = _QUOTED.sub("'", line[:_BEGINNING]).split()
    return " ".join("#" if _DIGIT.search(word) else word for word in words)


class _Kind(msgspec.Struct):
    """A kind of warning.

    ``shown_at`` is the time when a line of this kind was last shown. ``more`` is the number of lines since then, and
    ``line`` is the latest of them.
    """

    line: str
    shown_at: float
    more: int = 0


class Repeats:
    """Decides which warnings to show. Each ``now`` is in seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}
        self._crowded, self._others = 0.0, 0

    def is_new(self, line: str, now: float) -> bool:
        """Whether to show the line now. If not, it is counted, and ``due`` returns a line with the count later."""
        kind = kind_of(line)
        if known := self._kinds.get(kind):
            known.line, known.more = line, known.more + 1
        elif len(self._kinds) < KINDS:
            self._kinds[kind] = _Kind(line, now)
            return True
        else:
            self._crowded = self._crowded if self._others else now
            self._others += 1
        return False

    def due(self, now: float) -> list[str]:
        """One line for each kind that was last shown a minute ago or earlier, and has had more lines since then.

        Lines of kinds beyond the first ``KINDS`` are counted together in one more line.
        """
        lines = []
        for name, kind in list(self._kinds.items()):
            if now - kind.shown_at < MINUTE:
                continue
            if kind.more:
                lines.append(kind.line + (f" (and {kind.more - 1:,} more like it)" if kind.more > 1 else ""))
                kind.shown_at, kind.more = now, 0
            else:
                del self._kinds[name]
        if self._others and now - self._crowded >= MINUTE:
            lines.append(f"{self._others:,} more, of other kinds: -v shows each")
            self._others = 0
        return lines

"""The fenced blocks of a Markdown page, and what the HTML comments above them ask for."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(
    r"(?P<comments>(?:^<!--(?:(?!-->).)*-->\n+)*)"
    r"^(?P<indent> *)```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
COMMENT = re.compile(r"<!-- ((?:(?!-->).)*?)(?:: ((?:(?!-->).)*))? -->", re.DOTALL)
ASKS = {"not run", "exits", "background", "with", "output"}
"""``not run: why``. ``exits: 1``, where it is not 0. ``background``: it runs until the page ends or another does.
``with: replicate==1.0.7``: a package that it needs. ``output``: what the block before printed; … is any text.
"""


class Block(msgspec.Struct, frozen=True):
    """``line`` is the line of its first fence, from 1. ``asks`` maps a comment's first word to its rest."""

    page: Path
    line: int
    language: str
    text: str
    asks: dict[str, str]

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str:
        """The name of the file that the block shows, if its first line is a comment with that name; otherwise empty."""
        found = re.match(r"(?:#|//|run\.job .*//) ?([\w./-]+\.\w+)\n", self.text)
        return found[1] if found else ""


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    content = page.read_text("utf-8")
    return [
        Block(
            page,
            content.count("\n", 0, found.start("language")) + 1,
            found["language"],
            found["text"],
            {asked[1]: asked[2] or "" for asked in COMMENT.finditer(found["comments"])},
        )
        for found in FENCE.finditer(content)
    ]

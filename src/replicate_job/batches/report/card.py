"""What a report shows of single results: a few, spread over the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from replicate_job.job import Result
from replicate_job.outputs.discover import as_text, find_files

LIMIT = 60
"""Cards of a report."""

_TEXT = 400  # characters shown
_PROMPT = 240


class Card(msgspec.Struct, frozen=True):
    """One result that succeeded. ``urls`` are those of an output that was not saved; ``latency`` is in seconds."""

    line: int
    prompt: str
    text: str
    files: tuple[Path, ...]
    urls: tuple[str, ...]
    latency: float | None


class Cards:
    """Every n-th result that can be shown, where n grows with the batch."""

    def __init__(self) -> None:
        self._cards: list[Card] = []
        self._seen, self._stride = 0, 1

    def add(self, result: Result, latency: float | None) -> None:
        if result.status != "succeeded" or (not result.files and result.output in (None, "", [], {})):
            return
        card = _card(result, latency)
        if not (card.files or card.urls or card.text):  # a text of blanks shows nothing
            return
        if self._seen % self._stride == 0:
            self._cards.append(card)
        self._seen += 1
        if len(self._cards) > 2 * LIMIT:
            self._cards, self._stride = self._cards[::2], self._stride * 2

    def chosen(self) -> list[Card]:
        """``LIMIT`` of them at most, evenly, in the order of their rows."""
        many = min(LIMIT, len(self._cards))
        chosen = [self._cards[at * len(self._cards) // many] for at in range(many)]
        return sorted(chosen, key=lambda card: card.line)


def _card(result: Result, latency: float | None) -> Card:
    urls = () if result.files else tuple(file.url for file in find_files(result.output) if _is_web(file.url))
    text = "" if result.files or urls else _cut(_words(result.output), _TEXT)
    return Card(result.line, _cut(prompt_of(result.input), _PROMPT), text, result.files, urls, latency)


def prompt_of(given: dict[str, Any]) -> str:
    """The first input that is text, and no address."""
    texts = (value for value in given.values() if isinstance(value, str) and value.strip())
    return next((text for text in texts if not (_is_web(text) or text.startswith("data:"))), "")


def _words(output: Any) -> str:
    return as_text(output) or msgspec.json.encode(output, enc_hook=str).decode()


def _is_web(text: str) -> bool:
    return text[:8].lower().startswith(("https://", "http://"))


def _cut(text: str, length: int) -> str:
    text = text.strip()
    return text if len(text) <= length else text[:length].rstrip() + "…"

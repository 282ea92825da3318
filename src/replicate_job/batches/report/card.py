"""The few results that a report shows, spread over the batch."""

from __future__ import annotations

from typing import Any

import msgspec

from replicate_job.job import Kept, Result
from replicate_job.outputs.discover import as_text, find_files

LIMIT = 60
"""The most cards of a report."""

_TEXT = 400  # the most characters of a text that are shown
_PROMPT = 240


class Card(msgspec.Struct, frozen=True):
    """A result that succeeded. ``urls`` are the URLs of files that were not saved; ``latency`` is in seconds.

    ``stand_in`` is shortened from ``Result.stand_in``. ``steps`` are the names of a chain's steps, each with its card.
    """

    line: int
    prompt: str
    text: str
    files: tuple[Kept, ...]
    urls: tuple[str, ...]
    latency: float | None
    stand_in: str = ""
    steps: tuple[tuple[str, Card], ...] = ()


class Cards:
    """Chooses every n-th result that can be shown. n grows with the batch, so memory does not grow."""

    def __init__(self) -> None:
        self._cards: list[Card] = []
        self._seen, self._stride = 0, 1

    def add(self, result: Result, latency: float | None) -> None:
        if result.status != "succeeded" or (not result.files and result.output in (None, "", [], {})):
            return
        card = read_card(result, latency)
        if not (card.files or card.urls or card.text):  # the output is only white space
            return
        if self._seen % self._stride == 0:
            self._cards.append(card)
        self._seen += 1
        if len(self._cards) > 2 * LIMIT:
            # The cards stay evenly spread: every second card is dropped, and from now on half as many results are
            # taken.
            self._cards, self._stride = self._cards[::2], self._stride * 2

    def chosen(self) -> list[Card]:
        """At most ``LIMIT`` cards, evenly spread over the batch, in the order of their rows."""
        number = min(LIMIT, len(self._cards))
        chosen = [self._cards[index * len(self._cards) // number] for index in range(number)]
        return sorted(chosen, key=lambda card: card.line)


def read_card(result: Result, latency: float | None) -> Card:
    steps = tuple((name, read_card(step, None)) for name, step in result.steps.items())
    urls = () if result.files else tuple(file.url for file in find_files(result.output) if _is_web(file.url))
    text = "" if result.files or urls else _cut(_words(result.output), _TEXT)
    prompt, stand_in = _cut(prompt_of(result.predictions[0].input), _PROMPT), _cut(result.stand_in, _TEXT)
    return Card(result.line, prompt, text, result.files, urls, latency, stand_in, steps)


def prompt_of(inputs: dict[str, Any]) -> str:
    """The input ``prompt``, or else the longest text that is not a URL.

    A short choice (``16:9``) does not identify a row.
    """
    texts = {name: value for name, value in inputs.items() if isinstance(value, str) and value.strip()}
    told = {name: text for name, text in texts.items() if not (_is_web(text) or text.startswith("data:"))}
    return told.get("prompt") or max(told.values(), key=len, default="")


def _words(output: Any) -> str:
    return as_text(output) or msgspec.json.encode(output, enc_hook=str).decode()


def _is_web(text: str) -> bool:
    return text[:8].lower().startswith(("https://", "http://"))


def _cut(text: str, length: int) -> str:
    text = text.strip()
    return text if len(text) <= length else text[:length].rstrip() + "…"

"""The form of the lines on stderr: text for people, or JSON objects for programs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import click

from replicate_job.flow.subject import Subject, facts
from replicate_job.terminal import plain

FORMS = ("text", "json")
VARIABLE = "REPLICATE_JOB_LOG_FORMAT"
_OPTION = "--log-format"
_LEVELS = ("error", "warning")
"""A line that begins with one of these words and a colon has the word as its level."""


class Log:
    """Formats the lines on stderr.

    ``about`` maps names to values: fields for every line of JSON. The fields of a line about another job replace them.
    """

    def __init__(self) -> None:
        self.is_json = False
        self.about: Mapping[str, str] = {}

    def choose(self, words: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
        """Read the form from the command line, else from the environment. Raises UsageError for an unknown form.

        It is called before click parses the command line, so that click's errors have this form too.
        """
        own = words[: words.index("--")] if "--" in words else words
        chosen = environment.get(VARIABLE, "").strip()
        for place, word in enumerate(own):
            if word == _OPTION and place + 1 < len(own):
                chosen = own[place + 1]
            elif word.startswith(f"{_OPTION}="):
                chosen = word.partition("=")[2]
        self.is_json = chosen == "json"
        if chosen and chosen not in FORMS and not any(word.startswith(_OPTION) for word in own):
            raise click.UsageError(f"{VARIABLE} is {chosen!r}: it must be text or json")

    def concern(self, subject: Subject) -> None:
        self.about = subject.facts()

    def form(self, line: str, level: str, known: Mapping[str, str]) -> str:
        """Format a line as text or JSON. ``known`` has more fields for JSON.

        If ``level`` is empty, it is the word of ``_LEVELS`` at the line's start, or ``info`` if there is no such word.
        """
        if not self.is_json:
            return plain(line)
        import msgspec  # noqa: PLC0415 - only JSON needs it

        found = next((word for word in _LEVELS if line.startswith(f"{word}: ")), "")
        told = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": level or found or "info",
            "message": line.removeprefix(f"{found}: "),
        }
        return msgspec.json.encode({**told, **self.about, **facts(), **known}).decode()


LOG = Log()
"""The log of this process."""

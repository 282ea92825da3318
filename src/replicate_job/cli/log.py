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
"""A line's level is the word before its first colon, if it is one of these."""


class Log:
    """Formats lines. ``about`` has the fields of every line of JSON, unless the line is about another job."""

    def __init__(self) -> None:
        self.is_json = False
        self.about: Mapping[str, str] = {}

    def choose(self, words: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
        """Take the form from the command line, else from the environment. Raises UsageError for an unknown form.

        Called before click parses the command line, so that click's errors have this form too.
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
        """The formatted line. An empty ``level`` is replaced by the word at the line's start, else by ``info``."""
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

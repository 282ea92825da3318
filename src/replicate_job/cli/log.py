"""The form of the lines on stderr: text for people, or JSON objects for machines."""

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
"""Words that lines begin with, before a colon."""


class Log:
    """``about`` is what all lines of the command are about, unless they are about a job of their own."""

    def __init__(self) -> None:
        self.is_json = False
        self.about: Mapping[str, str] = {}

    def choose(self, words: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
        """Take the form that the command line asks for, else the environment. Raises UsageError for another.

        It comes before click's reading, whose errors have that form too.
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
            raise click.UsageError(f"{VARIABLE} is {chosen!r}: it is text or json")

    def concern(self, subject: Subject) -> None:
        self.about = subject.facts()

    def form(self, line: str, level: str, known: Mapping[str, str]) -> str:
        """The line as it is written. ``level`` is by default the word that it begins with, else ``info``."""
        if not self.is_json:
            return plain(line)
        import msgspec  # noqa: PLC0415 - for this form alone

        found = next((word for word in _LEVELS if line.startswith(f"{word}: ")), "")
        told = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": level or found or "info",
            "message": line.removeprefix(f"{found}: "),
        }
        return msgspec.json.encode({**told, **self.about, **facts(), **known}).decode()


LOG = Log()
"""Of this process."""

"""The text of a job file, and the offset of each name in it."""

from __future__ import annotations

from replicate_job.errors import JobFileError


class Source:
    """A job file. ``text`` has no byte order mark, and only newlines at the ends of lines.

    ``marks`` maps a name to its offset in ``text``, for errors found after parsing. The names are ``title``,
    ``function``, ``env``, ``description``, ``input``, and ``input.NAME`` for each name in the function's input. A name
    whose offset is uncertain is left out.
    """

    def __init__(self, text: str, file: str) -> None:
        self.text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        self.file = file
        self.marks: dict[str, int] = {}

    def error(self, message: str, at: int | None = None, hint: str = "") -> JobFileError:
        """The error to raise for the text at the offset ``at``."""
        if at is None:
            return JobFileError(message, file=self.file, hint=hint)
        line = self.text.count("\n", 0, at) + 1
        column = at - self.text.rfind("\n", 0, at)
        return JobFileError(message, file=self.file, line=line, column=column, hint=hint)

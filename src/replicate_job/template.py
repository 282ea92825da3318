"""Templates: text with names in braces, ``out/{model}/{line}-{name}``. An error names the column in the text.

``{{`` and ``}}`` stand for braces. No I/O. The caller decides which names exist.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

import msgspec

from replicate_job.base_errors import JobError

_PIECE = r"\{\{|\}\}|\{(?P<name>[^{}]*)\}|[{}]|[^{}]+"


class Field(msgspec.Struct, frozen=True):
    """A name in braces. ``column`` is the position of its opening brace, from 1."""

    name: str
    column: int


class Template(msgspec.Struct, frozen=True):
    """A template that was read. ``str`` returns text that can be read again."""

    parts: tuple[str | Field, ...]

    def __str__(self) -> str:
        return "".join(f"{{{part.name}}}" if isinstance(part, Field) else escape(part) for part in self.parts)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(part.name for part in self.parts if isinstance(part, Field))

    def check(self, known: Collection[str]) -> None:
        """Raise JobError for the first name that is not ``known``."""
        for part in self.parts:
            if isinstance(part, Field) and part.name not in known:
                raise _wrong(str(self), part.column, f"there is no {{{part.name}}}{_similar(part.name, known)}")

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with all values filled in. Raises JobError for a name without a value."""
        self.check(values)
        return "".join(values[part.name] if isinstance(part, Field) else part for part in self.parts)

    def fill_some(self, values: Mapping[str, str]) -> Template:
        """The template with these names filled in. Braces in a value stay text."""
        return Template(
            _joined(values.get(part.name, part) if isinstance(part, Field) else part for part in self.parts)
        )


def has_braces(text: str) -> bool:
    return "{" in text or "}" in text


def escape(text: str) -> str:
    """Escape the text for use in a template."""
    return text.replace("{", "{{").replace("}", "}}")


def read_template(text: str) -> Template:
    """Read a template. Raises JobError for an unpaired brace, and for empty braces."""
    parts: list[str | Field] = []
    for found in re.finditer(_PIECE, text):
        piece, column, name = found[0], found.start() + 1, found["name"]
        if piece in {"{", "}"}:
            missing = "is not closed" if piece == "{" else "closes nothing"
            raise _wrong(text, column, f"this {piece} {missing} (write {piece * 2} for a {piece} itself)")
        if name is not None:
            if not name:
                raise _wrong(text, column, "there is no name in these braces")
            parts.append(Field(name, column))
        else:
            parts.append(piece[0] if piece in {"{{", "}}"} else piece)
    return Template(_joined(parts))


def _joined(parts: Iterable[str | Field]) -> tuple[str | Field, ...]:
    """Join neighboring texts among the parts."""
    joined: list[str | Field] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return tuple(joined)


def _wrong(text: str, column: int, what: str) -> JobError:
    return JobError(f"in {text!r}, column {column}: {what}")


def _similar(name: str, known: Collection[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only an error needs it

    close = get_close_matches(name, known, n=1)
    question = f"; did you mean {{{close[0]}}}?" if close else ";"
    return f"{question} There are {', '.join(f'{{{each}}}' for each in known)}"

"""``@path`` in an input: a file to send or the text of a file, by the model's schema."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from replicate_job.errors import JobError
from replicate_job.folders import expand
from replicate_job.inputs.pairs import input_schemas, type_name
from replicate_job.wire.openapi import Schema, alternatives, secret_inputs

LARGEST_TEXT = 4 * 1024**2
"""The most bytes of a file whose text becomes an input. Models read shorter texts, and a request may be larger."""

_ESCAPE = "(text that starts with @ is written @@…)"
_END = r"\r?\n\Z"
_LONGEST = 40  # the most characters of a text that a message repeats


class Reading(msgspec.Struct, frozen=True):
    """How a text with ``@`` was read. ``where`` is the input, like ``images[1]``; ``text`` is the user's whole text.

    ``kind`` is ``file`` (a file to send), ``text`` (the text of a file), ``typed`` (the file does not exist, so the
    text is sent as it is) or ``escaped`` (``@@``, so the text is sent without its first ``@``). The text of a secret
    (``is_secret``) is not shown.
    """

    where: str
    kind: Literal["file", "text", "typed", "escaped"]
    text: str
    is_secret: bool = False

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= _LONGEST else f"{self.text[:_LONGEST]}…"
        if self.kind == "typed" and self.is_secret:
            return f"{self.where}: the secret is sent as it is, for there is no file of that name"
        if self.kind == "typed":
            return f"{self.where}: {shown!r} is sent as it is, for there is no such file"
        return f"{self.where}: the text of the file {shown[1:]}"


class Readings:
    """Counts the readings of many rows by input and kind."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._seen: set[tuple[str, str]] = set()

    def add(self, reading: Reading) -> bool:
        """Count the reading. Return whether it is the first reading of its kind for its input."""
        kind = (reading.where.partition("[")[0], reading.kind)
        is_first = kind not in self._seen
        self._seen.add(kind)
        self._counts[kind] += 1
        return is_first

    def restart(self) -> None:
        """Reset all counts to zero, before the same rows are read again."""
        self._counts.clear()

    def lines(self) -> list[str]:
        """Lines that a command prints at its end, one for each input and kind."""
        return [
            f"{name}: {count:,} × {_COUNTED[kind]}"  # noqa: RUF001 - times
            for (name, kind), count in sorted(self._counts.items())
        ]


_COUNTED = {
    "file": "a local file (@path)",
    "text": "the text of a local file (@path)",
    "typed": "text that starts with @, sent as it is, for there is no such file",
    "escaped": "text that starts with @@, sent as @",
}


class AtPaths:
    """Reads the texts that start with ``@`` in the inputs of one model.

    - For an input that takes a file or any type, ``@path`` is that file as a ``pathlib.Path``. The file must exist.
    - For an input that takes text, ``@path`` is the text of that file (UTF-8, without the newline at its end). If the
      file does not exist, the text is not changed.
    - ``@@name`` is the text ``@name`` in both kinds of inputs. In other inputs, such as numbers, ``@`` has no meaning.

    A path is relative to the working directory; ``~`` is the home directory. The items of a list are read one by one.
    ``document`` is the model's OpenAPI document, None if not known. With ``within``, text is read only from files in or
    below these folders. ``observe`` is called with each reading.
    """

    def __init__(
        self,
        document: Mapping[str, Any] | None,
        *,
        within: Sequence[Path] = (),
        observe: Callable[[Reading], None] = lambda _: None,
    ) -> None:
        self._document = document or {}
        self._inputs, self._secrets = input_schemas(document), secret_inputs(document)
        self._within = [folder.resolve() for folder in within]
        self._observe = observe

    def read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of the input in which every text with ``@`` is read. Raises one JobError that names every problem."""
        problems: list[str] = []
        read = {name: self._read_input(name, value, problems) for name, value in values.items()}
        if problems:
            raise JobError("; ".join(problems))
        return read

    def _read_input(self, name: str, value: Any, problems: list[str]) -> Any:
        if not has_at(value):
            return value
        try:
            schemas = list(alternatives(self._document, self._inputs.get(name)))
            return self._read(name, value, schemas, problems)
        except RecursionError:  # a schema or a list that contains itself
            return value

    def _read(self, where: str, value: Any, schemas: list[Schema], problems: list[str]) -> Any:
        if isinstance(value, list):
            items = list(self._items(schemas))
            return [self._read(f"{where}[{index}]", item, items, problems) for index, item in enumerate(value)]
        takes_file, takes_text = any(map(_takes_file, schemas)), any(map(_takes_text, schemas))
        if not has_at(value) or not (takes_file or takes_text):
            return value
        try:
            reading, read = self._resolve(where, value, takes_file=takes_file, takes_text=takes_text)
        except JobError as problem:
            problems.append(f"{where}: {problem} {_ESCAPE}")
            return value
        if where in self._secrets:
            reading = msgspec.structs.replace(reading, is_secret=True)
        self._observe(reading)
        return read

    def _items(self, schemas: list[Schema]) -> Iterator[Schema]:
        for schema in schemas:
            if type_name(schema) in {"", "array"}:
                yield from alternatives(self._document, schema.get("items"))

    def _resolve(self, where: str, text: str, *, takes_file: bool, takes_text: bool) -> tuple[Reading, Any]:
        if text.startswith("@@"):
            return Reading(where, "escaped", text), text[1:]
        if not takes_text:
            return Reading(where, "file", text), local_file(text[1:])
        path = existing_file(text[1:])
        if path is None:
            return Reading(where, "typed", text), text
        if takes_file:
            return Reading(where, "file", text), path
        return Reading(where, "text", text), self._read_text(path)

    def _read_text(self, path: Path) -> str:
        if self._within and not any(map(path.resolve().is_relative_to, self._within)):
            raise JobError(
                f"{path} is outside of the folders from which a row may take text: run the command in a folder that "
                "holds it"
            )
        try:
            if path.stat().st_size > LARGEST_TEXT:
                raise JobError(f"{path} is longer than the {LARGEST_TEXT // 1024**2} MB that a text may have")
            return re.sub(_END, "", path.read_bytes().decode("utf-8-sig"))
        except OSError as error:
            raise JobError(f"{path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise JobError(f"{path} is not UTF-8 text (byte {error.start + 1}), and this input takes text") from None


def has_at(value: Any) -> bool:
    """Whether the value is a text that starts with ``@``, or a list with such a text."""
    if isinstance(value, list):
        try:
            return any(map(has_at, value))
        except RecursionError:
            return False
    return isinstance(value, str) and value[:1] == "@"


def existing_file(text: str) -> Path | None:
    """The file that ``@text`` names; None if there is no such file, since any text may start with ``@``."""
    try:
        path = expand(text)
        return path if text and path.is_file() else None
    except (JobError, OSError, ValueError):  # no home folder, a name too long, a null byte
        return None


def local_file(text: str) -> Path:
    """The file that ``@text`` names. Raises JobError if the file is missing or cannot be read."""
    try:
        path = expand(text)
        if not text or not path.exists():
            problem = f"there is no file {text!r}"
        elif not path.is_file():
            problem = f"{text} is not a file"
        elif not os.access(path, os.R_OK):
            problem = f"{text} may not be read"
        else:
            return path
    except (OSError, ValueError) as error:  # a name too long, a null byte
        problem = f"{text!r} names no file: {error}"
    raise JobError(problem)


def _takes_file(schema: Schema) -> bool:
    return schema.get("format") == "uri" or not type_name(schema)


def _takes_text(schema: Schema) -> bool:
    return schema.get("format") != "uri" and type_name(schema) == "string"

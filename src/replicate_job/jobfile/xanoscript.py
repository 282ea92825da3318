r"""Parses the text of XanoScript's ``run.job`` to a RunJob.

The grammar is in ``xanoscript.lark``. This module converts its tokens to values. It also refuses errors that a grammar
cannot find: duplicate keys, unknown attributes, ``\u`` escapes, numbers that do not fit.
"""

from __future__ import annotations

import functools
import math
import re
from typing import TYPE_CHECKING, Any, cast

from lark import Lark, Token, UnexpectedInput

from replicate_job.jobfile.diagnosis import diagnose, open_brackets
from replicate_job.jobfile.runjob import MAX_DEPTH, RunJob, did_you_mean, make_run_job, shown
from replicate_job.jobfile.source import Source

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from lark import Tree

_FIELDS = {"name": "function", "input": "input"}
_CALLED = {"function": "main.name", "input": "main.input"}
_OUTSIDE = 2  # the braces of run.job and of main, which do not count as nesting
_CONSTANTS = {"true": True, "false": False, "null": None}
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "v": "\v", "b": "\b", "f": "\f"}
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|([0-7]{3})|(.))", re.DOTALL)
_SINGLE_ESCAPE = re.compile(r"\\([\\'])")


def parse(text: str, *, file: str = "<string>") -> RunJob:
    """Read the ``run.job`` of any function.

    Raises JobFileError, with ``file``, line and column, if the text is not exactly one ``run.job`` with a ``main``.
    """
    return read(Source(text, file))


def read(source: Source) -> RunJob:
    """Parse the text, and record the places of names in ``source.marks``."""
    parser = _parser()
    try:
        tree = parser.parse(source.text)
    except UnexpectedInput as error:
        raise diagnose(source, error) from None
    return _run_job(tree, source)


@functools.cache
def _parser() -> Lark:
    return Lark.open("xanoscript.lark", rel_to=__file__, parser="lalr", maybe_placeholders=False)


def _run_job(tree: Tree[Token], source: Source) -> RunJob:
    reader = _Reader(source)
    start, title, *nodes = cast("list[Any]", tree.children)
    attributes = reader.named(nodes, ("main", "env", "description"), "run.job")
    if "main" not in attributes:
        hint = 'write main = { name: "…", input: { … } }'
        raise source.error("found a run.job without main, which names the function to run", start.start_pos, hint)
    at, main = attributes.pop("main")
    if isinstance(main, Token) or main.data != "object":
        raise source.error("main must be an object with name and input", at)
    values: dict[str, Any] = {"title": reader.value(title.children[0])}
    for name, (key, node) in attributes.items():
        source.marks[name] = key
        values[name] = reader.value(node, depth=0)
    for name, (key, node) in reader.named(main.children, _FIELDS, "main").items():
        source.marks[_FIELDS[name]] = key
        values[_FIELDS[name]] = reader.value(node)
        if name == "input" and isinstance(values["input"], dict):
            source.marks.update((f"input.{k}", start) for k, (start, _) in reader.pairs(node.children).items())
    if "function" not in values:
        raise source.error("found main without name, which is the function to run", at, 'write name: "…"')
    return make_run_job(values, source, _CALLED)


class _Reader:
    """Converts parts of the syntax tree to Python values."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def value(self, node: Any, depth: int = 1) -> Any:
        if isinstance(node, Token):
            return self.scalar(node)
        if depth > MAX_DEPTH:
            at = open_brackets(self.source.text, MAX_DEPTH + _OUTSIDE)[-1]
            raise self.source.error(f"found objects and arrays more than {MAX_DEPTH} deep, expected fewer", at)
        if node.data == "array":
            items = []
            for child in node.children:  # no comprehension: it would add a Python frame for each level
                items.append(self.value(child, depth + 1))  # noqa: PERF401
            return items
        result = {}
        for name, (_, child) in self.pairs(node.children).items():
            result[name] = self.value(child, depth + 1)
        return result

    def pairs(self, nodes: Iterable[Any]) -> dict[str, tuple[int, Any]]:
        """Maps each name to the offset of its key and the node of its value. Refuses a duplicate name."""
        found: dict[str, tuple[int, Any]] = {}
        for key, value in (node.children for node in nodes):
            name = str(key) if key.type in {"KEY", "NAME"} else self.scalar(key)
            if name in found:
                raise self.source.error(f"found a second {shown(name)}, expected each key once", key.start_pos)
            found[name] = (key.start_pos, value)
        return found

    def named(self, nodes: Iterable[Any], names: Collection[str], where: str) -> dict[str, tuple[int, Any]]:
        """The same mapping as ``pairs``. Refuses a name that is not in ``names``; the error shows ``where``."""
        found = self.pairs(nodes)
        for name, (at, _) in found.items():
            if name not in names:
                *most, last = names
                message = f"found {shown(name)} in {where}, expected {', '.join(most)} or {last}"
                raise self.source.error(message, at, did_you_mean(name, names))
        return found

    def scalar(self, token: Token) -> Any:
        match token.type:
            case "DOUBLE":
                return _ESCAPE.sub(functools.partial(self.escape, token), token[1:-1])
            case "SINGLE":
                return _SINGLE_ESCAPE.sub(r"\1", token[1:-1])
            case "BLOCK":
                return self.block(token)
            case "NUMBER":
                return self.number(token)
            case "CONSTANT":
                return _CONSTANTS[token]
        return str(token)

    def escape(self, token: Token, found: re.Match[str]) -> str:
        code = int(found[1], 16) if found[1] else int(found[2], 8) if found[2] else None
        if code is not None:
            return chr(code)
        if found[3] == "u":
            at = (token.start_pos or 0) + 1 + found.start()
            message = r"found a \u escape, expected \n \t \r \a \v \b \f \xHH or \ooo"
            raise self.source.error(message, at, r"tools disagree on what \u means here: write the character itself")
        return _LETTERS.get(found[3], found[3])

    def block(self, token: Token) -> str:
        """The text of a block, without the last newline. The closing quotes' indent is removed from each line."""
        *lines, indent = token[:-3].split("\n")[1:]
        at = (token.start_pos or 0) + len(token) - 3
        if indent.strip(" \t"):
            raise self.source.error('found text before closing """, expected them on a line of their own', at)
        if any(line.strip(" \t") and not line.startswith(indent) for line in lines):
            raise self.source.error(
                'found a line indented less than the closing """, expected at least their indent', at
            )
        return "\n".join(line.removeprefix(indent) if line.strip(" \t") else line[len(indent) :] for line in lines)

    def number(self, token: Token) -> int | float:
        try:
            number = float(token) if "." in token else int(token)
        except ValueError:  # Python limits the digits of an integer
            number = math.inf
        if abs(number) == math.inf:  # math.isinf fails for an integer too long for a float
            raise self.source.error(
                f"found a number of {len(token)} characters, expected one that fits", token.start_pos
            )
        return number

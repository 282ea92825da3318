"""A model's Python packages, as lines of a requirements file and options for ``uv``.

In a requirements file, ``uv`` accepts fewer options than ``pip``, and the other options become its arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

_COGS_OWN = re.compile(r"(cog|coglet)(?=$|[\s\[=<>!~@;])", re.IGNORECASE)
_COMMENT = re.compile(r"(^|\s)#.*")
_VALUED = "-f -i --find-links --index-url --extra-index-url --trusted-host --no-binary --only-binary --use-feature"
_FLAGS = "--pre --no-index --prefer-binary --no-cache-dir -U --upgrade --no-deps"
# In Cog projects, options may also follow a package, and a line may have several options. All other options, such as
# --hash, stay in the package's line.
_OPTION = re.compile(
    rf"(?<!\S)(?:({_VALUED.replace(' ', '|')})(?:\s*=\s*|\s+)(\S+)|({_FLAGS.replace(' ', '|')}))(?!\S)"
)
_FOR_UV = {
    "--pre": ("--prerelease", "allow"),
    "--no-deps": ("--no-deps",),
    "-U": ("--upgrade",),
    "--upgrade": ("--upgrade",),
    "--trusted-host": ("--allow-insecure-host",),
}
_LOCAL = re.compile(r"((?:-r|-c|-f|-e|--requirement|--constraint|--find-links|--editable)\s+)?(\S+)")
_MEANINGLESS = {"--prefer-binary", "--no-cache-dir", "--use-feature"}


class Requirements(msgspec.Struct, frozen=True):
    """``lines`` of a requirements file, and ``options`` for ``uv pip install``.

    ``left_out`` are lines that name Cog itself, because this package decides its version.
    """

    lines: tuple[str, ...]
    options: tuple[str, ...]
    left_out: tuple[str, ...]


def read_requirements(items: Iterable[str], folder: Path) -> Requirements:
    """Read ``python_packages``, or the lines of a requirements file. Relative file names are below ``folder``."""
    lines: list[str] = []
    options: dict[tuple[str, ...], None] = {}  # in place of a set, to keep the order
    left_out: list[str] = []
    for line in _joined(items):
        for valued, value, flag in _OPTION.findall(line):
            name = valued or flag
            if name in _FOR_UV:
                options[(*_FOR_UV[name], *filter(None, (value,)))] = None
            elif name not in _MEANINGLESS:
                lines.append(_absolute(f"{name} {value}".rstrip(), folder))
        package = _OPTION.sub("", line).strip()
        if package and not re.fullmatch(r"(-e|--editable)\s+\.", package):  # the project itself: Cog ignores it too
            (left_out if _COGS_OWN.match(package) else lines).append(_absolute(package, folder))
    return Requirements(tuple(lines), tuple(word for words in options for word in words), tuple(left_out))


def _absolute(line: str, folder: Path) -> str:
    """The line with an absolute path in place of the name of an existing file or folder."""
    found = _LOCAL.fullmatch(line)
    if found and (found[1] or "/" in found[2]) and "://" not in found[2] and (folder / found[2]).exists():
        return f"{found[1] or ''}{folder / found[2]}"
    return line


def _joined(items: Iterable[str]) -> Iterator[str]:
    """The lines without comments. Empty lines are left out. A line that ends with a backslash is joined to the next."""
    text = re.sub(r"\\\r?\n", " ", "\n".join(items))
    for line in text.splitlines():
        if bare := _COMMENT.sub("", line).strip():
            yield bare

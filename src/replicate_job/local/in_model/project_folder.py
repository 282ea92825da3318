"""Lets a model's Python code use ``/src`` for the project's folder, which has that path in Cog's containers.

This file is copied into the site-packages of each model's Python, which imports it when it starts. This package is not
installed there. The environment variable COG_PROJECT_FOLDER has the real path. If this machine has a ``/src`` of its
own, nothing is changed.

Both paths work in Python's own functions, in imports, and in the arguments of programs that the model starts. ``/src``
does not work in code of other languages.
"""

from __future__ import annotations

import _posixsubprocess  # subprocess, which is imported later, uses its fork_exec
import builtins
import io
import os
import sys
import typing

_NAME = "/src"
_FOLDER = os.environ.get("COG_PROJECT_FOLDER", "")
_WORD = rb"""(?<![\w./~-])/src(?=$|[/\s"';:&|)<>])"""
_TAKES_PATH = (
    *("access", "chdir", "chmod", "chown", "listdir", "lstat", "mkdir", "mkfifo", "open", "readlink", "remove"),
    *("rmdir", "scandir", "stat", "statvfs", "truncate", "unlink", "utime"),
)
_TAKES_TWO = ("link", "rename", "replace", "symlink")
_SUPPORTS = (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids)

Function = typing.Any  # a callable with any arguments


def inside(path: typing.Any) -> typing.Any:
    """The path with the project's folder in place of ``/src`` at its beginning. Any other value stays unchanged."""
    text = path if isinstance(path, (str, bytes)) else path.__fspath__() if hasattr(path, "__fspath__") else path
    if isinstance(text, bytes):
        return os.fsencode(_FOLDER) + text[len(_NAME) :] if text.startswith(b"/src/") or text == b"/src" else path
    if isinstance(text, str) and (text == _NAME or text.startswith(f"{_NAME}/")):
        return _FOLDER + text[len(_NAME) :]
    return path


class WithPaths:
    """A function whose first ``count`` arguments are converted with ``inside``.

    It is an object and not a function, because a function that is an attribute of a class becomes a method. pathlib of
    Python 3.10 has such attributes.
    """

    def __init__(self, function: Function, count: int = 1) -> None:
        self._function, self._count = function, count
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        for functions in _SUPPORTS:
            if function in functions:
                functions.add(self)

    def __call__(self, *args: typing.Any, **options: typing.Any) -> typing.Any:
        return self._function(*map(inside, args[: self._count]), *args[self._count :], **options)


def in_words(text: typing.Any) -> typing.Any:
    """A word of a command line with the project's folder in place of each ``/src``."""
    import re  # noqa: PLC0415 - saves time at the start of each Python

    words = os.fsencode(text)
    found = re.sub(_WORD, lambda _: os.fsencode(_FOLDER), words)
    return text if found == words else found


def starting_inside(fork: Function) -> Function:
    """Wrap the function that ``subprocess`` calls to start a program.

    Its first argument is the command line, and its fifth is the working directory.
    """

    def call(words: typing.Any, programs: typing.Any, *args: typing.Any) -> typing.Any:
        close, keep, folder, *others = args
        return fork([in_words(word) for word in words], programs, close, keep, inside(folder), *others)

    return call


def spawning_inside(spawn: Function) -> Function:
    """Wrap a function of ``os`` that runs a program. Its arguments are the program's path and the command line."""

    def call(program: typing.Any, words: typing.Any, *args: typing.Any, **options: typing.Any) -> typing.Any:
        return spawn(inside(program), [in_words(word) for word in words], *args, **options)

    return call


def finder(entry: str) -> typing.Any:
    """The import finder for a folder in ``sys.path`` below ``/src``. Raises ImportError for any other folder."""
    folder = inside(entry)
    if folder is not entry:
        for hook in sys.path_hooks:
            if hook is not finder:
                try:
                    return hook(folder)
                except ImportError:
                    continue
    raise ImportError(entry)


def main() -> None:
    for name in filter(lambda name: hasattr(os, name), _TAKES_PATH):
        setattr(os, name, WithPaths(getattr(os, name)))
    for name in _TAKES_TWO:
        setattr(os, name, WithPaths(getattr(os, name), 2))
    builtins.open = io.open = WithPaths(io.open)
    for name in filter(lambda name: hasattr(os, name), ("execv", "execve", "posix_spawn", "posix_spawnp")):
        setattr(os, name, spawning_inside(getattr(os, name)))
    system = os.system
    os.system = lambda command: system(in_words(command))
    _posixsubprocess.fork_exec = starting_inside(_posixsubprocess.fork_exec)
    sys.path_hooks.insert(0, finder)


if _FOLDER and not os.path.lexists(_NAME):
    main()

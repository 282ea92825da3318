"""The examples in a command's help. Apart from options, which the start of the command line does not import."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """The end of a command's help: lines for a shell, with a comment after ``#``. They are not wrapped."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])

"""What the helps of the commands have in common."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """The end of a command's help: lines for a shell, ``#`` before what is said of one. They are not wrapped."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])

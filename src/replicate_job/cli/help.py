"""The examples in a command's help. ``main`` imports it, and not ``options``, to start quickly."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """The examples at the end of a command's help: lines for a shell, with a comment after ``#``. Not wrapped."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])

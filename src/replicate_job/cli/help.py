"""The examples in a command's help. ``main`` imports this module instead of ``options``, to start quickly."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """Format the examples at the end of a command's help: shell lines, which may have comments and are not wrapped."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])

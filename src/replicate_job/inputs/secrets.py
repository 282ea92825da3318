"""Hides secret inputs in stored data."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

REDACTED = "This value was redacted after being sent to the model."
"""The text that the API returns in place of a secret (https://replicate.com/docs/topics/models/secrets)."""


def hide(values: dict[str, Any], secrets: Collection[str]) -> dict[str, Any]:
    """A copy of an input with ``REDACTED`` in place of every secret."""
    if not secrets:
        return values
    return {name: REDACTED if name in secrets and value is not None else value for name, value in values.items()}

"""The page of the local server: static files, which speak to the API as any client does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.routing import BaseRoute


def routes() -> list[BaseRoute]:
    """``/`` and ``/p/{id}``, and what they load."""
    return []

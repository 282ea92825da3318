"""Addresses on this server are stored with a placeholder as their origin, which no client ever sees.

The real one depends on the client: each may reach the server by another name.
"""

from __future__ import annotations

ORIGIN = "https://replicate-job.invalid"
"""Stands for this server's own origin in stored addresses. ``.invalid`` never exists (RFC 2606)."""

_ORIGIN = ORIGIN.encode()


def resolve_origin(body: bytes, base_url: str) -> bytes:
    """A stored body, with its addresses on this server below ``base_url`` (without a slash at its end)."""
    return body.replace(_ORIGIN, base_url.encode())

"""A stored address on this server begins with a placeholder. Clients get the real origin in the placeholder's place.

The real origin depends on the client, because clients may reach the server by different names.
"""

from __future__ import annotations

ORIGIN = "https://replicate-job.invalid"
"""The placeholder for this server's origin in stored addresses. A host ``.invalid`` never exists (RFC 2606)."""

_ORIGIN = ORIGIN.encode()


def resolve_origin(body: bytes, base_url: str) -> bytes:
    """A stored body with ``base_url`` (without a slash at its end) in place of the placeholder."""
    return body.replace(_ORIGIN, base_url.encode())

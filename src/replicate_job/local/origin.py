"""Addresses on this server, as they are kept: with an origin that no client ever sees."""

from __future__ import annotations

ORIGIN = "https://replicate-job.invalid"
"""Stands for wherever a client reaches this server; ``.invalid`` is a name that nobody has (RFC 2606)."""

_ORIGIN = ORIGIN.encode()


def resolve_origin(body: bytes, base_url: str) -> bytes:
    """A body with its addresses on this server as the client of ``base_url`` (no slash at its end) reaches them."""
    return body.replace(_ORIGIN, base_url.encode())

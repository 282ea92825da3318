"""The account's token in a request."""

from __future__ import annotations

import hmac


def has_token(authorization: bytes, token: bytes) -> bool:
    """Whether a header ``Authorization`` brings ``token``, as ``Bearer`` or ``Token``, in any case."""
    scheme, _, given = authorization.partition(b" ")
    return scheme.lower() in {b"bearer", b"token"} and hmac.compare_digest(given.strip(), token)

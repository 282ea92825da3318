"""Signatures of webhooks by the Standard Webhooks scheme (HMAC-SHA256), which Replicate uses."""

from __future__ import annotations

import binascii
import hmac
import time
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from replicate_job.base_errors import WebhookVerificationError

if TYPE_CHECKING:
    from collections.abc import Mapping

TOLERANCE = 300.0
"""A webhook's time may differ from this machine's clock by this many seconds, as in the scheme's own libraries."""
_PREFIX = "whsec_"


def sign(secret: str, id: str, timestamp: int, body: bytes | str) -> str:  # noqa: A002 - the scheme's own name
    """The ``webhook-signature`` of a message: ``v1,`` and base64. ``timestamp`` is Unix time in seconds.

    Raises WebhookVerificationError for a secret in another form than ``whsec_…``.
    """
    content = _bytes(body) if isinstance(body, str) else body
    digest = hmac.digest(_key(secret), _bytes(f"{id}.{timestamp}.") + content, "sha256")
    return f"v1,{b64encode(digest).decode()}"


def verify_webhook(
    headers: Mapping[str, str] | Mapping[str, bytes] | Mapping[bytes, bytes],
    body: bytes | str,
    secret: str,
    *,
    tolerance: float = TOLERANCE,
) -> None:
    """Check that a webhook was signed with ``secret``, and that its time is at most ``tolerance`` seconds from now.

    ``body`` is the request's body as it was received: JSON that was decoded and encoded again has another signature.
    ``headers`` are the request's headers, in upper or lower case. ``secret`` is ``whsec_…``, as ``GET
    /v1/webhooks/default/secret`` returns it. A webhook that is sent again has the same ``webhook-id``: remember it to
    process each webhook once. Raises WebhookVerificationError.
    """
    if not isinstance(body, bytes | bytearray | memoryview | str):
        raise WebhookVerificationError("the webhook's body must be the bytes or text as received, not decoded JSON")
    given = {_text(name).lower(): _text(value) for name, value in _items(headers)}
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        if not given.get(name):
            raise WebhookVerificationError(f"the webhook has no header {name}")
    timestamp = _check_time(given["webhook-timestamp"], tolerance)
    expected = sign(secret, given["webhook-id"], timestamp, body).encode()
    # The base64 texts are compared, since a signature has only one valid spelling in base64.
    if not any(hmac.compare_digest(expected, _bytes(signature)) for signature in given["webhook-signature"].split()):
        raise WebhookVerificationError("no signature of the webhook matches: another secret, or not the body as sent")


def _check_time(text: str, tolerance: float) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):  # noqa: PLR2004 - 12 digits last for 30,000 years
        raise WebhookVerificationError("the webhook's webhook-timestamp is no Unix time in seconds")
    age = time.time() - int(text)
    if abs(age) > tolerance:
        when = "ago" if age > 0 else "ahead of this machine's clock"
        raise WebhookVerificationError(
            f"the webhook was sent {abs(age):.0f} s {when}, and {tolerance:g} s are allowed: "
            "a repeat of an old one, or a wrong clock"
        )
    return int(text)


def _items(headers: Any) -> list[tuple[str | bytes, str | bytes]]:
    """The headers whose names and values are text or bytes.

    Raises WebhookVerificationError if ``headers`` is no mapping.
    """
    try:
        items = list(headers.items())
    except (AttributeError, TypeError):
        raise WebhookVerificationError("the webhook's headers must be a mapping of names to values") from None
    return [(name, value) for name, value in items if isinstance(name, str | bytes) and isinstance(value, str | bytes)]


def _key(secret: str) -> bytes:
    if not isinstance(secret, str):
        kind = type(secret).__name__
        raise WebhookVerificationError(f"the webhook secret is of the type {kind}: it must be a text like {_PREFIX}…")
    secret = secret.strip().strip("\"'")
    encoded = secret.removeprefix(_PREFIX)
    try:
        key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    # An empty key is refused, since anybody could sign with it.
    if encoded == secret or not key:
        raise WebhookVerificationError(f"the webhook secret cannot be read: it must be {_PREFIX} and base64")
    return key


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def _bytes(text: str) -> bytes:
    """Encode a text that a web framework may have decoded from invalid UTF-8. Never raises UnicodeEncodeError."""
    return text.encode(errors="surrogatepass")

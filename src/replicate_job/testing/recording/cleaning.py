"""Removes secrets from traffic before it is recorded: the token, secret inputs, and signatures in addresses."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from replicate_job.inputs.secrets import REDACTED
from replicate_job.testing.recording.tape import HELD
from replicate_job.wire.data_url import decode
from replicate_job.wire.media import extension

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:token|secret|password|passwd|passphrase|credentials?|authorization)$"
    r"|(?:api|access|auth|secret|private|signing)[_-]?key$",
    re.IGNORECASE,
)
"""Names of inputs that count as secrets even if no schema says so. ``max_tokens`` is not such a name."""
_SIGNED = re.compile(
    r"amz|goog|sig|token|key|secret|auth|passw|cred|expire|policy|hash|session|^(?:s[verpst]|spr|sip|srt|sdd|scid|sk(?:oid|tid|[tesv]))$",
    re.IGNORECASE,
)
"""Names of query parameters that contain a signature or a key; the short names are Azure's."""
_LONGEST = 32
"""The most characters of a query parameter that is kept. A longer value may be a signature under an unknown name."""
_SHORTEST = 8
"""The fewest characters of a secret that is removed from all text. A shorter secret could occur anywhere by chance."""
_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)
_WITHIN = re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE)


def walk(value: Any, change: Callable[[str], str], rename: Callable[[str], str] = str) -> Any:
    """A copy of a JSON value, with ``change`` applied to every text, and ``rename`` to the names of fields."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {rename(name): walk(item, change, rename) for name, item in value.items()}
    return [walk(item, change, rename) for item in value] if isinstance(value, list) else value


def clean_url(url: str) -> str:
    """An http(s) address without its user, password, fragment and signatures."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return url
    query = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in query if not _SIGNED.search(name) and len(value) <= _LONGEST]
    if kept == query and host == parts.netloc and not parts.fragment:
        return url
    return parts._replace(netloc=host, query=urlencode(kept), fragment="").geturl()


def clean_urls(text: str) -> str:
    """A text in which ``clean_url`` was applied to every address."""
    if _ADDRESS.fullmatch(text):
        return clean_url(text)
    return _WITHIN.sub(lambda found: clean_url(found[0]), text) if "://" in text else text


def by_content(text: str) -> str:
    """The SHA-256 of a data URL's content, which replaces it in comparisons. Any other text is returned unchanged."""
    content = _held(text)
    return text if content is None else f"sha256:{hashlib.sha256(content[1]).hexdigest()}"


def _held(text: str) -> tuple[str, bytes] | None:
    if not text.startswith("data:"):
        return None
    try:
        return decode(text)
    except ValueError:
        return None


def plain(text: str) -> str:
    """The form that a text of a request has in a recording, except that secrets are not removed here."""
    return by_content(clean_urls(text))


def hide_input(body: Any, secrets: Iterable[str]) -> Any:
    """The body of a create request with its secret inputs redacted, and with only the origin of its webhook.

    ``secrets`` are the names of inputs that the schema calls secret.
    """
    if not isinstance(body, dict):
        return body
    body = dict(body)
    if isinstance(inputs := body.get("input"), dict):
        names = {*secrets, *filter(SECRET_NAME.search, inputs)}
        body["input"] = {n: REDACTED if n in names and v is not None else v for n, v in inputs.items()}
    return with_origin_of_webhook(body)


def with_origin_of_webhook(body: dict[str, Any]) -> dict[str, Any]:
    """The body with only the origin of its webhook's address, because the path is often a secret."""
    webhook = body.get("webhook")
    if not isinstance(webhook, str):
        return body
    return body | {"webhook": "/".join(clean_url(webhook).split("/")[:3])}


class Cleaner:
    """Removes the secrets of one recording. ``bodies`` maps names to contents of data URLs and of other bodies."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({one for one in secrets if len(one) >= _SHORTEST}, key=len, reverse=True)
        self.bodies: dict[str, bytes] = {}

    def text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return text

    def request(self, value: Any) -> Any:
        return walk(value, lambda text: self.text(plain(text)), self.text)

    def answer(self, value: Any) -> Any:
        return walk(value, self._answered, self.text)

    def _answered(self, text: str) -> str:
        held = _held(text)
        if held is not None:
            return f"data:{held[0]}{HELD}{self.keep(held[1], extension(held[0]) or '')}"
        return self.text(clean_urls(text))

    def keep(self, content: bytes, suffix: str = "") -> str:
        """Add a body with this content, without secrets. Returns its name."""
        for secret in self._secrets:
            content = content.replace(secret.encode(), REDACTED.encode())
        name = hashlib.sha256(content).hexdigest() + (suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else "")
        self.bodies[name] = content
        return name

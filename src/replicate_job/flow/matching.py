"""Decides whether a listed prediction was made by a given create request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from replicate_job.inputs.secrets import REDACTED
from replicate_job.journal.entry import CreateRequest
from replicate_job.journal.fingerprints import content_print
from replicate_job.wire.prediction import Prediction

Verdict = Literal["same", "almost", "other"]
"""``same``: all comparable parts are equal. ``almost``: the parts are equal except for added inputs, or a part could
not be compared. ``other``: another request made the prediction."""

ReadContent = Callable[[str, int], Awaitable[str | None]]
"""Returns the SHA-256 (hex) of the content at a URL. The text is empty if the content is longer than the given number
of bytes. Returns None if the content cannot be read."""


async def judge(prediction: Prediction, request: CreateRequest, read: ReadContent) -> Verdict:
    """Compare the target and the input. A file that was sent inside the request is compared by its content."""
    named = _judge_target(prediction, request)
    if named == "other":
        return "other"
    sent = {name: value for name, value in request.input.items() if name not in request.secrets}
    if prediction.data_removed or (not prediction.input and sent) or (request.secrets and not sent):
        return "almost"
    listed = {name: value for name, value in (prediction.input or {}).items() if name not in request.secrets}
    comparison = _Comparison()
    if not comparison.fits(sent, listed):
        return "other"
    for data, url in comparison.files:
        content = await read(url, len(data))
        if content is not None and content != content_print(data):
            return "other"
        comparison.is_blurred |= content is None
    return "almost" if comparison.is_blurred else named


def _judge_target(prediction: Prediction, request: CreateRequest) -> Verdict:
    """Compare owner, model and version. Names are case-insensitive. ``almost`` if the list shows no name."""
    slug, wanted = (prediction.model or "").lower(), request.target.slug.lower()
    deployment = (prediction.deployment or "").lower()
    if request.target.kind == "deployment":
        return "almost" if not deployment else "same" if deployment == wanted else "other"
    if request.version and prediction.version not in {None, "hidden"}:
        fits = prediction.version == request.version
    else:
        # The API hides the version of an official model, even if the request named one.
        fits = slug in {"", wanted} or not wanted
    if not fits:
        return "other"
    return "almost" if deployment or not (slug or prediction.version) else "same"


class _Comparison:
    """Compares a sent input with a listed input.

    ``files`` has a pair for each file: the data URL that was sent, and the URL that the API lists in its place.
    ``is_blurred``: an input was added, or a part could not be compared.
    """

    def __init__(self) -> None:
        self.is_blurred = False
        self.files: list[tuple[str, str]] = []

    def fits(self, sent: Any, listed: Any) -> bool:
        """Whether the values are equal. Numbers compare by value, and null equals a missing value."""
        if isinstance(sent, dict) and isinstance(listed, dict):
            return self._fits_object(sent, listed)
        if isinstance(sent, list) and isinstance(listed, list):
            return len(sent) == len(listed) and all(map(self.fits, sent, listed))
        if isinstance(sent, str) and isinstance(listed, str):
            return self._fits_text(sent, listed)
        if isinstance(sent, bool) or isinstance(listed, bool):
            return sent is listed
        return bool(sent == listed)

    def _fits_object(self, sent: dict[str, Any], listed: dict[str, Any]) -> bool:
        added = [name for name, value in listed.items() if value is not None and sent.get(name) is None]
        self.is_blurred |= bool(added)
        return all(value is None or self.fits(value, listed.get(name)) for name, value in sent.items())

    def _fits_text(self, sent: str, listed: str) -> bool:
        if sent == listed:
            return True
        if listed == REDACTED:
            self.is_blurred = True
            return True
        if sent.startswith("data:") and listed.startswith(("http:", "https:")):
            self.files.append((sent, listed))
            return True
        return False

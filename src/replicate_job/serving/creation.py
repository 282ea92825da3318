"""Reads the body of ``POST …/predictions``: the input, the version, and the webhook."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
from pyreqwest.http import Url

from replicate_job.decoding import decode
from replicate_job.errors import JobError
from replicate_job.serving.answer import NO_VERSION, InvalidField, RefusedError, additional, invalid, required
from replicate_job.serving.body import read_object
from replicate_job.wire.target import Target, parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = frozenset({"start", "output", "logs", "completed"})
"""The events that can be sent to a webhook."""
BY_DEFAULT = frozenset({"output", "completed"})
"""The events that are sent if the request has no ``webhook_events_filter``."""
_FIELDS = {"input", "webhook", "webhook_events_filter", "stream"}


class _Raw(msgspec.Struct):
    input: msgspec.Raw


class Creation(msgspec.Struct, frozen=True):
    """A create request. ``body`` is its body; ``version`` is empty if the path names the model or deployment.

    ``webhook`` is an address, or empty; ``filter`` is the field ``webhook_events_filter``, or None. ``context`` is a
    field that Cog's server accepts besides the input.
    """

    input: dict[str, Any]
    body: bytes
    version: str
    webhook: str
    filter: tuple[str, ...] | None = None
    context: dict[str, str] = {}

    @property
    def events(self) -> frozenset[str]:
        """The events that are sent to the webhook."""
        return BY_DEFAULT if self.filter is None else frozenset(self.filter)

    @property
    def raw_input(self) -> msgspec.Raw:
        """The JSON text of ``input``, as it was sent. Decodes the body again."""
        return decode(self.body, _Raw).input


def read_creation(body: bytes, *, names_version: bool = False, takes_context: bool = False) -> Creation:
    """Read the body of a create request.

    With ``names_version``, the body must have a ``version``, as for ``POST /v1/predictions``; otherwise it must not.
    With ``takes_context``, it may have a ``context``, which Replicate's API does not have. Raises RefusedError with
    every fault of the body. The fields of ``input`` are not checked here.
    """
    fields = read_object(body)
    context = fields.pop("context", {}) if takes_context else {}
    if faults := [*_faults(fields, names_version=names_version), *_context_faults(context)]:
        raise RefusedError(invalid(*faults))
    events = fields.get("webhook_events_filter")
    return Creation(
        input=fields["input"],
        body=body,
        version=fields.get("version", ""),
        webhook=fields.get("webhook") or "",
        filter=None if events is None else tuple(events),
        context=context,
    )


class TrainingCreation(msgspec.Struct, frozen=True):
    """A request for a training. ``destination`` is ``owner/name``."""

    input: dict[str, Any]
    destination: str


def read_training(body: bytes) -> TrainingCreation:
    """Read the body of ``POST …/trainings``. Raises RefusedError with its faults. The input is not checked here."""
    fields = read_object(body)
    destination = fields.pop("destination", None)
    faults = [] if isinstance(destination, str) and "/" in destination else [required("destination")]
    if faults := faults + list(_faults(fields, names_version=False)):
        raise RefusedError(invalid(*faults))
    return TrainingCreation(fields["input"], destination)


def read_version(text: str) -> Target:
    """Read the field ``version``, which names a model or one of its versions. Raises RefusedError."""
    with suppress(JobError):
        target = parse_target(text)
        # The parser also accepts other spellings, which people write in job files. The API does not.
        if target.kind != "deployment" and str(target) == text:
            return target
    raise RefusedError(NO_VERSION)


def is_receiver(url: str) -> bool:
    """Whether webhooks can be sent to this address. The check parses it with the library that sends webhooks."""
    with suppress(ValueError):
        return (Url(url).origin_ascii or "").startswith(("http://", "https://"))
    return False


def _context_faults(context: Any) -> Iterator[InvalidField]:
    if not isinstance(context, dict) or not all(isinstance(value, str) for value in context.values()):
        yield InvalidField("invalid_type", "context", "Invalid type. Expected: object of strings")


def _faults(fields: dict[str, Any], *, names_version: bool) -> Iterator[InvalidField]:
    # The faults are in the same order as in Replicate's responses.
    if names_version and not isinstance(fields.get("version"), str):
        yield required("version")
    if fields.get("input") is None:
        yield required("input")
    yield from map(additional, sorted(fields.keys() - _FIELDS - ({"version"} if names_version else set())))
    if fields.get("input") is not None and not isinstance(fields["input"], dict):
        yield InvalidField("invalid_type", "input", "Invalid type. Expected: object")
    url, events = fields.get("webhook"), fields.get("webhook_events_filter")
    if url is not None and not (isinstance(url, str) and is_receiver(url)):
        yield InvalidField("format", "webhook", "Does not match format 'uri'")
    kinds = tuple(EVENTS)  # not a set: an item of the filter may be a list, which has no hash
    if events is not None and not (isinstance(events, list) and all(event in kinds for event in events)):
        fault = f"must be a list of the following: {', '.join(sorted(EVENTS))}"
        yield InvalidField("enum", "webhook_events_filter", fault)

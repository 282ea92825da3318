"""Reading the body of ``POST …/predictions``: what is to run on what, and who is told of it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
from pyreqwest.http import Url

from replicate_job.errors import JobError
from replicate_job.serving.answer import NO_VERSION, InvalidField, RefusedError, additional, invalid, required
from replicate_job.serving.body import read_object
from replicate_job.wire.target import Target, parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = frozenset({"start", "output", "logs", "completed"})
"""What a webhook can be told of."""
BY_DEFAULT = frozenset({"output", "completed"})
"""What it is told of where nothing is asked for."""
_FIELDS = {"input", "webhook", "webhook_events_filter", "stream"}


class _Raw(msgspec.Struct):
    input: msgspec.Raw


class Creation(msgspec.Struct, frozen=True):
    """``body`` is what was sent. ``version`` is empty where the path names what runs.

    ``webhook`` is an address, or empty; ``events`` those that it hears of.
    """

    input: dict[str, Any]
    body: bytes
    version: str
    webhook: str
    events: frozenset[str]

    @property
    def raw_input(self) -> msgspec.Raw:
        """The very text of ``input``. Reads the body once more."""
        return msgspec.json.decode(self.body, type=_Raw).input


def read_creation(body: bytes, *, names_version: bool = False) -> Creation:
    """``names_version`` is for the one path that names nothing itself; the others take no ``version``.

    Raises RefusedError, with every fault of the body but those of the input's own fields.
    """
    given = read_object(body)
    if faults := list(_faults(given, names_version=names_version)):
        raise RefusedError(invalid(*faults))
    events = given.get("webhook_events_filter")
    return Creation(
        input=given["input"],
        body=body,
        version=given.get("version", ""),
        webhook=given.get("webhook") or "",
        events=BY_DEFAULT if events is None else frozenset(events),
    )


def read_version(text: str) -> Target:
    """What a ``version`` names: a model, or one of its versions. Raises RefusedError."""
    with suppress(JobError):
        target = parse_target(text)
        # What else can be parsed is written by people, and the API does not know it.
        if target.kind != "deployment" and str(target) == text:
            return target
    raise RefusedError(NO_VERSION)


def is_receiver(url: str) -> bool:
    """Whether webhooks can be sent there, as the parser says that also sends them."""
    with suppress(ValueError):
        return (Url(url).origin_ascii or "").startswith(("http://", "https://"))
    return False


def _faults(given: dict[str, Any], *, names_version: bool) -> Iterator[InvalidField]:
    yield from map(additional, sorted(given.keys() - _FIELDS - ({"version"} if names_version else set())))
    if names_version and not isinstance(given.get("version"), str):
        yield required("version")
    if given.get("input") is None:
        yield required("input")
    elif not isinstance(given["input"], dict):
        yield InvalidField("invalid_type", "input", "Invalid type. Expected: object")
    url, events = given.get("webhook"), given.get("webhook_events_filter")
    if url is not None and not (isinstance(url, str) and is_receiver(url)):
        yield InvalidField("format", "webhook", "Does not match format 'uri'")
    known = tuple(EVENTS)  # no set: what was sent may be a list, which has no hash
    if events is not None and not (isinstance(events, list) and all(event in known for event in events)):
        fault = f"must be a list of the following: {', '.join(sorted(EVENTS))}"
        yield InvalidField("enum", "webhook_events_filter", fault)

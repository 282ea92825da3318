"""HTTP responses as values: the API's errors, and those of a gateway in front of it."""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus
from http.client import responses
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

JSON = "application/json"
PROBLEM = "application/problem+json"

ANY_ORIGIN = (("access-control-allow-origin", "*"),)
"""Lets web pages of any origin read output files and streams. The random id in their addresses keeps them secret."""


class Answer(msgspec.Struct, frozen=True):
    """A complete HTTP response. It is also an ASGI app that sends this response to every request.

    ``headers`` are sent besides ``Content-Type`` and ``Content-Length``.
    """

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        headers = [] if self.status == HTTPStatus.NO_CONTENT else [(b"content-length", b"%d" % len(self.body))]
        if self.content_type:
            headers.append((b"content-type", self.content_type.encode()))
        headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class RefusedError(Exception):
    """Ends the handling of a request with ``answer``."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(answer.status, answer.body)


class InvalidField(msgspec.Struct, frozen=True):
    """One entry of ``invalid_fields``. ``field`` is a path such as ``input`` or ``input.images.0``, or empty."""

    type: str
    field: str
    description: str


def json_answer(content: Any, status: int = 200, *headers: tuple[str, str]) -> Answer:
    return Answer(status, msgspec.json.encode(content), JSON, headers)


def problem(status: int, detail: str = "", title: str = "", **more: Any) -> Answer:
    """An error response in the API's form. Its body has ``title``, ``detail``, ``status`` and ``more`` fields.

    An empty field is left out.
    """
    body = {"title": title, "detail": detail, "status": status} | more
    content = {name: value for name, value in body.items() if value != ""}
    # The API uses both media types for errors, so a client must accept either.
    content_type = JSON if status == HTTPStatus.TOO_MANY_REQUESTS else PROBLEM
    return Answer(status, msgspec.json.encode(content), content_type)


NOT_FOUND = problem(404, "The requested resource could not be found.")
UNAUTHENTICATED = problem(401, "You did not pass a valid authentication token", "Unauthenticated")
OUT_OF_CREDIT = problem(402, "You have insufficient credit to run this model.", "Insufficient credit")
NO_VERSION = problem(
    422,
    "The specified version does not exist (or perhaps you don't have permission to use it?)",
    "Invalid version or not permitted",
)
TOO_LARGE = problem(413, "Files must be less than 100MB in size")
NO_FILE = problem(404, "File not found")
DELETED = Answer(204, content_type="")
HTML = Answer(502, b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>", "text/html")
EMPTY = Answer(503, content_type="")
NOT_A_PREDICTION = Answer(200, b'{"message":"hello"}')


def invalid(*fields: InvalidField) -> Answer:
    """A response 422 that lists all these errors of an input, in the API's form."""
    prefixes = (f"{field.field}: " if field.field else "" for field in fields)
    detail = "".join(f"- {prefix}{field.description}\n" for prefix, field in zip(prefixes, fields, strict=True))
    return problem(422, detail, "Input validation failed", invalid_fields=fields)


def required(name: str, field: str = "") -> InvalidField:
    return InvalidField("required", field, f"{name} is required")


def additional(name: str) -> InvalidField:
    """The error of a body that has a field which it must not have."""
    return InvalidField("additional_property_not_allowed", "", f"Additional property {name} is not allowed")


def throttled(*, body: Any = None, header: Any = None, date: float | None = None, detail: Any = None) -> Answer:
    """A response 429 with the retry time in any of the forms that the API and its gateways use.

    ``body`` is the field ``retry_after``, and ``header`` is the value of ``Retry-After``. ``date`` is in seconds from
    now, and is sent as an HTTP date in ``Retry-After``. ``detail`` goes into the text ("resets in ~5s"). Values are
    not checked, so a test can send nonsense.
    """
    text = "Request was throttled." + (f" Your rate limit resets in ~{detail}s." if detail is not None else "")
    answer = problem(429, text, **({} if body is None else {"retry_after": body}))
    if date is not None:
        header = formatdate(time.time() + date, usegmt=True)
    headers = () if header is None else (("retry-after", str(header)),)
    return msgspec.structs.replace(answer, headers=headers)


def refusal(status: int) -> Answer:
    """The API's usual response with this status (4xx or 5xx), or else a generic one."""
    own = {
        401: UNAUTHENTICATED,
        402: OUT_OF_CREDIT,
        404: NOT_FOUND,
        413: TOO_LARGE,
        429: throttled(body=1, detail=1),
    }
    return own.get(status) or problem(status, "A fault on request.", responses.get(status, ""))

"""Replicate's HTTP API, with a method for each endpoint. Every method sends one request and does not retry."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from pyreqwest.multipart import FormBuilder, PartBuilder

from replicate_job.api.failures import wait_asked
from replicate_job.api.limiter import RateLimiter, unshared_limiter
from replicate_job.api.ratelimit import Slot
from replicate_job.api.transport import Guard, Response, Transport
from replicate_job.clock import Clock, SystemClock
from replicate_job.decoding import REFUSED, decode
from replicate_job.errors import (
    AnswerTooLargeError,
    APIError,
    AuthenticationError,
    InvalidRequestError,
    JobError,
    NoAnswerError,
    NotFoundError,
    PaymentRequiredError,
    RateLimitError,
    UnreadableError,
)
from replicate_job.wire.bounds import LARGEST
from replicate_job.wire.model import Account, Deployment, Model, UploadedFile, Version
from replicate_job.wire.prediction import MendedPrediction, Prediction, PredictionId, PredictionPage, RawPage
from replicate_job.wire.problem import read_problem
from replicate_job.wire.sse import Decoder, Event

ANSWER_TIMEOUT = 30.0
UPLOAD_TIMEOUT = 600.0
MOST_PAGES = 1000
"""The most pages of one list. With a hundred predictions a page, no account creates more in a listed span."""
NARROWEST, OVERLAP = timedelta(milliseconds=10), timedelta(milliseconds=2)
"""A list's span shorter than ``NARROWEST`` is not halved any more. Two halves overlap by ``OVERLAP``."""
PREDICTIONS, TRAININGS = "/predictions", "/trainings"
OK, REDIRECT, THROTTLED = range(200, 300), range(300, 400), 429
AT_ONCE = 64
"""The most requests under way at the same time, not counting blocking waits. More would only queue at the API."""

_T = TypeVar("_T")


class Linked(Protocol):
    """A page of a list. ``next`` is a whole URL, or None on the last page."""

    @property
    def next(self) -> str | None: ...


_Linked = TypeVar("_Linked", bound=Linked)


class Ask(Protocol):
    """Sends a request, and may repeat it."""

    def __call__(self, request: Callable[[], Awaitable[_T]], /) -> Awaitable[_T]: ...


_ID_FIRST = rb'\s*\{\s*"id"\s*:\s*"(\w+)"'
"""The beginning of a prediction in the API's JSON."""
_ERRORS: dict[int, tuple[type[APIError], str]] = {
    400: (InvalidRequestError, ""),
    401: (AuthenticationError, "check REPLICATE_API_TOKEN (https://replicate.com/account/api-tokens)"),
    402: (PaymentRequiredError, "add credit at https://replicate.com/account/billing and run it again"),
    403: (AuthenticationError, "the token may not do this"),
    404: (NotFoundError, ""),
    413: (InvalidRequestError, "a file may have 100 MB, and an input far less: send files as @file, or give a URL"),
    422: (InvalidRequestError, ""),
    429: (RateLimitError, ""),
}


class _Named(msgspec.Struct, frozen=True):
    """The id from a response about a prediction."""

    id: PredictionId


class Client:
    """Every method raises NotSentError, NoAnswerError (also for a body of the wrong shape), or APIError.

    An APIError is of the subclass for its status. ``creates`` and ``others`` are the rate limits of create requests and
    of other requests. If one is None, only limits learned from the API's 429s apply to its requests. ``noun`` is the
    path of the listed resource, ``/predictions`` or ``/trainings``.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        creates: RateLimiter | None = None,
        others: RateLimiter | None = None,
        clock: Clock = SystemClock(),  # noqa: B008 - sharing one is safe: it has no state
    ) -> None:
        self._transport, self.noun = transport, PREDICTIONS
        self.creates, self.others = creates or unshared_limiter(clock), others or unshared_limiter(clock)
        self._at_once = asyncio.Semaphore(AT_ONCE)

    @property
    def trainings(self) -> Client:
        """A client for trainings, which have the same endpoints as predictions."""
        from copy import copy  # noqa: PLC0415 - only a training needs it

        client = copy(self)
        client.noun = TRAININGS
        return client

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    @property
    def api_time(self) -> float | None:
        """The API's current time (Unix seconds). None before the first response."""
        return self._transport.api_time

    async def take_slot(self) -> Slot:
        """Wait for a rate-limit slot for a create request, which must then be sent immediately."""
        return await self.creates.take_slot()

    def take_slot_now(self) -> Slot | None:
        """A rate-limit slot for a create request if one is free now, or None."""
        return self.creates.take_slot_now()

    def place(self, *, blocks: bool) -> AbstractAsyncContextManager[None]:
        """Wait for one of the ``AT_ONCE`` places, and hold the place while a create request is under way.

        A request with a blocking wait (``blocks``) takes no place: it mostly waits for its model, and not for the
        network.
        """
        return nullcontext() if blocks else self._at_once

    async def create_prediction(  # noqa: PLR0913 - the request's parts and its guard
        self,
        path: str,
        body: bytes,
        slot: Slot,
        *,
        blocking_wait: int = 0,
        cancel_after: str | None = None,
        guard: Guard | None = None,
    ) -> Prediction:
        """Send one create request with a slot from ``take_slot``. The caller holds a ``place``.

        ``blocking_wait`` (seconds, up to 60) keeps the request open until the prediction ends (``Prefer: wait``).
        ``guard`` is called right before the request connects. It raises NotSentError if the request must no longer be
        sent.
        """
        headers = {"prefer": f"wait={blocking_wait}"} if blocking_wait else {}
        if cancel_after:
            headers["cancel-after"] = cancel_after
        timeout = ANSWER_TIMEOUT + blocking_wait
        response = await self._transport.send("POST", path, timeout=timeout, body=body, headers=headers, guard=guard)
        await _learn(self.creates, slot, response)
        try:
            prediction = self._read(f"POST {path}", response, Prediction)
            return Prediction(prediction.id, "starting") if _has_lost_output(prediction) else prediction
        except NoAnswerError:
            # The id alone proves that the prediction exists, even if the rest of the response is wrong.
            if named := _named(response):
                return Prediction(named, "starting")
            raise

    async def get_prediction(self, prediction_id: str) -> Prediction:
        """Raises UnreadableError for a prediction that has succeeded and whose output cannot be read."""
        prediction = self._same(prediction_id, await self._get(f"{self.noun}/{step(prediction_id)}", Prediction))
        if _has_lost_output(prediction):
            raise UnreadableError(
                f"{prediction_id} succeeded, and its output cannot be read: {self.base_url} answered with a value that "
                "is no JSON, or is nested too deep"
            )
        return prediction

    async def cancel_prediction(self, prediction_id: str) -> Prediction:
        path = f"{self.noun}/{step(prediction_id)}/cancel"
        return self._same(prediction_id, await self.send("POST", path, Prediction))

    def _same(self, prediction_id: str, prediction: Prediction) -> Prediction:
        if prediction.id != prediction_id:
            raise NoAnswerError(f"{self.base_url} was asked about {prediction_id} and answered about {prediction.id}")
        return prediction

    async def list_predictions(
        self, *, after: datetime, before: datetime, ask: Ask | None = None
    ) -> AsyncIterator[list[Prediction]]:
        """Pages of the predictions created in that span, newest first, at most 100 a page.

        An incomplete list raises an error, since a missing page would hide predictions. If a page is too large,
        the whole span is listed again as two halves. The predictions of pages that were yielded before are then yielded
        a second time. ``ask`` is as in ``pages``. Trainings cannot be listed by span: all trainings are listed.
        """
        if self.noun == TRAININGS:
            async for trainings in self.pages(TRAININGS, PredictionPage, ask=ask):
                yield trainings.results
            return
        spans = [(after, before)]
        asked: set[str] = set()
        while spans:
            since, until = spans.pop()
            try:
                async for page in self.pages(PREDICTIONS, PredictionPage, _span(since, until), asked=asked, ask=ask):
                    yield page.results
                    del page  # frees its memory, as in ``pages``
            except AnswerTooLargeError:
                if until - since < NARROWEST:
                    raise
                spans += _halves(since, until)

    async def pages(  # noqa: PLR0913 - the request's parts and how to send it
        self,
        path: str,
        kind: type[_Linked],
        query: str = "",
        *,
        method: str = "GET",
        text: str | None = None,
        asked: set[str] | None = None,
        ask: Ask | None = None,
    ) -> AsyncIterator[_Linked]:
        """Every page of a list, from the page that ``query`` names. ``text`` is the plain-text body of each request.

        Only the query of a page's ``next`` is used: behind a proxy the URL names another host, which must not get the
        token. ``asked`` is the set of queries that were sent for this list so far. ``ask`` sends the request for a
        page, and may repeat it.
        """
        asked = set() if asked is None else asked
        body = None if text is None else text.encode()
        headers = None if text is None else {"content-type": "text/plain"}
        while True:
            if query in asked or len(asked) >= MOST_PAGES:
                raise NoAnswerError(f"{self.base_url}{path}: its pages have no end")
            asked.add(query)
            address = f"{path}?{query}" if query else path
            request = partial(self.send, method, address, kind, body=body, headers=headers)
            page = await (ask(request) if ask else request())
            link = page.next or ""
            yield page
            del page  # frees a large page before the next page is read
            query = link.partition("?")[2]
            if link and not query:
                raise NoAnswerError(f"{self.base_url}{path}: the link to its next page cannot be read")
            if not query:
                return

    async def page_predictions(self, *, after: datetime, before: datetime) -> PredictionPage:
        """The newest page of that span. Its ``next`` tells whether there are more pages.

        Unlike ``list_predictions``, this method leaves out predictions that cannot be read, or whose output cannot be
        read. The jobs of these predictions poll them by id.
        """
        page = await self._get(f"/predictions?{_span(after, before)}", RawPage)
        results: list[Prediction] = []
        for raw in page.results:
            with suppress(ValueError, RecursionError):
                results.append(_decode(raw, Prediction))
        results = [prediction for prediction in results if not _has_lost_output(prediction)]
        return PredictionPage(results, page.next, page.previous)

    async def get_model(self, owner: str, name: str) -> Model:
        return await self._get(f"/models/{owner}/{name}", Model)

    async def get_version(self, owner: str, name: str, version: str) -> Version:
        return await self._get(f"/models/{owner}/{name}/versions/{version}", Version)

    async def get_deployment(self, owner: str, name: str) -> Deployment:
        return await self._get(f"/deployments/{owner}/{name}", Deployment)

    async def get_account(self) -> Account:
        return await self._get("/account", Account)

    async def upload_file(self, source: Path | bytes, *, name: str, media_type: str) -> UploadedFile:
        part = PartBuilder.from_bytes(source) if isinstance(source, bytes) else await PartBuilder.from_file(source)
        form = FormBuilder().part("content", part.file_name(name).mime(media_type))
        return await self.send("POST", "/files", UploadedFile, timeout=UPLOAD_TIMEOUT, form=form)

    async def stream_events(self, url: str, last_event_id: str = "") -> AsyncGenerator[Event, None]:
        """The events of a prediction's ``urls.stream``, until the server closes the stream.

        Raises the same errors as other methods.
        """
        headers = {"accept": "text/event-stream", "cache-control": "no-store"}
        if last_event_id:
            headers["last-event-id"] = last_event_id
        async with self._transport.stream(url, headers) as (status, chunks):
            if status not in OK:
                # The first chunk has the error. No more is read, since the body may never end.
                raise api_error("GET urls.stream", Response(status, {}, await anext(chunks, b"")))
            decoder = Decoder()
            async for chunk in chunks:
                for event in decoder.feed(chunk):
                    yield event

    async def get_text(self, path: str) -> str:
        """A plain-text body in UTF-8. Invalid bytes are replaced by U+FFFD."""
        response = await self._exchange("GET", path)
        self._check(f"GET {path}", response)
        return response.body.decode(errors="replace")

    async def _get(self, path: str, kind: type[_T]) -> _T:
        return await self.send("GET", path, kind)

    async def send(  # noqa: PLR0913 - the request's parts and the result's type
        self,
        method: str,
        path: str,
        kind: type[_T],
        *,
        timeout: float = ANSWER_TIMEOUT,  # noqa: ASYNC109 - the HTTP library enforces it
        body: bytes | None = None,
        form: FormBuilder | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> _T:
        """Send one request that creates no prediction, and decode its response as a ``kind``."""
        response = await self._exchange(method, path, timeout=timeout, body=body, form=form, headers=headers)
        return self._read(f"{method} {path.partition('?')[0]}", response, kind)

    async def _exchange(  # noqa: PLR0913 - the request's parts
        self,
        method: str,
        path: str,
        *,
        timeout: float = ANSWER_TIMEOUT,  # noqa: ASYNC109 - the HTTP library enforces it
        body: bytes | None = None,
        form: FormBuilder | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        slot = await self.others.take_slot()
        async with self._at_once:
            response = await self._transport.send(method, path, timeout=timeout, body=body, form=form, headers=headers)
        await _learn(self.others, slot, response)
        return response

    def _check(self, what: str, response: Response) -> None:
        if response.status not in OK:
            raise api_error(what, response)
        if response.cut:
            most = LARGEST // 1024**2
            raise AnswerTooLargeError(f"{what}: {self.base_url} answered with more than the {most} MB that are read")

    def _read(self, what: str, response: Response, kind: type[_T]) -> _T:
        self._check(what, response)
        try:
            return _decode(response.body, kind)
        except (ValueError, RecursionError):
            expected = f"{self.base_url} answered {response.status} with a body that is not a {kind.__name__.lower()}"
            raise NoAnswerError(f"{what}: {expected}") from None


def _decode(body: bytes | msgspec.Raw, kind: type[_T]) -> _T:
    """Decode a body. One that the decoder refuses is read a second time. Raises ValueError, RecursionError."""
    try:
        return decode(body, kind)
    except REFUSED:
        from replicate_job.wire.lenient import mend  # noqa: PLC0415 - few answers need it

        return mend(bytes(body), kind)


def _named(response: Response) -> str | None:
    """The prediction's id, even from a body that has the wrong shape or is cut off."""
    if response.cut:
        match = re.match(_ID_FIRST, response.body)
        return match[1].decode() if match else None
    with suppress(*REFUSED):
        return decode(response.body, _Named).id
    with suppress(ValueError, KeyError, RecursionError):
        from replicate_job.wire.lenient import mend_id  # noqa: PLC0415 - as above

        return mend_id(response.body)
    return None


def _has_lost_output(prediction: Prediction) -> bool:
    return isinstance(prediction, MendedPrediction) and prediction.has_lost_output


async def _learn(limiter: RateLimiter, slot: Slot, response: Response) -> None:
    if response.status == THROTTLED:
        problem = read_problem(response.status, response.body)
        await limiter.refused(slot, wait_asked(problem, response.headers, datetime.now(UTC)))
    else:
        limiter.accepted(slot, response.quota)


def step(name: str) -> str:
    """Quote a name as one step of a path.

    Raises JobError for ``.`` and ``..``: even escaped, they lead to other folders.
    """
    if name in {"", ".", ".."}:
        raise JobError(f"{name!r} is not an id")
    return quote(name, safe="")


def api_error(what: str, response: Response) -> APIError:
    """Make the exception for an error response. It has a message of one line, and every field of the body."""
    problem = read_problem(response.status, response.body)
    kind, advice = _ERRORS.get(response.status, (APIError, ""))
    if response.status in REDIRECT:
        advice = "a redirect to elsewhere is not followed with a token: check REPLICATE_BASE_URL"
    message = f"{what}: the API answered {response.status}: {problem}" + (f"; {advice}" if advice else "")
    return kind(
        message,
        status=response.status,
        title=problem.title,
        detail=problem.detail,
        type=problem.type,
        instance=problem.instance,
        invalid_fields=problem.invalid_fields,
        retry_after=wait_asked(problem, response.headers, datetime.now(UTC)),
    )


def _span(after: datetime, before: datetime) -> str:
    return urlencode({"created_after": _iso(after), "created_before": _iso(before)})


def _halves(after: datetime, before: datetime) -> list[tuple[datetime, datetime]]:
    """The older half, then the newer half.

    They overlap, since the API does not document whether a span includes its ends.
    """
    middle = after + (before - after) / 2
    return [(after, middle + OVERLAP), (middle - OVERLAP, before)]


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

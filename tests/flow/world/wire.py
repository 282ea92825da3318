"""The simulated network between one process and an account, in place of the client's ``Transport``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import datetime
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from replicate_job.api.transport import Guard, Response, Transport
from replicate_job.errors import NoAnswerError, NotFoundError, NotSentError, TransportError
from replicate_job.wire.data_url import decode

from .account import NAME, OWNER, Account, Made, file_url

if TYPE_CHECKING:
    from .process import Process

JOB: ContextVar[str] = ContextVar("JOB", default="")
"""The key of the job for which a task works."""
BASE_URL = "https://api.test/v1"
OK = range(200, 300)
CERTAIN = {400, 401, 402, 403, 404, 413, 422, 429}
"""Statuses that the API gives before it acts."""
NEVER = "2000-01-01T00:00:00Z"
SPAN = ("created_after", "created_before")
TRIP = 0.05
"""Seconds that a request takes to get there, and its answer back."""
CONNECTING = 5.0


class Answer(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """The outcome of a create request.

    ``kind`` is a status, or ``refused`` (no connection), ``reset``, ``timeout``, ``garbage`` (201 without JSON), or
    ``bare`` (201 with an id and nothing else). ``acts``: a prediction is made, if the kind leaves that open. ``late``:
    it acts at the last moment before the request ends. ``slow`` is how many seconds the answer takes.
    """

    kind: int | str = 201
    acts: bool = True
    late: bool = False
    slow: float = 0.0

    @property
    def may_act(self) -> bool:
        if self.kind in OK or self.kind == "bare":
            return True
        return self.acts and self.kind != "refused" and self.kind not in CERTAIN


class Dates(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """The ``Date`` header: sent with every ``every``-th response (0: never), ``wrong`` seconds ahead of the truth."""

    every: int = 1
    wrong: float = 0.0


class Network(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """``creates`` lists the outcomes of create requests in order, and ``reads`` those of requests for the list.

    A read is a status, ``reset``, or ``cut`` for a body that breaks off. Requests after the last one succeed.
    ``outage`` is a span of the world's seconds in which no list can be read.
    """

    creates: tuple[Answer, ...] = ()
    reads: tuple[int | str, ...] = ()
    outage: tuple[float, float] = (0.0, 0.0)
    dates: Dates = Dates()


class Traffic:
    """The state of a network that all processes share: how much of its plan is used up, and what it did."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._creates, self._reads = iter(network.creates), iter(network.reads)
        self.answers = self.created = 0

    def next_create(self) -> Answer:
        self.created += 1
        return next(self._creates, Answer())

    def next_read(self) -> int | str:
        return next(self._reads, 200)

    def heal(self) -> None:
        self.network, self._creates, self._reads = Network(), iter(()), iter(())


class Flight:
    """A create request under way: it creates one prediction or none.

    ``guarded`` is the world's time in seconds at which its process last checked its claim.
    """

    def __init__(self, process: Process, body: bytes, answer: Answer, deployment: str, guarded: float) -> None:
        self._process, self._acts, self._deployment = process, answer.may_act, deployment
        self._input = msgspec.json.decode(body)["input"]
        self._guarded = guarded
        self.made: Made | None = None
        self.job = JOB.get()

    def land(self) -> None:
        if self._acts and self.made is None:
            self.made = self._process.account.create(
                self._input, job=self.job, maker=self._process.number, deployment=self._deployment
            )
            self.made.overslept = self._process.has_slept(self._guarded)


class Wire(Transport):
    """A ``Transport`` that sends to an account of this world."""

    def __init__(self, process: Process, account: Account, traffic: Traffic) -> None:
        super().__init__(BASE_URL, account.name, user_agent="world", clock=process.clock)
        self._process, self._account, self._traffic = process, account, traffic

    def _build(self, _user_agent: str) -> Any:
        """Open no connections."""

    async def send(  # noqa: PLR0913 - the transport sets the parameters
        self,
        method: str,
        path: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the transport sets the parameters
        body: bytes | None = None,
        form: object = None,
        headers: Mapping[str, str] | None = None,
        guard: Guard | None = None,
    ) -> Response:
        del form
        self._process.check_alive()
        place, _, query = path.partition("?")
        place = place.removeprefix(BASE_URL)
        if method == "POST" and place.endswith("/predictions"):
            await self._process.point("before the guard")
            if guard:
                guard()
            return await self._create(place, body or b"", headers or {}, timeout)
        await self._process.point(f"before {method} {place}")
        await asyncio.sleep(TRIP)
        response = self._list(query) if place == "/predictions" else self._other(method, place)
        await asyncio.sleep(TRIP)
        if isinstance(response, TransportError):
            raise response
        await self._process.point(f"after {method} {place}")
        return self._dated(response)

    async def _create(self, place: str, body: bytes, headers: Mapping[str, str], timeout: float) -> Response:  # noqa: ASYNC109 - as above
        guarded = self._process.world_time
        await self._process.point("before the first byte")
        answer, process = self._traffic.next_create(), self._process
        if answer.kind == "refused":
            await asyncio.sleep(CONNECTING)
            raise NotSentError("POST: no connection")
        deployment = place.split("/deployments/")[1].removesuffix("/predictions") if "/deployments/" in place else ""
        flight = Flight(process, body, answer, deployment, guarded)
        duration = timeout if answer.kind == "timeout" or answer.slow >= timeout else answer.slow or 4 * TRIP
        process.take_off(flight, duration - TRIP / 2 if answer.late else TRIP)
        try:
            await process.point("request sent")
            await asyncio.sleep(duration)
            flight.land()
            await process.point("request answered")
            if answer.kind in {"reset", "timeout"} or answer.slow >= timeout:
                raise NoAnswerError("POST: the connection broke")
            response = self._answer(answer, flight)
            if flight.made and response.status in OK and answer.kind != "garbage":
                blocking_wait = float(headers.get("prefer", "wait=0").removeprefix("wait="))
                left = flight.made.ends - self._account.time
                await asyncio.sleep(min(blocking_wait, max(0.0, left)))
                response = self._answer(answer, flight)
                flight.made.told = True
        except asyncio.CancelledError:
            flight.land()
            raise
        finally:
            process.arrived(flight)
        return self._dated(response)

    def _answer(self, answer: Answer, flight: Flight) -> Response:
        if answer.kind == "garbage":
            return Response(201, {}, b"<html>")
        status = answer.kind if isinstance(answer.kind, int) else 201
        if answer.kind == "bare" and flight.made:
            return _json(201, {"id": flight.made.id})
        if status in OK:
            assert flight.made
            return _json(status, self._account.body(flight.made))
        return _json(status, {"title": "", "detail": f"planned {status}", "status": status})

    def _list(self, query: str) -> Response | TransportError:
        start, end = self._traffic.network.outage
        kind = 503 if start <= self._process.world_time < end else self._traffic.next_read()
        if kind == "reset":
            return NoAnswerError("GET /predictions: the connection broke")
        fields = {name: values[0] for name, values in parse_qs(query).items()}
        after, before = (datetime.fromisoformat(fields.get(name, NEVER)).timestamp() for name in SPAN)
        page = _json(200, self._account.page(after, before, fields.get("cursor", "")))
        if kind == "cut":
            return Response(200, {}, page.body[: len(page.body) // 2])
        return page if kind == 200 else _json(int(kind), {"detail": "planned", "status": kind})

    def _other(self, method: str, place: str) -> Response:
        words = place.strip("/").split("/")
        account = self._account
        if words[0] == "predictions" and (made := account.find(words[1])) and account.time >= made.found:
            if method == "POST":
                account.cancel(made)
            return _json(200, account.body(made))
        if words[0] == "models" and [word.lower() for word in words[1:3]] == [OWNER, NAME]:
            if len(words) == 3:
                return _json(200, account.model())
            if not account.nature.official:
                return _json(200, account.version())
        if words[0] == "deployments":
            return _json(200, account.deployment())
        if words[0] == "account":
            return _json(200, {"type": "user", "username": account.name, "name": account.name})
        return _json(404, {"detail": "The requested resource could not be found.", "status": 404})

    def _dated(self, response: Response) -> Response:
        """Note the response's ``Date`` header, as the transport does."""
        dates = self._traffic.network.dates
        self._traffic.answers += 1
        has_date = dates.every and self._traffic.answers % dates.every == 0
        self._note_date(formatdate(self._account.time + dates.wrong, usegmt=True) if has_date else None)
        return response

    @asynccontextmanager
    async def fetch(self, url: str, _headers: Mapping[str, str]) -> AsyncIterator[Download]:
        """The content of a listed file that was sent as a data URL."""
        await asyncio.sleep(TRIP)
        if not self._account.nature.readable:
            raise NoAnswerError(f"GET {url}: the connection broke")
        sent = [str(made.input.get("image", "")) for made in self._account.made]
        content = next((each for each in sent if each.startswith("data:") and file_url(each) == url), None)
        if content is None:
            raise NotFoundError(url, status=404)
        yield Download(content)


class Download:
    """A response with the bytes of a data URL."""

    status = 200

    def __init__(self, data_url: str) -> None:
        self._content = decode(data_url)[1]
        self.headers = {"content-length": str(len(self._content)), "content-type": "text/plain"}

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._content


def _json(status: int, value: Any) -> Response:
    return Response(status, {}, msgspec.json.encode(value))

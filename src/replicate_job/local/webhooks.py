"""Sends predictions' webhooks: what happened to one, to the address that its caller named."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from pyreqwest.client import ClientBuilder
from pyreqwest.http import Url

from replicate_job.errors import TransportError
from replicate_job.http import Exchange, build, is_loopback
from replicate_job.local.prediction import Ended, Logged, Produced, Started, new_id
from replicate_job.serving.creation import BY_DEFAULT, is_receiver
from replicate_job.wire.webhook import sign

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence

    from pyreqwest.client import Client

    from replicate_job.local.prediction import ModelEvent

_KINDS = {Started: "start", Produced: "output", Logged: "logs", Ended: "completed"}
_DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # a minute in all
_AT_ONCE = 20  # requests to one receiver
_LAST_MOMENT = 1.0  # seconds
_TAKEN = range(200, 300)
_GONE = 410  # the scheme's word for "never again"


class Webhooks:
    """All webhooks of one server, signed with ``secret`` (``whsec_…``). Times are in seconds.

    ``output`` and ``logs`` are one request for all that a ``window`` brought, and tried once, as ``start`` is;
    ``completed`` is tried again after each of ``delays``, until the answer is 2xx or 410. A request ends after
    ``timeout``; redirects are not followed. ``on_notice`` hears a line when a prediction's receiver first fails, and
    when its ``completed`` is given up; it names the receiver's origin alone, for an address may hold a secret.
    """

    def __init__(
        self,
        secret: str,
        on_notice: Callable[[str], None],
        *,
        window: float = 0.5,
        delays: Sequence[float] = _DELAYS,
        timeout: float = 10.0,
    ) -> None:
        self.on_notice, self.window, self.delays = on_notice, window, tuple(delays)
        self.secret, self._timeout = secret, timedelta(seconds=timeout)
        self._clients: dict[bool, Client] = {}
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(
        self,
        events: AsyncGenerator[ModelEvent],
        body: Callable[[], bytes],
        url: str,
        filter: frozenset[str] = BY_DEFAULT,  # noqa: A002 - the API's own word
    ) -> None:
        """Send what happens to a prediction, in its order. ``body`` gives the prediction's JSON as of now.

        Raises ValueError for a ``url`` that is none for ``is_receiver``.
        """
        self._begin(_Watch(_Receiver(self, url), body, filter).run(events))

    def send_completed(self, body: bytes, url: str) -> None:
        """Send the end of a prediction that nobody watches. Raises ValueError as ``watch`` does."""
        self._begin(_Receiver(self, url).insist(body))

    async def close(self) -> None:
        """Give what is on its way a second. End the predictions before: their ends are on their way then."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_MOMENT)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in self._clients.values():
            await client.close()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def turns(self, origin: str) -> asyncio.Semaphore:
        """One for each receiver: what one keeps waiting holds up no other."""
        return self._turns.setdefault(origin, asyncio.Semaphore(_AT_ONCE))

    async def post(self, url: Url, id: str, body: bytes) -> int:  # noqa: A002 - the scheme's own name
        """The status of the answer, whose body is not read. Raises TransportError."""
        at = int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": str(at),
            "webhook-signature": sign(self.secret, id, at, body),
        }
        with Exchange(url.origin_ascii or ""):
            request = self._client(url).post(url).headers(headers).body_bytes(body).timeout(self._timeout)
            async with request.streamed_read_buffer_limit(0).build_streamed() as response:
                return response.status

    def _client(self, url: Url) -> Client:
        """Built at first use: it reads the system's certificates."""
        direct = is_loopback((url.host_str or "").strip("[]"))
        if direct not in self._clients:
            # Each on a connection of its own: one that is kept may be closed just as it is used, and most webhooks
            # are tried once.
            builder = ClientBuilder().user_agent("replicate-job").follow_redirects(False).pool_max_idle_per_host(0)
            self._clients[direct] = build(builder.no_proxy() if direct else builder)
        return self._clients[direct]


class _Receiver:
    """Where one prediction's webhooks go."""

    def __init__(self, webhooks: Webhooks, url: str) -> None:
        if not is_receiver(url):
            raise ValueError("not an address that webhooks can be sent to")
        self.webhooks, self._url = webhooks, Url(url)
        self._origin = self._url.origin_ascii or ""
        self._turns = webhooks.turns(self._origin)
        self._has_failed = False

    async def try_once(self, body: bytes) -> None:
        await self._send(_new_message(), body)

    async def insist(self, body: bytes) -> None:
        # One message, however often it is sent: whoever takes it twice can tell by its id.
        message, begun = _new_message(), time.monotonic()
        for delay in self.webhooks.delays:
            if not await self._send(message, body):
                return
            await asyncio.sleep(delay)
        if fault := await self._send(message, body):
            spent = time.monotonic() - begun
            self.webhooks.on_notice(f"the webhook of a prediction's end was given up after {spent:.0f} s: {fault}")

    async def _send(self, message: str, body: bytes) -> str:
        """What went wrong; empty where it is settled."""
        try:
            async with self._turns:
                status = await self.webhooks.post(self._url, message, body)
            fault = "" if status in _TAKEN or status == _GONE else f"{self._origin}: answered {status}"
        except TransportError as error:
            fault = str(error)
        if fault and not self._has_failed:
            self._has_failed = True
            self.webhooks.on_notice(f"a webhook did not get through: {fault}")
        return fault


class _Watch:
    """Follows one prediction. Reading never waits for sending, and what is sent is not older than it need be."""

    def __init__(self, receiver: _Receiver, body: Callable[[], bytes], filter: frozenset[str]) -> None:  # noqa: A002 - the API's own word
        self._receiver, self._body, self._filter = receiver, body, filter
        self._start: bytes | None = None
        self._is_behind = self._is_completed = self._is_over = False
        self._news = asyncio.Event()

    async def run(self, events: AsyncGenerator[ModelEvent]) -> None:
        async with asyncio.TaskGroup() as both:
            both.create_task(self._read(events))
            both.create_task(self._send())

    async def _read(self, events: AsyncGenerator[ModelEvent]) -> None:
        async with aclosing(events):
            async for event in events:
                match kind := _KINDS[type(event)]:
                    case _ if kind not in self._filter:
                        continue
                    case "start":
                        self._start = self._body()
                    case "completed":
                        self._is_completed = True
                    case _:
                        self._is_behind = True
                self._news.set()
        self._is_over = True
        self._news.set()

    async def _send(self) -> None:
        clock, free = asyncio.get_running_loop().time, 0.0
        while True:
            if self._start is not None:
                body, self._start = self._start, None
                await self._receiver.try_once(body)
            elif self._is_completed:
                await self._receiver.insist(self._body())
                return
            elif self._is_behind and clock() >= free:
                self._is_behind, free = False, clock() + self._receiver.webhooks.window
                await self._receiver.try_once(self._body())
            elif self._is_over and not self._is_behind:
                return
            else:
                await self._wait(until=free if self._is_behind else None)

    async def _wait(self, until: float | None) -> None:
        """For news, or until this time of the loop's clock."""
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._news.wait()


def _new_message() -> str:
    return f"msg_{new_id()}"

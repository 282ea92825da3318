"""Sends webhooks: the events of a prediction, to the address in its create request."""

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
_DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds between attempts, a minute in all
_CONCURRENT = 20  # requests to one receiver
_CLOSE_TIMEOUT = 1.0  # seconds
_ACCEPTED = range(200, 300)
_GONE = 410  # in the Standard Webhooks scheme: the receiver wants no more requests


class Webhooks:
    """All webhooks of one server, signed with ``secret`` (``whsec_…``). Times are in seconds.

    Events of kind ``output`` and ``logs`` are sent at most once in each ``window``. These events and ``start`` are not
    retried. ``completed`` is sent again after each of ``delays``, until the response is 2xx or 410. A request ends
    after ``timeout``; redirects are not followed.

    ``on_notice`` is called with a line when a prediction's receiver first fails, and when sending its ``completed`` is
    given up. The line names only the receiver's origin, because the rest of the address may contain a secret.
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
        self._clients: dict[tuple[bool, bool], Client] = {}
        self._slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(
        self,
        events: AsyncGenerator[ModelEvent],
        body: Callable[[], bytes],
        url: str,
        filter: frozenset[str] = BY_DEFAULT,  # noqa: A002 - the API's own word
    ) -> None:
        """Send a prediction's events in their order, if their kind is in ``filter``.

        ``body`` returns the prediction's current object as JSON.

        Raises ValueError for a ``url`` that ``is_receiver`` does not accept.
        """
        self._begin(_Watch(_Receiver(self, url), body, filter).run(events))

    def send_completed(self, body: bytes, url: str) -> None:
        """Send ``completed`` for a prediction without events in memory, because an earlier server did not finish it.

        Raises ValueError as ``watch`` does.
        """
        self._begin(_Receiver(self, url).send_until_accepted(body))

    async def close(self) -> None:
        """Wait a second for the running requests, then cancel them.

        Close the predictions before this, so that their ``completed`` is sent too.
        """
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_TIMEOUT)
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

    def slots(self, origin: str) -> asyncio.Semaphore:
        """The semaphore for requests to one receiver, so that a slow receiver does not delay the others."""
        return self._slots.setdefault(origin, asyncio.Semaphore(_CONCURRENT))

    async def post(self, url: Url, id: str, body: bytes) -> int:  # noqa: A002 - the scheme's own name
        """Send one request and return the response's status. The response's body is not read. Raises TransportError."""
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
        """The HTTP client for this address, built at its first use because it reads the system's certificates."""
        # For a receiver on this machine, no proxy is used, because a proxy could not reach this machine.
        direct = is_loopback((url.host_str or "").strip("[]"))
        way = direct, url.scheme == "https"
        if way not in self._clients:
            # Each request has a new connection, because a receiver may close an idle one just when it is used, and most
            # webhooks are not retried.
            builder = ClientBuilder().user_agent("replicate-job").follow_redirects(False).pool_max_idle_per_host(0)
            self._clients[way] = build(builder.no_proxy() if direct else builder, https=way[1])
        return self._clients[way]


class _Receiver:
    """The receiver of one prediction's webhooks."""

    def __init__(self, webhooks: Webhooks, url: str) -> None:
        if not is_receiver(url):
            raise ValueError("not an address that webhooks can be sent to")
        self.webhooks, self._url = webhooks, Url(url)
        self._origin = self._url.origin_ascii or ""
        self._slots = webhooks.slots(self._origin)
        self._has_failed = False

    async def send_once(self, body: bytes) -> None:
        await self._send(_new_message_id(), body)

    async def send_until_accepted(self, body: bytes) -> None:
        # All attempts have the same id, by which a receiver recognizes a message that it has received already.
        message_id, start = _new_message_id(), time.monotonic()
        for delay in self.webhooks.delays:
            if not await self._send(message_id, body):
                return
            await asyncio.sleep(delay)
        if fault := await self._send(message_id, body):
            spent = time.monotonic() - start
            self.webhooks.on_notice(f"the webhook of a prediction's end was given up after {spent:.0f} s: {fault}")

    async def _send(self, message_id: str, body: bytes) -> str:
        """Send one request. Returns an error message, or an empty text if the request need not be sent again."""
        try:
            async with self._slots:
                status = await self.webhooks.post(self._url, message_id, body)
            fault = "" if status in _ACCEPTED or status == _GONE else f"{self._origin}: answered {status}"
        except TransportError as error:
            fault = str(error)
        if fault and not self._has_failed:
            self._has_failed = True
            self.webhooks.on_notice(f"a webhook did not get through: {fault}")
        return fault


class _Watch:
    """Sends the webhooks of one prediction. Reading events does not wait for requests.

    Each request has the latest state of the prediction.
    """

    def __init__(self, receiver: _Receiver, body: Callable[[], bytes], filter: frozenset[str]) -> None:  # noqa: A002 - the API's own word
        self._receiver, self._body, self._filter = receiver, body, filter
        self._start: bytes | None = None  # the body to send for "start"
        self._has_unsent = self._is_completed = self._is_over = False
        self._changed = asyncio.Event()

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
                        self._has_unsent = True
                self._changed.set()
        self._is_over = True
        self._changed.set()

    async def _send(self) -> None:
        clock, window_end = asyncio.get_running_loop().time, 0.0
        while True:
            if self._start is not None:
                body, self._start = self._start, None
                await self._receiver.send_once(body)
            elif self._is_completed:  # this request also has the output and logs that are not sent yet
                await self._receiver.send_until_accepted(self._body())
                return
            elif self._has_unsent and clock() >= window_end:
                self._has_unsent, window_end = False, clock() + self._receiver.webhooks.window
                await self._receiver.send_once(self._body())
            elif self._is_over and not self._has_unsent:
                return
            else:
                await self._wait(until=window_end if self._has_unsent else None)

    async def _wait(self, until: float | None) -> None:
        """Wait for an event, at most until this time of the loop's clock. None means no limit."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._changed.wait()


def _new_message_id() -> str:
    return f"msg_{new_id()}"

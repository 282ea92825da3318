"""Webhooks of predictions, sent to a real receiver."""

from __future__ import annotations

import asyncio
import re
import time
from base64 import b64encode
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from replicate_job.local.prediction import Ended, Logged, Produced, Started
from replicate_job.local.webhooks import Webhooks
from replicate_job.serving.creation import EVENTS, is_receiver
from replicate_job.serving.listener import bind, listen, origin_of
from replicate_job.wire.webhook import verify_webhook

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from replicate_job.local.prediction import ModelEvent

SECRET = "whsec_" + b64encode(b"a key for tests").decode()
END = Ended("succeeded", "done")


class Seen(msgspec.Struct):
    """A received request. ``at`` is its time on the loop's clock."""

    at: float
    path: str
    id: str
    body: dict[str, Any]


async def take(_: Seen) -> Response:
    return Response()


async def hang(_: Seen) -> Response:
    await asyncio.Event().wait()
    raise AssertionError


class Receiver:
    """Verifies and keeps the requests that it receives. ``answer`` makes its responses."""

    def __init__(self, origin: str) -> None:
        self.origin, self.faults = origin, list[str]()
        self.seen: list[Seen] = []
        self.answer: Callable[[Seen], Awaitable[Response]] = take
        self._news = asyncio.Condition()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        verify_webhook(request.headers, body, SECRET)
        if (request.method, request.headers["content-type"]) != ("POST", "application/json"):
            self.faults.append(f"{request.method} {request.headers['content-type']}")
        at = asyncio.get_running_loop().time()
        seen = Seen(at, request.url.path, request.headers["webhook-id"], msgspec.json.decode(body))
        async with self._news:
            self.seen.append(seen)
            self._news.notify_all()
        await (await self.answer(seen))(scope, receive, send)

    async def until(self, count: int) -> list[Seen]:
        """Wait for ``count`` requests, and return them."""
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: len(self.seen) >= count)
        assert not self.faults
        return list(self.seen)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    with bind() as listening:
        receiver = Receiver(origin_of(listening))
        async with listen(receiver, listening):
            yield receiver


class Story:
    """A prediction whose events the test makes with ``tell``."""

    def __init__(self) -> None:
        self._told: asyncio.Queue[ModelEvent] = asyncio.Queue()
        self._state: dict[str, Any] = {"status": "starting", "output": None, "logs": ""}

    def tell(self, *events: ModelEvent) -> None:
        for event in events:
            match event:
                case Started():
                    self._state["status"] = "processing"
                case Logged(text=text):
                    self._state["logs"] += text
                case Produced(value=value):
                    self._state["output"] = value
                case Ended(status=status, output=output):
                    self._state |= {"status": status, "output": output}
            self._told.put_nowait(event)

    def body(self) -> bytes:
        return msgspec.json.encode(self._state)

    async def events(self) -> AsyncGenerator[ModelEvent]:
        while True:
            yield (event := await self._told.get())
            if isinstance(event, Ended):
                return


class Sender:
    def __init__(self, **options: Any) -> None:
        self.notices: list[str] = []
        self.webhooks = Webhooks(SECRET, self.notices.append, **options)

    def watch(self, url: str, *asked: str) -> Story:
        story = Story()
        self.webhooks.watch(story.events(), story.body, url, frozenset(asked) or EVENTS)
        return story

    async def sent(self) -> None:
        """Wait until no webhook is left to be sent."""
        async with asyncio.timeout(20):
            while tasks := set(self.webhooks._tasks):  # noqa: SLF001 - nothing public says that all webhooks are sent
                await asyncio.wait(tasks)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Sender]]:
    made: list[Sender] = []

    def make(**options: Any) -> Sender:
        made.append(Sender(**options))
        return made[-1]

    yield make
    for sender in made:
        await sender.webhooks.close()


async def test_every_event_is_sent_with_the_state_of_the_prediction_at_that_moment(
    receiver: Receiver, start: Callable[..., Sender]
) -> None:
    sender = start(window=0.05)
    story = sender.watch(f"{receiver.origin}/hook?secret=1")
    story.tell(Started())
    await receiver.until(1)
    story.tell(Logged("loading\n"))
    await receiver.until(2)
    story.tell(Produced("half"))
    await receiver.until(3)
    story.tell(Ended("succeeded", "whole"))
    seen = await receiver.until(4)
    await sender.sent()

    assert [each.body for each in seen] == [
        {"status": "processing", "output": None, "logs": ""},
        {"status": "processing", "output": None, "logs": "loading\n"},
        {"status": "processing", "output": "half", "logs": "loading\n"},
        {"status": "succeeded", "output": "whole", "logs": "loading\n"},
    ]
    assert {each.path for each in seen} == {"/hook"}
    assert len({each.id for each in seen}) == 4
    assert not sender.notices


async def test_a_prediction_that_ends_at_once_sends_the_events_start_and_completed(
    receiver: Receiver, start: Callable[..., Sender]
) -> None:
    sender = start()
    sender.watch(receiver.origin).tell(Started(), Logged("x"), Produced(1), Ended("failed", error="no"))
    await sender.sent()
    assert [each.body["status"] for each in receiver.seen] == ["failed", "failed"]


async def test_only_the_filtered_events_are_sent(receiver: Receiver, start: Callable[..., Sender]) -> None:
    sender = start(window=0)
    asked = ["start", "output", "logs", "completed", "start+completed"]
    stories = [sender.watch(f"{receiver.origin}/{each}", *each.split("+")) for each in asked]
    for event, sent in ((Started(), 2), (Logged("x"), 3), (Produced(1), 4), (END, 6)):
        for story in stories:
            story.tell(event)
        await receiver.until(sent)
    await sender.sent()

    got: dict[str, list[str]] = {each: [] for each in asked}
    for each in receiver.seen:
        got[each.path.removeprefix("/")].append(each.body["status"])
    assert got == {
        "start": ["processing"],
        "output": ["processing"],
        "logs": ["processing"],
        "completed": ["succeeded"],
        "start+completed": ["processing", "succeeded"],
    }


async def test_a_thousand_events_cause_one_request_for_each_time_window(
    receiver: Receiver, start: Callable[..., Sender]
) -> None:
    window = 0.1
    sender = start(window=window)
    story = sender.watch(receiver.origin, "start", "output", "logs")
    story.tell(Started())
    for number in range(500):
        story.tell(Logged("."), Produced(number))
        if number % 50 == 0:  # so that some windows pass in between
            await asyncio.sleep(window / 3)
    story.tell(END)
    await sender.sent()

    assert 2 <= len(receiver.seen[1:]) < 100  # the number of windows depends on the machine's speed
    assert receiver.seen[-1].body == {"status": "succeeded", "output": "done", "logs": "." * 500}


async def test_the_event_completed_is_sent_without_delay_and_last(
    receiver: Receiver, start: Callable[..., Sender]
) -> None:
    sender = start(window=3600)
    story = sender.watch(receiver.origin)
    story.tell(Logged("1"))
    await receiver.until(1)
    story.tell(Logged("2"), END)
    await sender.sent()
    assert [each.body["status"] for each in receiver.seen] == ["starting", "succeeded"]


async def test_only_the_event_completed_is_retried_and_keeps_its_message_id(
    receiver: Receiver, start: Callable[..., Sender]
) -> None:
    async def refuse_five(_: Seen) -> Response:
        return Response(status_code=500 if len(receiver.seen) <= 5 else 204)

    receiver.answer = refuse_five
    sender = start(window=0.05, delays=(0.05, 0.1, 0.2))
    story = sender.watch(f"{receiver.origin}/hook?token=sesame")
    story.tell(Started())
    await receiver.until(1)
    story.tell(Produced(1))
    await receiver.until(2)
    story.tell(END)
    await sender.sent()

    seen = receiver.seen
    assert [each.body["status"] for each in seen] == ["processing", "processing", *["succeeded"] * 4]
    assert len({each.id for each in seen}) == 3
    gaps = [later.at - earlier.at for earlier, later in pairwise(seen[2:])]
    assert all(gap > delay * 0.9 for gap, delay in zip(gaps, (0.05, 0.1, 0.2), strict=True))
    assert sender.notices == [f"a webhook did not get through: {receiver.origin}: answered 500"]


async def test_after_the_last_attempt_a_webhook_is_given_up_with_a_notice(
    receiver: Receiver, start: Callable[..., Sender]
) -> None:
    receiver.answer = lambda _: answered(404)
    sender = start(delays=(0.01, 0.01))
    sender.webhooks.send_completed(b'{"id": "x"}', f"{receiver.origin}/hook?token=sesame")
    await sender.sent()
    assert [each.body for each in receiver.seen] == [{"id": "x"}] * 3
    first, last = sender.notices
    assert first == f"a webhook did not get through: {receiver.origin}: answered 404"
    assert is_given_up(last, f"{receiver.origin}: answered 404")


def is_given_up(notice: str, reason: str) -> bool:
    """Whether the notice has this reason. Its number of seconds depends on the machine's speed."""
    given_up = r"the webhook of a prediction's end was given up after \d+ s: "
    return re.fullmatch(given_up + re.escape(reason), notice) is not None


async def answered(status: int) -> Response:
    return Response(status_code=status)


async def test_a_410_ends_the_retries(receiver: Receiver, start: Callable[..., Sender]) -> None:
    receiver.answer = lambda _: answered(410)
    sender = start()
    sender.webhooks.send_completed(b"{}", receiver.origin)
    await sender.sent()
    assert len(receiver.seen) == 1
    assert not sender.notices


async def test_by_default_the_event_completed_is_retried_for_about_a_minute() -> None:
    webhooks = Webhooks(SECRET, print)
    assert 55 <= sum(webhooks.delays) <= 70
    assert webhooks.window == 0.5
    await webhooks.close()


async def test_redirects_are_not_followed(receiver: Receiver, start: Callable[..., Sender]) -> None:
    async def send_on(_: Seen) -> Response:
        return RedirectResponse(f"{receiver.origin}/elsewhere", 307)

    receiver.answer = send_on
    sender = start(delays=(0.01,))
    sender.webhooks.send_completed(b"{}", f"{receiver.origin}/hook")
    await sender.sent()
    assert [each.path for each in receiver.seen] == ["/hook", "/hook"]
    assert sender.notices[-1].endswith("answered 307")


async def test_an_unreachable_receiver_is_reported(start: Callable[..., Sender]) -> None:
    with bind() as listening:
        origin = origin_of(listening)
    sender = start(delays=(0.01,))
    sender.watch(origin).tell(Started(), END)
    await sender.sent()
    first, last = sender.notices
    assert first.startswith(f"a webhook did not get through: {origin}: no connection (")
    assert is_given_up(last, first.removeprefix("a webhook did not get through: "))


async def test_a_receiver_that_hangs_does_not_delay_another_receiver(
    receiver: Receiver, start: Callable[..., Sender]
) -> None:
    receiver.answer = hang
    sender = start(timeout=3600)
    async with receiving() as other:
        for _ in range(100):
            sender.watch(receiver.origin).tell(Started(), END)
        sender.watch(other.origin).tell(Started(), END)
        await other.until(2)
        assert len(await receiver.until(20)) == 20
        begun = time.monotonic()
        async with asyncio.timeout(30):
            await sender.webhooks.close()
        assert time.monotonic() - begun > 0.5
        assert len(receiver.seen) == 20


@pytest.mark.long
async def test_a_request_that_times_out_does_not_change_the_order(
    receiver: Receiver, start: Callable[..., Sender]
) -> None:
    async def hang_once(seen: Seen) -> Response:
        return await (hang if len(receiver.seen) == 1 else take)(seen)

    receiver.answer = hang_once
    sender = start(timeout=3, window=0.01)  # long enough for the requests that are answered
    story = sender.watch(receiver.origin)
    story.tell(Started())
    await receiver.until(1)
    story.tell(Produced(1), Produced(2))
    await receiver.until(2)
    story.tell(END)
    await sender.sent()
    assert [(each.body["status"], each.body["output"]) for each in receiver.seen] == [
        ("processing", None),
        ("processing", 2),
        ("succeeded", "done"),
    ]
    assert sender.notices == [f"a webhook did not get through: {receiver.origin}: no answer in time"]


async def test_the_body_of_a_receivers_response_is_not_read(receiver: Receiver, start: Callable[..., Sender]) -> None:
    class Endless(Response):
        async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await asyncio.Event().wait()

    async def answer(_: Seen) -> Response:
        return Endless()

    receiver.answer = answer
    sender = start(timeout=3600)
    sender.watch(receiver.origin).tell(Started(), END)
    assert len(await receiver.until(2)) == 2
    await sender.sent()
    assert not sender.notices


async def test_the_event_completed_is_sent_even_if_the_server_stops_right_after_it(
    receiver: Receiver, start: Callable[..., Sender]
) -> None:
    sender = start()
    story = sender.watch(receiver.origin)
    story.tell(Started())
    await receiver.until(1)
    story.tell(Ended("failed", error="the server was stopped"))
    await sender.webhooks.close()
    assert [each.body["status"] for each in receiver.seen] == ["processing", "failed"]


async def test_the_completed_events_of_a_hundred_predictions_are_sent_concurrently(
    receiver: Receiver, start: Callable[..., Sender]
) -> None:
    sender = start()
    for number in range(100):
        sender.watch(receiver.origin, "completed").tell(Started(), Ended("succeeded", number))
    await sender.sent()
    assert sorted(each.body["output"] for each in receiver.seen) == list(range(100))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hook",
        "ftp://localhost/x",
        "http://",
        "mailto:me@localhost",
        "file:///etc",
        "http://a b/",
        "http://a:99999/",
    ],
)
def test_an_invalid_receiver_url_raises_a_value_error(url: str) -> None:
    webhooks = Webhooks(SECRET, print)
    assert not is_receiver(url)
    with pytest.raises(ValueError, match="not an address"):
        webhooks.send_completed(b"{}", url)


@pytest.mark.parametrize("url", ["http://localhost:3000/hook", "https://example.com", "HTTP://[::1]/?token=1"])
def test_a_receiver_may_have_an_http_or_https_url(url: str) -> None:
    assert is_receiver(url)

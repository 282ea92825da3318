"""The server that replays: all its responses come from a recording."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import tempfile
import time
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.inputs.secrets import REDACTED
from replicate_job.serving.answer import ANY_ORIGIN, Answer, json_answer, problem
from replicate_job.serving.body import read_bytes
from replicate_job.serving.faults import Faults
from replicate_job.serving.headers import preference_applied, read_prefer, read_times
from replicate_job.serving.middleware import FaultMiddleware, operation
from replicate_job.serving.page import page_answer, read_page
from replicate_job.serving.resource import account_body, iso
from replicate_job.serving.stream import encode_event
from replicate_job.serving.upload import read_upload
from replicate_job.serving.versioned import versioned
from replicate_job.testing.delivery import OutputFile, serve_file
from replicate_job.testing.recording.addresses import Addresses
from replicate_job.testing.recording.certificate import Identity
from replicate_job.testing.recording.cleaning import plain, walk, with_origin_of_webhook
from replicate_job.testing.recording.log import clean_path
from replicate_job.testing.recording.loopback import Loopback, endpoints
from replicate_job.testing.recording.matching import explain, is_same, targets
from replicate_job.testing.recording.recorder import body_of
from replicate_job.testing.recording.states import state_at
from replicate_job.testing.recording.tape import HELD, Question, folder_of, load
from replicate_job.wire.data_url import encode
from replicate_job.wire.prediction import TERMINAL, parse_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from replicate_job.testing.recording.tape import Exchange, TapedFile, TapedPrediction
    from replicate_job.wire.sse import Event

LONGEST = 0.2
"""The most seconds that a replayed prediction takes. A shorter prediction takes as long as when it was recorded."""
_HELD = re.compile(rf"(data:[^,;]*){HELD}(.+)")
TOKEN = "r8_replay_0000000000000000000000000000000"  # noqa: S105 - not a secret: any token is accepted
_TIMES = ("created_at", "started_at", "completed_at", "deadline")
_ACCOUNT = account_body("replayed", "Replayed")
"""The account if the recording has no account. It is needed because clients may ask for it at any time."""


class Replayed:
    """A prediction of this run. ``id`` is the recorded id, or a new id if this run has used the recorded id already."""

    def __init__(self, taped: TapedPrediction, id_: str, inputs: Any, number: int) -> None:
        self.taped, self.id, self.inputs, self.number = taped, id_, inputs, number
        # Rounded like created_at, so that created_after compares the same time.
        self.created, self.canceled = round(time.time(), 6), False
        ends = [state.after for state in taped.states[: taped.canceled]]
        self._pace = min(1.0, LONGEST / ends[-1]) if ends and ends[-1] else 1.0
        recorded = parse_time(state_at(taped.states, 0).get("created_at"))
        self._shift = timedelta(seconds=self.created - recorded.timestamp()) if recorded else timedelta()

    @property
    def takes(self) -> float:
        """Seconds from now until its last state."""
        states = self.taped.states if self.canceled else self.taped.states[: self.taped.canceled]
        return 0.0 if self.canceled else max(0.0, self.created + states[-1].after * self._pace - time.time())

    def snapshot(self) -> dict[str, Any]:
        """The current prediction object, with the times of this run."""
        states = self.taped.states
        if self.canceled:
            last = len(states) - 1
        else:
            elapsed = time.time() - self.created
            reached = (n for n, one in enumerate(states[: self.taped.canceled]) if one.after * self._pace <= elapsed)
            last = max(reached, default=0)
        body = state_at(states, last)
        for name in _TIMES:
            if moment := parse_time(body.get(name)):
                body[name] = iso((moment + self._shift).timestamp())
        body["created_at"] = iso(self.created)
        if self.taped.request:
            body["input"] = self.inputs
        urls = walk(body.get("urls"), lambda text: text.replace(self.taped.id, self.id))
        return body | {"id": self.id, "urls": urls}


class Replayer:
    """Answers from the recording at ``path``. ``unmatched`` has a line for each request that was not recorded.

    Raises RecordingError.
    """

    def __init__(self, path: Path, loopback: Loopback, *, lenient: bool = False) -> None:
        self.base_url, self.environment = loopback.own, loopback.environment(TOKEN)
        self.unmatched: list[str] = []
        self._path, self._lenient = path, lenient
        self._tape = load(path)
        self._addresses = Addresses(loopback.own, loopback.secure)
        self._files = {file.url: file for file in self._tape.files}
        self._taped = {one.id: one for one in self._tape.predictions}
        self._created = [one for one in self._tape.predictions if one.request]
        self._targets = {one.id: targets(one.request, state_at(one.states, 0)) for one in self._created if one.request}
        self._made: dict[str, Replayed] = {}
        self._used: set[str] = set()
        self._asked: dict[int, int] = {}

    def app(self) -> ASGIApp:
        return endpoints(self._api, self._file, self._stream)

    async def _api(self, request: Request) -> ASGIApp:
        asked = await self._question(request)
        match operation(request.scope):
            case "create":
                return await self._create(request, asked)
            case "get":
                return self._get(request, asked)
            case "cancel":
                return self._cancel(request, asked)
            case "list":
                return await self._list(request)
            case _:
                return self._exchange(asked)

    async def _question(self, request: Request) -> Question:
        path = clean_path(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            form = await read_upload(request)
            return Question(request.method, path, upload=hashlib.sha256(form.content).hexdigest())
        body = body_of(await read_bytes(request))
        body = walk(self._addresses.taped(self._addresses.inward(body)), plain)
        return Question(request.method, path, with_origin_of_webhook(body) if isinstance(body, dict) else body)

    async def _create(self, request: Request, asked: Question) -> ASGIApp:
        taped = self._next(asked)
        if taped is None:
            refused = self._recorded_exchange(asked)
            if refused:
                return self._reply(refused)
            return self._not_recorded(asked, [one.request for one in self._created if one.request])
        id_ = taped.id if taped.id not in self._made else secrets.token_hex(len(taped.id) // 2 or 8)
        inputs = _given(asked, taped)
        made = self._made[id_] = Replayed(taped, id_, inputs, len(self._made))
        wait = read_prefer(request.headers.get("prefer", ""))
        if wait:
            await asyncio.sleep(min(wait, made.takes))
        return json_answer(self._shown(made, request), taped.status, *preference_applied(wait))

    def _next(self, asked: Question) -> TapedPrediction | None:
        """The recorded prediction for a create request. Equal requests get their predictions in order, each once.

        If nothing matches in lenient mode, it is any prediction of the same model. None if no prediction is found.
        """
        unused = [one for one in self._created if one.id not in self._used]
        found = next((one for one in unused if one.request and is_same(one.request, asked)), None)
        if found is None and self._lenient:
            named = targets(asked)
            alike = (one for one in (*unused, *self._created) if named & self._targets[one.id])
            found = next(alike, None)
        if found:
            self._used.add(found.id)
        return found

    def _get(self, request: Request, asked: Question) -> Answer:
        made = self._find(request)
        return json_answer(self._shown(made, request)) if made else self._exchange(asked)

    def _cancel(self, request: Request, asked: Question) -> Answer:
        made = self._find(request)
        if made is None:
            return self._exchange(asked)
        if made.taped.canceled is not None:
            made.canceled = True
        elif made.snapshot()["status"] not in TERMINAL:
            return self._not_recorded(asked, [])
        return json_answer(self._shown(made, request))

    def _find(self, request: Request) -> Replayed | None:
        """The prediction of this run whose id a request names; None for an unknown id.

        A recorded prediction that no create request of this run has used begins with the first request that names it.
        """
        id_ = request.url.path.split("/")[3]
        taped = self._taped.get(id_)
        if taped and id_ not in self._made:
            self._used.add(id_)
            inputs = taped.request.body.get("input") if taped.request and isinstance(taped.request.body, dict) else None
            self._made[id_] = Replayed(taped, id_, inputs, len(self._made))
        return self._made.get(id_)

    async def _list(self, request: Request) -> ASGIApp:
        times = read_times(request.query_params)
        after, before = times.get("created_after", 0.0), times.get("created_before", float("inf"))
        made = [one for one in self._made.values() if after <= one.created < before]
        page = read_page(made, lambda one: one.number, request.query_params.get("cursor"))
        bodies = [msgspec.json.encode(self._shown(one, request)) for one in page.items]
        kept = {name: request.query_params[name] for name in times}
        return await page_answer(bodies, page, f"{self._addresses.own}/v1/predictions", **kept)

    def _exchange(self, asked: Question) -> Answer:
        found = self._recorded_exchange(asked)
        if found:
            return self._reply(found)
        if asked.method == "GET" and asked.path == "/v1/account":
            return json_answer(_ACCOUNT)
        return self._not_recorded(asked, [one.request for one in self._tape.requests])

    def _recorded_exchange(self, asked: Question) -> Exchange | None:
        """The recorded exchange for a request, None if there is none.

        Equal requests get the recorded responses in order. When these are used up, they get the last one again.
        """
        known = [(n, one) for n, one in enumerate(self._tape.requests) if is_same(one.request, asked)]
        if self._lenient and not known:
            path = asked.path.partition("?")[0]
            known = [
                (n, one)
                for n, one in enumerate(self._tape.requests)
                if (one.request.method, one.request.path.partition("?")[0]) == (asked.method, path)
            ]
        if not known:
            return None
        first = known[0][0]
        count = self._asked[first] = self._asked.get(first, 0) + 1
        return known[min(count, len(known)) - 1][1]

    def _reply(self, exchange: Exchange) -> Answer:
        reply = exchange.reply
        if reply.file:
            return Answer(reply.status, self._body(reply.file), "application/octet-stream")
        if reply.json is None:
            return Answer(reply.status, content_type="")
        return json_answer(self._addresses.outward(self._whole(reply.json)), reply.status)

    def _not_recorded(self, asked: Question, recorded: list[Question]) -> Answer:
        line = f"{asked.method} {asked.path} is not in {self._path.name}: {explain(asked, recorded)}"
        self.unmatched.append(line)
        advice = "record it again" if self._lenient else "record it again, or replay it leniently"
        return problem(400, f"{line}; {advice}", "Not recorded")

    def _shown(self, made: Replayed, request: Request) -> dict[str, Any]:
        agent = request.headers.get("user-agent", "")
        shown: dict[str, Any] = self._addresses.outward(self._whole(made.snapshot()), agent)
        return shown

    def _whole(self, value: Any) -> Any:
        """The value with the recorded contents put back into its data URLs."""

        def filled(text: str) -> str:
            found = _HELD.fullmatch(text)
            return encode(found[1].removeprefix("data:"), self._body(found[2])) if found else text

        return walk(value, filled)

    def _body(self, name: str) -> bytes:
        return (folder_of(self._path) / name).read_bytes()

    async def _file(self, request: Request) -> ASGIApp:
        url = self._addresses.files.get(request.path_params["key"], "")
        file = self._files.get(url)
        if file is None:
            return self._not_recorded(
                Question("GET", url or request.url.path), [Question("GET", one) for one in self._files]
            )
        return _Sending(file, self._body(file.body))

    async def _stream(self, request: Request) -> ASGIApp:
        made = self._made.get(request.path_params["id"])
        if made is None or made.taped.events is None:
            return self._not_recorded(Question("GET", request.url.path), [])
        last = request.headers.get("last-event-id")
        events = made.taped.events
        place = next((n + 1 for n, one in enumerate(events) if last and one.id == last), 0)
        return _Streaming(self, made, events[place:], request.headers.get("user-agent", ""))

    def encoded(self, events: list[Event], agent: str) -> Iterator[bytes]:
        for event in events:
            data = self._addresses.file(self._whole(event.data), agent)
            yield encode_event(event.type, data, event.id if event.own_id else "")


class _Sending(msgspec.Struct, frozen=True):
    file: TapedFile
    content: bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        file = OutputFile(content=self.content, content_type=self.file.type, disposition=self.file.disposition)
        await serve_file(file, scope, send)


class _Streaming(msgspec.Struct, frozen=True):
    """Sends all events without a pause, except ``done``, which waits until the prediction has ended."""

    replayer: Replayer
    made: Replayed
    events: list[Event]
    agent: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        headers += [(name.encode(), value.encode()) for name, value in ANY_ORIGIN]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for event, encoded in zip(self.events, self.replayer.encoded(self.events, self.agent), strict=True):
            if event.type == "done":
                await asyncio.sleep(self.made.takes)
            await send({"type": "http.response.body", "body": encoded, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _given(asked: Question, taped: TapedPrediction) -> Any:
    """The input of this request. The inputs that are redacted in the recording are redacted here too."""
    inputs = asked.body.get("input") if isinstance(asked.body, dict) else None
    known = taped.request.body.get("input") if taped.request and isinstance(taped.request.body, dict) else None
    if not isinstance(inputs, dict) or not isinstance(known, dict):
        return inputs
    return {name: REDACTED if known.get(name) == REDACTED else value for name, value in inputs.items()}


@asynccontextmanager
async def replaying(
    path: Path,
    *,
    lenient: bool = False,
    faults: Faults | None = None,
    port: int = 0,
    identity: Identity | None = None,
) -> AsyncIterator[Replayer]:
    """Run a replay, by default on a free port. Raises RecordingError, or OSError for a port in use."""
    with (
        tempfile.TemporaryDirectory(prefix="replicate-job-") as folder,
        Loopback(port, identity or Identity(Path(folder))) as loopback,
    ):
        replayer = Replayer(path, loopback, lenient=lenient)
        async with loopback.serve(versioned(FaultMiddleware(replayer.app(), faults or Faults()))):
            yield replayer

"""The server that records: it forwards every request to the API, and logs the request and the response."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.errors import JobError, ReplicateJobError, TransportError
from replicate_job.inputs.secrets import REDACTED
from replicate_job.serving.answer import NOT_FOUND, Answer, json_answer, problem
from replicate_job.serving.body import read_bytes
from replicate_job.serving.connection import reset
from replicate_job.serving.headers import has_token, preference_applied, read_prefer
from replicate_job.serving.middleware import operation
from replicate_job.serving.stream import encode_comment, encode_event
from replicate_job.serving.upload import read_upload
from replicate_job.serving.versioned import versioned
from replicate_job.testing.delivery import OutputFile, serve_file
from replicate_job.testing.recording.addresses import Addresses, is_prediction_like
from replicate_job.testing.recording.certificate import Identity
from replicate_job.testing.recording.cleaning import clean_url
from replicate_job.testing.recording.log import Log, SeenPrediction
from replicate_job.testing.recording.loopback import Loopback, endpoints
from replicate_job.testing.recording.tape import Question, Tape, save
from replicate_job.testing.recording.upstream import Answered, Upstream, open_upstream
from replicate_job.wire.openapi import secret_inputs
from replicate_job.wire.sse import Decoder, Event
from replicate_job.wire.target import parse_target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from replicate_job.settings import Settings

NOT_ITS_OWN = problem(
    401,
    "The recorder takes the token of its own environment alone: let the program read REPLICATE_API_TOKEN.",
    "Unauthenticated",
)
"""The response to a request without the recorder's own token.

Without this check, any program could send requests with the real token, which the recorder adds to each request.
"""
_OK = range(200, 300)
_PASSING = frozenset({408, 409, 425, 429}) | frozenset(range(500, 600))
"""Statuses of temporary errors. The responses are forwarded, but not recorded."""
_PASSED_ON = ("prefer", "cancel-after", "content-type")


class Recorder:
    """A running recorder. Clients use it by ``base_url`` and ``environment``.

    ``troubles`` has the errors of requests that got no response. ``is_used`` says whether any request for the API has
    arrived. ``token`` is made up, and valid for this recorder only.
    """

    is_used = False

    def __init__(self, upstream: Upstream, loopback: Loopback, folder: Path, secrets: Iterable[str]) -> None:
        self.base_url, self.log, self.troubles = loopback.own, Log(), list[str]()
        self.token = f"r8_{token_hex(18)}"
        self.environment = loopback.environment(self.token, list_lag=10)  # the real API's list may be 10 s late
        self._upstream, self._folder = upstream, folder
        self._addresses = Addresses(loopback.own, loopback.secure, upstream.transport.base_url)
        self.log.secrets.update(secrets, [self.token])

    def app(self) -> ASGIApp:
        return endpoints(self._api, self._file, self._stream)

    async def save(self, path: Path) -> Tape:
        """Read the schemas that tell which inputs are secret, and write the recording. Raises RecordingError."""
        await self._learn()
        tape, bodies = self.log.tape(self._addresses)
        save(tape, bodies, path)
        return tape

    async def _api(self, request: Request) -> ASGIApp:
        if not has_token(request.headers.get("authorization", "").encode(), self.token.encode()):
            return NOT_ITS_OWN
        self.is_used = True
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        try:
            if request.headers.get("content-type", "").startswith("multipart/form-data"):
                form = await read_upload(request)
                question = Question(request.method, path, upload=hashlib.sha256(form.content).hexdigest())
                response = await self._upstream.upload(path, form)
            else:
                body = self._inward(await read_bytes(request))
                question = Question(request.method, path, body_of(body))
                headers = {name: value for name in _PASSED_ON if (value := request.headers.get(name))}
                response = await self._upstream.send(request.method, path, body or None, headers)
        except TransportError as error:
            self.troubles.append(str(error))
            return reset_by  # so that the program sees the same failure as without the recorder
        return self._answer(request, question, response)

    def _inward(self, body: bytes) -> bytes:
        if not any(origin.encode() in body for origin in (self._addresses.own, self._addresses.secure)):
            return body
        return msgspec.json.encode(self._addresses.inward(body_of(body)))

    def _answer(self, request: Request, question: Question, response: Answered) -> Answer:
        content = _json(response.body)
        self._note(operation(request.scope), question, response.status, content, response.body)
        headers = tuple((name, response.headers[name]) for name in ("retry-after",) if name in response.headers)
        if request.method == "POST" and response.status in _OK:
            headers += preference_applied(read_prefer(request.headers.get("prefer", "")))
        if content is None:
            kind = response.headers.get("content-type", "application/octet-stream") if response.body else ""
            return Answer(response.status, response.body, kind, headers)
        agent = request.headers.get("user-agent", "")
        return json_answer(self._addresses.outward(content, agent), response.status, *headers)

    def _note(self, kind: str, question: Question, status: int, content: Any, raw: bytes) -> None:
        if status in _PASSING:
            return
        if status in _OK and kind in {"create", "get", "cancel"} and is_prediction_like(content):
            seen = self.log.predictions.get(content["id"])
            if seen is None:
                made_by = question if kind == "create" else None
                seen = self.log.predictions[content["id"]] = SeenPrediction(made_by, status)
            if kind == "cancel":
                seen.cancel()
            seen.observe(content)
        elif kind == "list":
            listed = _field(content, "results")
            for item in listed if isinstance(listed, list) else ():
                if is_prediction_like(item) and item["id"] in self.log.predictions:
                    self.log.predictions[item["id"]].observe(item)
        elif not (kind in {"get", "cancel"} and self._is_known(question.path)):
            if question.path.startswith("/v1/webhooks/") and (key := _field(content, "key")):
                self.log.secrets.add(str(key))
                content = {**content, "key": REDACTED}
            self.log.exchanges.append((question, status, content, raw))

    def _is_known(self, path: str) -> bool:
        return path.split("/")[3].partition("?")[0] in self.log.predictions

    async def _file(self, request: Request) -> ASGIApp:
        url = self._addresses.files.get(request.path_params["key"])
        if url is None:
            return NOT_FOUND
        return _Download(self, url)

    async def download(self, url: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a file as it arrives, and log it when it is complete."""
        known = self.log.files.get(clean_url(url))
        if known:
            path, kind, disposition = known
            file = OutputFile(content=path.read_bytes(), content_type=kind, disposition=disposition)
            await serve_file(file, scope, send)
            return
        started = False
        try:
            async with self._upstream.fetch(url, {}) as response:
                # Content-Length is left out, because a host that compresses the file does not send the file's length.
                headers = {n: v for n in ("content-type", "content-disposition") if (v := response.headers.get(n))}
                encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
                await send({"type": "http.response.start", "status": response.status, "headers": encoded})
                started = True
                with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as kept:
                    async for chunk in response.chunks():
                        kept.write(chunk)
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if response.status in _OK:
                kind, disposition = headers.get("content-type", ""), headers.get("content-disposition")
                self.log.files[clean_url(url)] = Path(kept.name), kind, disposition
            await send({"type": "http.response.body", "body": b""})
        except ReplicateJobError as error:
            self.troubles.append(str(error))
            if started or isinstance(error, TransportError):
                await reset(scope, receive)
            else:
                await problem(502, str(error), "Not fetched")(scope, receive, send)

    async def _stream(self, request: Request) -> ASGIApp:
        id_ = request.path_params["id"]
        url = self._addresses.streams.get(id_)
        if url is None:
            return NOT_FOUND
        headers = request.headers
        return _Streaming(self, id_, url, headers.get("last-event-id", ""), headers.get("user-agent", ""))

    async def stream(self, streaming: _Streaming, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a stream event by event, because its data may have addresses of files."""
        events: list[Event] = []
        headers = {"accept": "text/event-stream", "cache-control": "no-store"}
        headers |= {"last-event-id": streaming.after} if streaming.after else {}
        try:
            async with self._upstream.transport.stream(streaming.url, headers) as (status, chunks):
                kind = b"text/event-stream" if status in _OK else b"application/json"
                await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
                decoder = Decoder()
                async for chunk in chunks:
                    sent = chunk if status not in _OK else self._pass_on(decoder.feed(chunk), events, streaming.agent)
                    await send({"type": "http.response.body", "body": sent, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except (TransportError, JobError) as error:
            self.troubles.append(str(error))
            await reset(scope, receive)
        finally:
            if events and streaming.id in self.log.predictions:
                self.log.predictions[streaming.id].streamed(events, streaming.after)

    def _pass_on(self, found: list[Event], events: list[Event], agent: str) -> bytes:
        events += found
        shown = [(one.type, self._addresses.file(one.data, agent), one.id if one.own_id else "") for one in found]
        # Without a complete event, a comment is sent, so that the client does not time out.
        return b"".join(encode_event(*one) for one in shown) or encode_comment("more")

    async def _learn(self) -> None:
        """Read the schemas of the models that were run, because they tell which inputs are secret.

        The responses are recorded too, because a program that has the schemas in its cache now may request them in a
        replay.
        """
        for seen in list(self.log.predictions.values()):
            model, version = (str(seen.last.get(name) or "") for name in ("model", "version"))
            await self._learn_model(model, version)
        for question, status, *_ in list(self.log.exchanges):
            if question.method == "POST" and status not in _OK and "predictions" in question.path:
                await self._learn_model(*_named(question))

    async def _learn_model(self, model: str, version: str) -> None:
        if model.count("/") != 1 or (model, version) in self.log.schemas:
            return
        paths = [f"/v1/models/{model}"]
        paths += [f"/v1/models/{model}/versions/{version}"] if version not in {"", "hidden"} else []
        secrets: set[str] = set()
        for path in paths:
            with suppress(TransportError, msgspec.DecodeError):
                status, content = await self._upstream.ask(path)
                self._note("model", Question("GET", path), status, content, b"")
                described = content if "/versions/" in path else _field(content, "latest_version")
                schema = _field(described, "openapi_schema")
                secrets |= set(secret_inputs(schema if isinstance(schema, dict) else None))
        self.log.schemas[model, version] = tuple(sorted(secrets))


def _field(content: Any, name: str) -> Any:
    """A field of a response. None if the response has another shape, which must not end the recording."""
    return content.get(name) if isinstance(content, dict) else None


def _named(question: Question) -> tuple[str, str]:
    """The model and version that a create request names; empty texts if it names none."""
    parts = question.path.partition("?")[0].split("/")
    if parts[2] == "models":
        return "/".join(parts[3:5]), ""
    text = question.body.get("version") if isinstance(question.body, dict) else None
    with suppress(JobError):
        target = parse_target(text if isinstance(text, str) else "")
        return target.slug, target.version
    return "", ""


class _Download(msgspec.Struct, frozen=True):
    recorder: Recorder
    url: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.recorder.download(self.url, scope, receive, send)


class _Streaming(msgspec.Struct, frozen=True):
    recorder: Recorder
    id: str
    url: str
    after: str
    agent: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.recorder.stream(self, scope, receive, send)


async def reset_by(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI's signature
    await reset(scope, receive)


def body_of(raw: bytes) -> Any:
    """A request's body, decoded from JSON if it is JSON, otherwise as text; None for an empty body."""
    found = _json(raw)
    return raw.decode("utf-8", "replace") or None if found is None else found


def _json(raw: bytes) -> Any:
    """The decoded JSON; None if the text is empty or is not JSON."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.decode(raw) if raw else None
    return None


@asynccontextmanager
async def recording(settings: Settings, port: int = 0, identity: Identity | None = None) -> AsyncIterator[Recorder]:
    """Run a recorder, by default on a free port. Raises RecordingError, JobError, or OSError for a port in use."""
    async with open_upstream(settings) as upstream:
        with tempfile.TemporaryDirectory(prefix="replicate-job-") as name:
            folder = Path(name)
            with Loopback(port, identity or Identity(folder)) as loopback:
                secrets = [settings.token or "", *settings.headers.values()]
                recorder = Recorder(upstream, loopback, folder, secrets)
                async with loopback.serve(versioned(recorder.app())):
                    yield recorder

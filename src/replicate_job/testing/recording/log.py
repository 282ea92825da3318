"""The traffic that a recorder has seen, unchanged in memory. When all secrets are known, it becomes the recording."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.inputs.secrets import REDACTED
from replicate_job.testing.recording.cleaning import Cleaner, clean_url, hide_input
from replicate_job.testing.recording.states import changes
from replicate_job.testing.recording.tape import FORMAT, Exchange, Question, Reply, Tape, TapedFile, TapedPrediction
from replicate_job.wire.media import suffix_of
from replicate_job.wire.prediction import TERMINAL
from replicate_job.wire.sse import Event

if TYPE_CHECKING:
    from pathlib import Path

    from replicate_job.testing.recording.addresses import Addresses


class SeenPrediction:
    """A prediction that was seen. ``bodies`` are its different snapshots, each with the seconds since the first one.

    ``request`` is the create request, None if the recorder did not see it. ``status`` is the HTTP status of the first
    response with the prediction. ``canceled`` is how many snapshots came before a cancel request, None without one.
    """

    def __init__(self, request: Question | None, status: int) -> None:
        self.request, self.status = request, status
        self.bodies: list[tuple[float, dict[str, Any]]] = []
        self.canceled: int | None = None
        self.events: list[Event] | None = None
        self._since = time.monotonic()

    @property
    def last(self) -> dict[str, Any]:
        return self.bodies[-1][1]

    def observe(self, body: dict[str, Any]) -> None:
        """Add a snapshot, unless it is known, is older than the last snapshot, or has lost its data."""
        if self.bodies and (body.get("data_removed") or any(body == seen for _, seen in self.bodies)):
            return
        if self.bodies and self.last.get("status") in TERMINAL and body.get("status") not in TERMINAL:
            return
        self.bodies.append((round(time.monotonic() - self._since, 2) if self.bodies else 0.0, body))

    def cancel(self) -> None:
        if self.canceled is None:
            self.canceled = max(1, len(self.bodies))

    def streamed(self, events: list[Event], after: str) -> None:
        """Add the events of one connection, which resumed after the event with the id ``after``."""
        known = self.events or []
        place = next((index + 1 for index, event in enumerate(known) if after and event.id == after), 0)
        if place or len(events) > len(known):
            self.events = known[:place] + events


class Log:
    """The traffic so far. ``predictions`` maps ids to the predictions that were seen.

    ``exchanges`` has all other requests, each with the response's status, its JSON (None if it is not JSON) and its
    bytes. ``files`` maps an address (without signature) to the downloaded file, its media type and
    ``Content-Disposition``. ``schemas`` maps a model and a version to the names of their secret inputs. ``secrets`` has
    all known secret values.
    """

    def __init__(self) -> None:
        self.predictions: dict[str, SeenPrediction] = {}
        self.exchanges: list[tuple[Question, int, Any, bytes]] = []
        self.files: dict[str, tuple[Path, str, str | None]] = {}
        self.secrets: set[str] = set()
        self.schemas: dict[tuple[str, str], tuple[str, ...]] = {}

    def secret_names(self, request: Question | None, body: dict[str, Any] | None) -> set[str]:
        """The names of the inputs that are secret by the known schemas, or that the API has redacted.

        ``body`` is the prediction object; None if the request created no prediction.
        """
        model, version = (str((body or {}).get(name) or "") for name in ("model", "version"))
        names = set(self.schemas.get((model, version), ()))
        for (known, one), secrets in self.schemas.items():
            if body is None and request and (f"/{known}/" in request.path or _names(request, known, one)):
                names.update(secrets)
        echoed = (body or {}).get("input")
        return names | {name for name, value in (echoed or {}).items() if value == REDACTED}

    def tape(self, addresses: Addresses) -> tuple[Tape, dict[str, bytes]]:
        """Make the recording. Returns it, and its bodies by name."""
        names = {id_: self.secret_names(seen.request, seen.last) for id_, seen in self.predictions.items()}
        for id_, hidden in names.items():
            self.secrets |= _values(self.predictions[id_].request, hidden)
        for question, *_ in self.exchanges:
            self.secrets |= _values(question, self.secret_names(question, None))
        cleaner = Cleaner(self.secrets)
        predictions = [self._prediction(i, seen, names[i], cleaner, addresses) for i, seen in self.predictions.items()]
        exchanges = self._exchanges(cleaner, addresses)
        files = [self._file(url, cleaner) for url in sorted(self.files)]
        return Tape(FORMAT, predictions, exchanges, files), cleaner.bodies

    def _file(self, url: str, cleaner: Cleaner) -> TapedFile:
        path, kind, disposition = self.files[url]
        body = cleaner.keep(path.read_bytes(), suffix_of(_last(url)))
        return TapedFile(cleaner.text(url), body, kind, disposition and cleaner.text(disposition))

    def _prediction(
        self, id_: str, seen: SeenPrediction, hidden: set[str], cleaner: Cleaner, addresses: Addresses
    ) -> TapedPrediction:
        left_out = {"webhook"} | ({"input"} if seen.request else set())  # a replay shows the input of its own request
        bodies = []
        for after, body in seen.bodies:
            shown = hide_input(body, hidden)
            kept = {name: value for name, value in shown.items() if name not in left_out}
            bodies.append((after, cleaner.answer(addresses.taped(kept))))
        events = seen.events and [
            msgspec.structs.replace(event, data=cleaner.answer(event.data)) for event in seen.events
        ]
        request = seen.request and _cleaned(seen.request, hidden, cleaner, addresses)
        return TapedPrediction(
            id=id_, request=request, status=seen.status, states=changes(bodies), canceled=seen.canceled, events=events
        )

    def _exchanges(self, cleaner: Cleaner, addresses: Addresses) -> list[Exchange]:
        """The exchanges, sorted by path so that two recordings differ little. Repetitions are left out.

        An exchange is a repetition if the latest equal request had the same response.
        """
        exchanges: list[Exchange] = []
        for question, status, content, raw in self.exchanges:
            request = _cleaned(question, self.secret_names(question, None), cleaner, addresses)
            if content is None and raw:
                reply = Reply(status, file=cleaner.keep(raw))
            else:
                reply = Reply(status, cleaner.answer(addresses.taped(content)))
            exchange = Exchange(request, reply)
            earlier = next((one for one in reversed(exchanges) if one.request == request), None)
            if earlier is None or earlier.reply != reply:
                exchanges.append(exchange)
        return sorted(exchanges, key=lambda one: (one.request.path, one.request.method))


def _names(request: Question, model: str, version: str) -> bool:
    named = str((request.body or {}).get("version") or "") if isinstance(request.body, dict) else ""
    return bool(named) and named in {model, version, f"{model}:{version}"}


def _cleaned(question: Question, hidden: set[str], cleaner: Cleaner, addresses: Addresses) -> Question:
    body = cleaner.request(addresses.taped(hide_input(question.body, hidden)))
    return Question(question.method, cleaner.text(clean_path(question.path)), body, question.upload)


def clean_path(path: str) -> str:
    """A path with its query, without signatures."""
    return clean_url(f"http://x{path}").removeprefix("http://x")


def _values(question: Question | None, hidden: set[str]) -> set[str]:
    """The values of a request's secret inputs, which are removed everywhere else too."""
    inputs = question.body.get("input") if question and isinstance(question.body, dict) else None
    shown = (hide_input(question.body, hidden) or {}).get("input") if question and isinstance(inputs, dict) else None
    if not isinstance(inputs, dict) or not isinstance(shown, dict):
        return set()
    return {value for name, value in inputs.items() if isinstance(value, str) and shown[name] != value}


def _last(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]

"""Decides which fault strikes which request. Faults are queued, or occur with a probability. This does no I/O.

A text in a small language describes the faults. An example is
``create:drop-after=0.2,create:500-before=0.05,get:503=0.3,rate=600/min,latency=50ms,expire=10s``. Each item is an
operation with a fault and its probability, or a setting for all operations.

=================== ===============================================================================================
``drop`` ``close``  the connection is reset, or closed, without an answer
``404`` ``503`` …   an answer of this status; ``429(body=5)`` ``429(header=5)`` ``429(date=5)`` ``429(detail=5)`` say
                    when to try again, ``429()`` does not, and ``429(header=soon)`` is nonsense
``html`` ``empty``  502 with a page of HTML; 503 without a body
``nonsense``        200 with JSON that is not a prediction
``redirect(URL)``   307 to another place
``slow(2s)``        the real answer, late
``hang``            no answer for as long as the client stays
``truncate``        the answer breaks off: fewer bytes than its ``Content-Length``
``half``            half of the answer's text, with a ``Content-Length`` that fits it
=================== ===============================================================================================

Each can be followed by ``-before`` (the request is not carried out; the default) or ``-after`` (the request is carried
out, and the fault strikes its response). ``truncate`` and ``half`` always mean ``-after``. ``drop``, ``close`` and
``hang`` can wait first, as in ``drop-after(300ms)``.

Operations: ``create get list cancel`` of predictions, ``model`` (deployments too), ``file`` (uploads), ``stream``,
``download`` (outputs), ``other``. The header ``X-Replicate-Job-Fault`` names a fault for its own request.
"""

from __future__ import annotations

import math
import random
import re
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from replicate_job.serving.answer import EMPTY, HTML, NOT_A_PREDICTION, Answer, refusal, throttled
from replicate_job.serving.rate import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Action = Literal["answer", "drop", "close", "slow", "hang", "truncate", "half"]
OPERATIONS = ("create", "get", "list", "cancel", "model", "file", "stream", "download", "other")
WORDS = (
    "drop, close, slow(2s), hang, truncate, half, html, empty, nonsense, redirect(URL), 429(body=5), "
    "or a status as 404 or 503, each with -before or -after"
)
_CANNED = {"html": HTML, "empty": EMPTY, "nonsense": NOT_A_PREDICTION}
# An argument may become a header: printable ASCII, without its delimiters.
_FAULT = re.compile(r"(?P<kind>[a-z]+|[45]\d\d)(?:-(?P<when>before|after))?(?P<called>\((?P<argument>[ -(*-~]*)\))?")
_ITEM = re.compile(
    r"(?:(?P<operation>[a-z]+):(?P<fault>[^=(,]+(?:\([^)]*\))?)|(?P<name>[a-z-]+))=(?P<value>[^,]*)(?:,|$)"
)
_FURTHEST = 10**9  # the most seconds from now to a date
_SECONDS = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h|)")
_RATE = re.compile(r"(?P<number>\d+(?:\.\d+)?)/(?P<unit>s|min)")

_UNLIMITED = {"download", "stream"}
"""Operations that do not count towards the rate limit."""


class Fault(msgspec.Struct, frozen=True):
    """A fault of one request. With ``after``, the request is carried out first, and the fault strikes its response.

    ``name`` is the fault as it was written. ``seconds`` pass before the action. ``answer`` is the response that the
    action ``answer`` sends, None for all other actions.
    """

    name: str
    action: Action
    after: bool = False
    seconds: float = 0.0
    answer: Answer | None = None

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read ``drop-after``, ``503``, ``429(body=5)``, ``slow(2s)`` …. Raises ValueError."""
        parts = _FAULT.fullmatch(text)
        if parts is None:
            raise ValueError(f"{text!r} is not a fault: write {WORDS}")
        kind, after, argument = parts["kind"], parts["when"] == "after", parts["argument"] or ""
        match kind:
            case "drop" | "close" | "slow" | "hang":
                return cls(text, kind, after, _parse_seconds(argument) if argument else 0.0)
            case "truncate" | "half":
                return cls(text, kind, after=True)
            case "redirect":
                return cls(text, "answer", after, answer=Answer(307, headers=(("location", argument),)))
            case "429" if parts["called"]:
                return cls(text, "answer", after, answer=throttled(**_retry_time(argument)))
        if kind not in _CANNED and not kind.isdigit():
            raise ValueError(f"{text!r} is not a fault: write {WORDS}")
        return cls(text, "answer", after, answer=_CANNED.get(kind) or refusal(int(kind)))

    @classmethod
    def answering(cls, answer: Answer, *, after: bool = False) -> Fault:
        """A fault that sends this answer in place of the real response."""
        return cls(f"{answer.status}-{'after' if after else 'before'}", "answer", after, answer=answer)


class Faults:
    """Chooses the fault of each request. The same ``seed`` and the same order of requests give the same faults.

    ``chances`` maps an operation to ``(fault, probability)`` pairs, of which at most one strikes. ``rate`` is the limit
    of create requests a second, and ``other_rate`` is the limit of all other requests a second; None is no limit.
    ``burst`` is how many requests may come at once, by default as many as the limit allows in six seconds. A request
    over a limit is answered 429 by the fault ``rate``, and ``throttled`` counts such requests.

    ``latency`` is the delay of each request in seconds. ``expire`` is the number of seconds from a prediction's end
    until its data are removed. It has no effect here: the app reads it.
    """

    def __init__(  # noqa: PLR0913 - one argument for each setting of the language
        self,
        chances: Mapping[str, Iterable[tuple[Fault, float]]] | None = None,
        *,
        seed: int = 0,
        rate: float | None = None,
        other_rate: float | None = None,
        burst: float | None = None,
        latency: float = 0.0,
        expire: float | None = None,
    ) -> None:
        self.latency, self.expire = latency, expire
        self._chances = {operation: tuple(pairs) for operation, pairs in (chances or {}).items()}
        self.throttled = 0
        self.limit(rate=rate, other_rate=other_rate, burst=burst)
        self._queues: dict[str, deque[Fault | None]] = defaultdict(deque)
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        for operation, pairs in self._chances.items():
            _check_operation(operation)
            if sum(probability for _, probability in pairs) > 1 + 1e-9:
                raise ValueError(f"the faults of {operation!r} have probabilities of more than 1 in all")

    @classmethod
    def parse(cls, text: str, *, seed: int = 0) -> Faults:
        """Read the language that this module's docstring describes. Raises ValueError with the part that is wrong."""
        chances: dict[str, list[tuple[Fault, float]]] = {}
        settings: dict[str, float] = {}
        position = 0
        while position < len(text):
            item = _ITEM.match(text, position)
            if item is None:
                raise ValueError(f"cannot read {text[position:]!r}: write operation:fault=probability, or rate=600/min")
            if item["operation"]:
                _check_operation(item["operation"])
                pair = (Fault.parse(item["fault"]), _parse_probability(item["value"]))
                chances.setdefault(item["operation"], []).append(pair)
            else:
                settings[item["name"].replace("-", "_")] = _parse_setting(item["name"], item["value"])
            position = item.end()
        return cls(chances, seed=seed, **settings)

    def next(self, operation: str, *faults: Fault | str | None) -> None:
        """Queue faults for the next requests of this operation, one for each in order. None means no fault."""
        _check_operation(operation)
        for fault in faults:
            self._queues[operation].append(Fault.parse(fault) if isinstance(fault, str) else fault)

    def limit(self, *, rate: float | None = None, other_rate: float | None = None, burst: float | None = None) -> None:
        """Set new limits as in the constructor, and allow full bursts again. It may be called from any thread."""
        self._creates, self._others = _bucket(rate, burst), _bucket(other_rate, burst)

    def clear(self) -> None:
        """Remove all chances, queued faults, limits and latency."""
        self._chances, self.latency = {}, 0.0
        self.limit()
        self._queues.clear()

    def allowance(self, operation: str) -> tuple[tuple[str, str], ...]:
        """The headers ``ratelimit-remaining``, and ``ratelimit-reset`` in seconds until the full burst is free again.

        Without a limit, they have the usual values of Replicate's responses. Operations that do not count towards the
        rate limit have no such headers.
        """
        if operation in _UNLIMITED:
            return ()
        limit, usual = (self._creates, 599) if operation == "create" else (self._others, 2999)
        remaining, reset = limit.left() if limit else (usual, 1)
        return ("ratelimit-remaining", str(remaining)), ("ratelimit-reset", str(max(1, reset)))

    def draw(self, operation: str, now: float) -> Fault | None:
        """The fault of this request: from the queue, else of the rate limit, else by chance; None for no fault.

        ``now`` is the time of a monotonic clock, in seconds.
        """
        if queue := self._queues.get(operation):
            return queue.popleft()
        limit = self._creates if operation == "create" else self._others
        if operation not in _UNLIMITED and limit and (wait := limit.take(now)):
            self.throttled += 1
            answer = throttled(body=math.ceil(wait), detail=math.ceil(wait))
            answer = msgspec.structs.replace(answer, headers=self.allowance(operation))
            return Fault("rate", "answer", answer=answer)
        if pairs := self._chances.get(operation):
            point = self._random.random()
            for fault, probability in pairs:
                point -= probability
                if point < 0:
                    return fault
        return None


def _parse_seconds(text: str) -> float:
    """``50ms``, ``2s``, ``5m``, ``1h``, or a bare number of seconds. Raises ValueError."""
    if duration := _SECONDS.fullmatch(text):
        return float(duration["number"]) * {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3600}[duration["unit"]]
    raise ValueError(f"{text!r} is not a duration: write 50ms, 2s, 5m or 1h")


def _bucket(per_second: float | None, burst: float | None) -> TokenBucket | None:
    return TokenBucket(per_second, burst or max(1.0, per_second * 6)) if per_second else None


def _check_operation(operation: str) -> None:
    if operation not in OPERATIONS:
        raise ValueError(f"there is no operation {operation!r}: write one of {', '.join(OPERATIONS)}")


def _parse_probability(text: str) -> float:
    try:
        probability = float(text)
    except ValueError:
        probability = -1.0
    if not 0 <= probability <= 1:
        raise ValueError(f"{text!r} is not a probability: write a number from 0 to 1")
    return probability


def _parse_setting(name: str, text: str) -> float:
    if name in ("latency", "expire"):
        return _parse_seconds(text)
    if name == "burst" and text.isdigit():
        return float(text)
    if name in ("rate", "other-rate") and (rate := _RATE.fullmatch(text)):
        return float(rate["number"]) / (60 if rate["unit"] == "min" else 1)
    raise ValueError(
        f"cannot read {name}={text}: write rate=600/min, other-rate=50/s, burst=5, latency=50ms, expire=10s"
    )


def _retry_time(argument: str) -> dict[str, float]:
    """Convert the argument of a 429 to an argument of ``throttled``. A value that is not a number is sent as text."""
    if not argument:
        return {}
    way, _, value = argument.partition("=")
    if way not in ("body", "header", "date", "detail") or not value:
        raise ValueError(f"429({argument}): write 429(body=5), 429(header=5), 429(date=5) or 429(detail=5)")
    try:
        number: float = int(value) if re.fullmatch(r"-?\d+", value) else float(value)
    except ValueError:
        number = cast("float", value)
    if way == "date" and not (isinstance(number, int | float) and abs(number) <= _FURTHEST):
        raise ValueError(f"429({argument}): the date is so many seconds from now, at most {_FURTHEST:,}")
    return {way: number}

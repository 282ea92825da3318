"""Which fault strikes which request: a small language, a seeded chance, and a queue. Decisions only, no I/O.

``create:drop-after=0.2,create:500-before=0.05,get:503=0.3,rate=600/min,latency=50ms,expire=10s``: an operation,
what happens to it, and how probable that is; then settings for all of them.

=================== ===============================================================================================
``drop`` ``close``  the connection is reset, or closed, without an answer
``404`` ``503`` …   an answer of this status; ``429(body=5)`` ``429(header=5)`` ``429(date=5)`` ``429(detail=5)``
                    say when to come back, ``429()`` does not, and ``429(header=soon)`` talks nonsense
``html`` ``empty``  502 with a page of HTML; 503 with nothing
``nonsense``        200 with JSON that is no prediction
``redirect(URL)``   307 to another place
``slow(2s)``        the right answer, late
``hang``            no answer for as long as the client stays
``truncate``        the answer breaks off: fewer bytes than its ``Content-Length``
``half``            half of the answer's text, as if that were all
=================== ===============================================================================================

Each can be followed by ``-before`` (nothing was done; the default) or ``-after`` (it was done, and only the answer
suffers; always so for ``truncate`` and ``half``). ``drop-after(300ms)`` waits first; so do ``close`` and ``hang``.

Operations: ``create get list cancel`` of predictions, ``model`` (deployments too), ``file`` (uploads), ``stream``,
``download`` (outputs), ``other``. One request meets the fault that its header ``X-Replicate-Job-Fault`` names.
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
# What a fault is given may become a header: printable ASCII.
_FAULT = re.compile(r"(?P<kind>[a-z]+|[45]\d\d)(?:-(?P<when>before|after))?(?P<called>\((?P<argument>[ -(*-~]*)\))?")
_ITEM = re.compile(
    r"(?:(?P<operation>[a-z]+):(?P<fault>[^=(,]+(?:\([^)]*\))?)|(?P<name>[a-z-]+))=(?P<value>[^,]*)(?:,|$)"
)
_FURTHEST = 10**9  # seconds
_SECONDS = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h|)")
_RATE = re.compile(r"(?P<number>\d+(?:\.\d+)?)/(?P<unit>s|min)")


class Fault(msgspec.Struct, frozen=True):
    """What happens to one request. ``after``: it is done first, and only its answer suffers.

    ``name`` is the fault as it was written; ``seconds`` pass before the action; ``answer`` belongs to ``answer``.
    """

    name: str
    action: Action
    after: bool = False
    seconds: float = 0.0
    answer: Answer | None = None

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read ``drop-after``, ``503``, ``429(body=5)``, ``slow(2s)`` …. Raises ValueError."""
        found = _FAULT.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no fault: write {WORDS}")
        kind, after, argument = found["kind"], found["when"] == "after", found["argument"] or ""
        match kind:
            case "drop" | "close" | "slow" | "hang":
                return cls(text, kind, after, _parse_seconds(argument) if argument else 0.0)
            case "truncate" | "half":
                return cls(text, kind, after=True)
            case "redirect":
                return cls(text, "answer", after, answer=Answer(307, headers=(("location", argument),)))
            case "429" if found["called"]:
                return cls(text, "answer", after, answer=throttled(**_told(argument)))
        if kind not in _CANNED and not kind.isdigit():
            raise ValueError(f"{text!r} is no fault: write {WORDS}")
        return cls(text, "answer", after, answer=_CANNED.get(kind) or refusal(int(kind)))

    @classmethod
    def answering(cls, answer: Answer, *, after: bool = False) -> Fault:
        """Any answer at all in place of the right one."""
        return cls(f"{answer.status}-{'after' if after else 'before'}", "answer", after, answer=answer)


class Faults:
    """Decides, request by request. The same ``seed`` and order of requests give the same faults.

    ``chances`` maps an operation to ``(fault, probability)`` pairs, of which at most one strikes. ``rate`` and
    ``other_rate`` are requests a second for creates and for everything else (None: no limit); ``burst`` is how
    many may come at once, by default a tenth of a minute's worth. A request over the limit meets the fault ``rate``;
    ``throttled`` counts them. ``latency`` (seconds) comes before everything.
    ``expire`` is not acted on here: it is for the app, seconds after its end at which a prediction's data go.
    """

    def __init__(  # noqa: PLR0913 - one argument a word of the language
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
        """Read the language of this module. Raises ValueError with the part that is wrong."""
        chances: dict[str, list[tuple[Fault, float]]] = {}
        settings: dict[str, float] = {}
        position = 0
        while position < len(text):
            found = _ITEM.match(text, position)
            if found is None:
                raise ValueError(f"cannot read {text[position:]!r}: write operation:fault=probability, or rate=600/min")
            if found["operation"]:
                _check_operation(found["operation"])
                pair = (Fault.parse(found["fault"]), _parse_probability(found["value"]))
                chances.setdefault(found["operation"], []).append(pair)
            else:
                settings[found["name"].replace("-", "_")] = _parse_setting(found["name"], found["value"])
            position = found.end()
        return cls(chances, seed=seed, **settings)

    def next(self, operation: str, *faults: Fault | str | None) -> None:
        """The next requests of this operation meet these, one each and in order; None lets one through unharmed."""
        _check_operation(operation)
        for fault in faults:
            self._queues[operation].append(Fault.parse(fault) if isinstance(fault, str) else fault)

    def limit(self, *, rate: float | None = None, other_rate: float | None = None, burst: float | None = None) -> None:
        """From now on these are the limits, as at construction, and nothing is used up yet. From any thread."""
        self._creates, self._others = _bucket(rate, burst), _bucket(other_rate, burst)

    def clear(self) -> None:
        """From now on everything works: no chances, no queue, no limits, no latency."""
        self._chances, self.latency = {}, 0.0
        self.limit()
        self._queues.clear()

    def draw(self, operation: str, now: float) -> Fault | None:
        """The fault that strikes this request: from the queue, else from the rate limit, else by chance."""
        if queue := self._queues.get(operation):
            return queue.popleft()
        bucket = (
            self._creates if operation == "create" else None if operation in ("download", "stream") else self._others
        )
        if bucket and (wait := bucket.take(now)):
            self.throttled += 1
            return Fault("rate", "answer", answer=throttled(body=math.ceil(wait), detail=math.ceil(wait)))
        if pairs := self._chances.get(operation):
            point = self._random.random()
            for fault, probability in pairs:
                point -= probability
                if point < 0:
                    return fault
        return None


def _parse_seconds(text: str) -> float:
    """``50ms``, ``2s``, ``5m``, ``1h``, or a bare number of seconds. Raises ValueError."""
    if found := _SECONDS.fullmatch(text):
        return float(found["number"]) * {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3600}[found["unit"]]
    raise ValueError(f"{text!r} is no duration: write 50ms, 2s, 5m or 1h")


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
        raise ValueError(f"{text!r} is no probability: write a number from 0 to 1")
    return probability


def _parse_setting(name: str, text: str) -> float:
    if name in ("latency", "expire"):
        return _parse_seconds(text)
    if name == "burst" and text.isdigit():
        return float(text)
    if name in ("rate", "other-rate") and (found := _RATE.fullmatch(text)):
        return float(found["number"]) / (60 if found["unit"] == "min" else 1)
    raise ValueError(
        f"cannot read {name}={text}: write rate=600/min, other-rate=50/s, burst=5, latency=50ms, expire=10s"
    )


def _told(argument: str) -> dict[str, float]:
    """How a 429 says when to come back; a value that is no number stays text on purpose."""
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

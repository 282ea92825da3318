"""What happens in one run of the world: drawn from a seed, and reduced when it shows a fault."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from replicate_job.job import Job

from .account import NAME, OWNER, SLUG, VERSION, Nature
from .clocks import Jump
from .disk import Fault
from .process import Interruption
from .wire import Answer, Dates, Network

Struct = TypeVar("Struct", bound=msgspec.Struct)
PICTURES = ("data:text/plain;base64,b25l", "data:text/plain;base64,dHdv")
CALLS = ("claim", "intend", "created", "created", "ended", "collected", "adopt", "refused", "uncertain", "unsent")
STATUSES = (
    101,
    301,
    302,
    307,
    400,
    401,
    402,
    403,
    404,
    408,
    409,
    413,
    418,
    422,
    425,
    429,
    499,
    500,
    502,
    503,
    504,
    529,
)

POLLS = 120
"""Polls of a job, a second apart: any prediction ends in that time."""


class Life(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """A process that runs all jobs. It starts ``after`` seconds after the process before was disturbed or ended.

    ``stranger``: it has another account's token. ``reboots``: its machine was restarted. ``timeout`` is each job's, in
    seconds. ``polls`` limits a job's polls, one a second; after them it leaves the prediction running.
    """

    interruptions: tuple[Interruption, ...] = ()
    after: float = 0.0
    stranger: bool = False
    reboots: bool = False
    timeout: float | None = None
    polls: int = POLLS


class Foreign(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """Another program of the same account makes a prediction of the same model at ``at``, in world seconds."""

    at: float
    input: dict[str, Any]


class Plan(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """Everything that goes wrong in a run, and the jobs.

    ``inputs`` are the jobs' inputs. ``together`` jobs run at a time in a process. ``model`` is what the jobs name, and
    ``way`` is how they are run (``shape.run``). ``rest`` is the pause before the last process, which runs undisturbed
    and must finish all jobs.
    """

    seed: int
    model: str
    inputs: tuple[dict[str, Any], ...]
    nature: Nature = Nature()
    network: Network = Network()
    foreign: tuple[Foreign, ...] = ()
    faults: tuple[Fault, ...] = ()
    jumps: tuple[Jump, ...] = ()
    lives: tuple[Life, ...] = (Life(),)
    rest: float = 0.0
    way: str = "held"
    together: int = 2

    @property
    def jobs(self) -> dict[str, Job]:
        """The jobs by their keys."""
        return self.jobs_in(Life())

    def jobs_in(self, life: Life) -> dict[str, Job]:
        return {
            f"job-{number}": Job(self.model, given, poll_interval=1, max_poll_attempts=life.polls)
            for number, given in enumerate(self.inputs)
        }


def draw(seed: int) -> Plan:
    return _Draw(seed).plan()


class _Draw:
    def __init__(self, seed: int) -> None:
        self._seed, self._random = seed, random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._density = self._random.choice((0.3, 0.6, 1.0))

    def plan(self) -> Plan:
        inputs = self._inputs()
        jumps = self._jumps() if self._chance(0.3) else ()
        model = self._pick(SLUG, SLUG, f"{OWNER}/{NAME}".title(), f"{SLUG}:{VERSION}", f"deployments/{OWNER}/dep")
        plan = Plan(
            seed=self._seed,
            model=model,
            inputs=inputs,
            nature=self._nature(),
            network=self._network(may_be_wrong=not jumps),
            foreign=self._foreign(inputs[0]),
            faults=self._some(0.35, 2, self._fault),
            jumps=jumps,
            lives=self._lives(),
            way=self._pick("held", "held", "polled", "row"),
            rest=self._pick(0.0, 0.0, 5.0, 70.0, 400.0, 4000.0),
        )
        plan = _with(plan, "lives", tuple(_with(life, "polls", self._polls()) for life in plan.lives))
        creates = tuple(_with(answer, "slow", self._slowness()) for answer in plan.network.creates)
        return _with(plan, "network", _with(plan.network, "creates", creates))

    def _chance(self, share: float) -> bool:
        """Decide by chance. A plan in which little goes wrong gets fewer of these."""
        return self._random.random() < share * self._density

    def _pick(self, *values: Any) -> Any:
        return self._random.choice(values)

    def _some(self, share: float, most: int, make: Any) -> tuple[Any, ...]:
        return tuple(make() for _ in range(self._random.randint(1, most))) if self._chance(share) else ()

    def _inputs(self) -> tuple[dict[str, Any], ...]:
        first: dict[str, Any] = {"n": 1}
        if self._chance(0.3):
            first["key"] = "secret one"
        if self._chance(0.3):
            first["image"] = PICTURES[0]
        if self._pick(True, False):
            return (first,)
        return (first, self._other(first))

    def _other(self, given: dict[str, Any]) -> dict[str, Any]:
        """An input that is the same, almost the same, or different."""
        kinds: list[dict[str, Any]] = [{}, {}, {"n": 2}, {"steps": 4}]
        kinds += [{"key": "secret two"}] * 2 if "key" in given else []
        kinds += [{"image": PICTURES[1]}] * 2 if "image" in given else []
        return given | self._random.choice(kinds)

    def _nature(self) -> Nature:
        lags = tuple(self._pick(0.0, 0.0, 2.0, 9.0, 30.0, 59.0) for _ in range(6)) if self._chance(0.5) else (0.0,)
        return Nature(
            official=self._pick(True, False),
            echoes_default=self._chance(0.1),
            readable=not self._chance(0.3),
            duration=self._pick(0.0, 1.0, 1.0, 30.0, 100.0),
            end=self._pick("succeeded", "succeeded", "succeeded", "failed"),
            lags=lags,
            order=self._pick("newest", "newest", "odd", "oldest"),
            per_page=self._pick(1, 2, 100),
            filters=not self._chance(0.2),
            missing=2.0 if self._chance(0.15) else 0.0,
        )

    def _network(self, *, may_be_wrong: bool) -> Network:
        wrong = self._pick(3.0, -3.0, 30.0, -200.0, 7200.0) if may_be_wrong and self._chance(0.1) else 0.0
        start = self._random.uniform(0, 10)
        return Network(
            creates=tuple(self._answer() for _ in range(self._random.randint(0, 4))),
            reads=self._some(0.5, 6, lambda: self._pick(200, 200, 500, 503, 429, "reset", "cut")),
            outage=(start, start + self._pick(20.0, 50.0, 200.0)) if self._chance(0.1) else (0.0, 0.0),
            dates=Dates(self._pick(1, 1, 1, 1, 1, 1, 2, 0), wrong),
        )

    def _answer(self) -> Answer:
        kind = self._pick(
            201, 202, "bare", "refused", "garbage", *["reset", "timeout"] * 3, *[self._pick(*STATUSES)] * 4
        )
        return Answer(kind, acts=self._pick(True, False), late=self._chance(0.3))

    def _foreign(self, given: dict[str, Any]) -> tuple[Foreign, ...]:
        def make() -> Foreign:
            same = self._random.random() < 0.3
            return Foreign(self._random.uniform(-500, 30), self._other(given) if same else {"n": self._pick(3, 4, 5)})

        return self._some(0.5, 6, make)

    def _fault(self) -> Fault:
        call = self._pick("", "", *CALLS)
        at = self._random.randint(0, 20) if not call else self._pick(0, 0, 0, 1, 2)
        if self._random.random() < 0.6:
            return Fault(at, "full", self._pick(1, 1, 1, 2, 2, 3, 10), call)
        return Fault(at, "locked", self._pick(1.0, 9.0, 12.0, 33.0), call)

    def _jumps(self) -> tuple[Jump, ...]:
        amount = self._pick(-1, 1) * self._pick(2.0, 20.0, 90.0, 3600.0, 86400.0)
        if self._pick(True, False):  # the clock is wrong at first, and then corrected
            return (Jump(-1000, amount), Jump(self._random.uniform(0.1, 15), -amount))
        return (Jump(self._random.uniform(0.1, 15), amount),)

    def _lives(self) -> tuple[Life, ...]:
        lives = []
        for number in range(self._pick(1, 1, 2, 2, 3, 4)):
            first = number == 0
            lives.append(
                Life(
                    self._some(0.7, 2, self._interruption),
                    after=0.0 if first else self._pick(0.0, 0.0, 1.0, 20.0, 70.0, 400.0),
                    stranger=not first and self._chance(0.05),
                    reboots=not first and self._chance(0.1),
                    timeout=self._timeout(),
                )
            )
        return tuple(lives)

    def _timeout(self) -> float | None:
        """Mostly short timeouts, which end while a request is under way."""
        return self._pick(0.5, 3.0, 20.0, 61.0, self._random.uniform(0, 10)) if self._chance(0.4) else None

    def _slowness(self) -> float:
        """Seconds of a create request. The longest ones are over the request's own limit."""
        return self._pick(3.0, 33.0, 45.0, 59.0) if self._chance(0.1) else 0.0

    def _polls(self) -> int:
        return self._pick(1, 5, 20) if self._chance(0.3) else POLLS

    def _interruption(self) -> Interruption:
        kind = self._pick("kill", "kill", "stop", "stop", "ctrl-c", "term")
        step = min(self._random.randint(0, 30), self._random.randint(0, 30))
        return Interruption(step, kind, self._pick(3.0, 16.0, 40.0, 100.0) if kind == "stop" else 0.0)


def smaller(plan: Plan) -> Iterator[Plan]:
    """Plans with one thing less, or one thing simpler, than this one."""
    for name in ("lives", "inputs"):
        yield from (_with(plan, name, rest) for rest in _without_one(getattr(plan, name)) if rest)
    for name in ("faults", "foreign", "jumps"):
        yield from (_with(plan, name, rest) for rest in _without_one(getattr(plan, name)))
    for number, life in enumerate(plan.lives):
        simpler = [_with(life, "interruptions", rest) for rest in _without_one(life.interruptions)]
        for changed in [*simpler, *_plainer(life, Life(interruptions=life.interruptions))]:
            yield _with(plan, "lives", (*plan.lives[:number], changed, *plan.lives[number + 1 :]))
    yield from (
        _with(plan, "network", _with(plan.network, "creates", rest)) for rest in _without_one(plan.network.creates)
    )
    yield from (_with(plan, "network", each) for each in _plainer(plan.network, Network()))
    yield from (_with(plan, "nature", each) for each in _plainer(plan.nature, Nature()))
    plain = Plan(
        plan.seed, SLUG, plan.inputs, plan.nature, plan.network, plan.foreign, plan.faults, plan.jumps, plan.lives
    )
    yield from _plainer(plan, plain)
    for name in ("key", "image", "steps"):
        if any(name in given for given in plan.inputs):
            fewer = tuple({field: value for field, value in given.items() if field != name} for given in plan.inputs)
            yield _with(plan, "inputs", fewer)


def _with(struct: Struct, name: str, value: Any) -> Struct:
    return msgspec.structs.replace(struct, **{name: value})


def _without_one(values: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    return (values[:number] + values[number + 1 :] for number in range(len(values)))


def _plainer(struct: Struct, plain: Struct) -> Iterator[Struct]:
    """Variants with one field as in ``plain``."""
    for name in struct.__struct_fields__:
        if getattr(struct, name) != getattr(plain, name):
            yield _with(struct, name, getattr(plain, name))

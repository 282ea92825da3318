"""Checks every promise against the world's own record of the truth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from replicate_job.errors import JournalError, ReplicateJobError, UncertainError

from .account import Account, Made, Nature
from .clocks import EPOCH
from .plan import Plan
from .play import World
from .process import Ended
from .wire import Dates

NEVER = (0.0, 0.0)
NEAR = 10.0
"""Seconds before the world began, in which a prediction can still be taken for a job's."""
SAFE = 3000.0
"""World seconds until which no prediction's input is removed, also none of those made before the world began."""


def relation(sent: dict[str, Any], other: dict[str, Any], nature: Nature) -> str:
    """What the list shows about a prediction made with ``other`` to a job that sent ``sent``.

    ``same``, ``almost`` (it cannot be told apart), or ``other``.
    """
    shown = Account(lambda: 0.0, nature, seed=0).shown(other)
    verdict = "same"
    if sent.keys() - shown.keys():
        return "other"
    if shown.keys() - sent.keys():
        verdict = "almost"
    for name, value in sent.items():
        if name == "key":
            continue
        if name == "image":
            if not nature.readable:
                verdict = "almost"
            elif other["image"] != value:
                return "other"
        elif shown[name] != value:
            return "other"
    return verdict


def judge(world: World) -> list[str]:
    """One line for each broken promise."""
    return [*_errors(world), *(list(_payments(world)) or [*_rows(world), *_doubts(world)]), *_replays(world)]


def _made(world: World) -> list[Made]:
    return [made for account in world.accounts for made in account.made]


def _errors(world: World) -> Iterator[str]:
    for end in world.ends:
        if end.error and not isinstance(end.error, ReplicateJobError):
            yield f"traceback: {end.key}: {end.error!r}"


def _doubts(world: World) -> Iterator[str]:
    """No job is uncertain after a process that could read the list all the time, unless there is an excuse."""
    network = world.plan.network
    if network.reads or network.outage != NEVER:
        return
    for index, end in enumerate(world.ends):
        is_doubt = isinstance(end.error, UncertainError) and "not known yet" not in str(end.error)
        if is_doubt and not any(_excuses(world, index)):
            yield f"uncertain for a while though it could be known: {end.key} in process {end.process}: {end.error}"


def _payments(world: World) -> Iterator[str]:
    """At most one prediction a job is paid for, and each has the input of its job."""
    meant = world.accounts[0].meant
    alike: dict[str, list[str]] = {}
    for key, job in world.plan.jobs.items():
        alike.setdefault(repr(sorted(meant(job.input_data).items())), []).append(key)
    made_for: dict[str, list[Made]] = {}
    for made in _made(world):
        made_for.setdefault(made.job, []).append(made)
    for keys in alike.values():
        made_by = [made for key in keys for made in made_for.get(key, [])]
        asleep = sum(made.overslept for made in made_by)
        left = [made for made in made_by if not made.cancel_asked and not _is_lost(world, made)]
        if len(made_by) > len(keys) + asleep:
            yield f"paid twice: {keys} have {[made.id for made in made_by]}"
        elif len(left) > len(keys):
            yield f"second not canceled: {keys} have {[made.id for made in left]}"


def _is_lost(world: World, made: Made) -> bool:
    """Whether the process that made it cannot have canceled it: it never got the id, or ended too early."""
    return made.overslept and not (made.told and world.ended_by_itself(made.maker))


def _rows(world: World) -> Iterator[str]:
    for key in world.plan.jobs:
        row = world.rows.get(key)
        if row is None:
            yield f"no row: {key}"
            continue
        if row.state not in {"collected", "uncertain", "refused"} and not _is_out_of_reach(world, key):
            yield f"left open: {key} is {row.state}"
        if row.prediction_id and not _may_have(world, key, _by_id(world, row.prediction_id)):
            yield f"another's prediction: {key} has {row.prediction_id}"
        if row.state == "uncertain" and not any(_excuses(world, _last_doubt(world, key))):
            yield f"uncertain though it could be known: {key}: {row.problem}"
    yield from _unaccounted(world)


def _is_out_of_reach(world: World, key: str) -> bool:
    """Whether the prediction belongs to the other account, and the last process reported that."""
    made = world.rows[key].prediction_id
    last = next((str(end.error) for end in reversed(world.ends) if end.key == key), "")
    return any(each.id == made for each in world.accounts[1].made) and "it was created with" in last


def _may_have(world: World, key: str, made: Made) -> bool:
    """Whether the prediction has the job's own input, or is another program's that looked the same at that time."""
    given, meant = world.plan.jobs[key].input_data, world.accounts[0].meant
    if meant(made.input) == meant(given):
        return True
    if made.overslept:  # a job that has its prediction already has made one more, which cannot be told from its rival's
        return True
    near = EPOCH - NEAR - abs(world.plan.network.dates.wrong)
    return not made.job and made.created > near and relation(given, made.input, world.plan.nature) == "same"


def _unaccounted(world: World) -> Iterator[str]:
    """Predictions that jobs have made and that are in no row, although no row is uncertain about them."""
    rows = list(world.rows.values())
    owned = {row.prediction_id for row in rows}
    if any(row.state == "uncertain" for row in rows):
        return
    if any(row.prediction_id and not _by_id(world, row.prediction_id).job for row in rows):
        return  # a job adopted another program's prediction that looked the same
    for made in _made(world):
        if made.job and made.id not in owned and not made.cancel_asked and not _is_lost(world, made):
            yield f"unaccounted: {made.id} of {made.job} is no row's: {[row.state for row in rows]}"


def _by_id(world: World, prediction_id: str) -> Made:
    return next(each for each in _made(world) if each.id == prediction_id)


def _last_doubt(world: World, key: str) -> int:
    """The index of the job's last uncertain end. A process that reported none counts as the very end."""
    doubts = [n for n, end in enumerate(world.ends) if end.key == key and isinstance(end.error, UncertainError)]
    return max(doubts, default=max(n for n, end in enumerate(world.ends) if end.key == key))


def _is_recorded(end: Ended) -> bool:
    """Whether the journal has the prediction, or the process reported that it could not be written."""
    is_told = isinstance(end.error, JournalError) or "the journal may lack it" in str(end.error)
    return bool(end.prediction_id) and not is_told


def _excuses(world: World, index: int) -> Iterator[str]:
    """The reasons for which this end of a job may be uncertain."""
    key = world.ends[index].key
    plan, nature = world.plan, world.plan.nature
    given = plan.jobs[key].input_data
    facts = {
        "the API's time was not known, or wrong": plan.network.dates != Dates(),
        "inputs come back with more than was sent": nature.echoes_default and "steps" not in given,
        "which inputs are secret is not shown": "key" in given and _hides_schema(plan),
        "its picture cannot be read": "image" in given and not nature.readable,
        "another account's token": any(life.stranger for life in plan.lives),
        "a clock that may be wrong alone knows when it was sent": any(life.reboots for life in plan.lives),
        "inputs may be removed": world.now > SAFE,
        "a process overslept": any(made.overslept for made in _made(world)),
    }
    yield from (excuse for excuse, holds in facts.items() if holds)
    others = [foreign.input for foreign in plan.foreign]
    # The journal knows that a prediction is another job's only once that job has it.
    unknown = world.rows.keys() - {end.key for end in world.ends[:index] if _is_recorded(end)}
    others += [plan.jobs[other].input_data for other in unknown if plan.jobs[other].input_data != given]
    if any(relation(given, other, nature) != "other" for other in others):
        yield "another prediction is like it"


def _hides_schema(plan: Plan) -> bool:
    """Whether the schema is hidden: an official model shows no versions, so a deployment of it has no schema."""
    return plan.model.startswith("deployments/") and plan.nature.official


def _replays(world: World) -> Iterator[str]:
    """A repeated key gives the same prediction, and costs nothing."""
    if any(life.stranger for life in world.plan.lives):
        return  # the prediction belongs to the other account, which this process's token cannot read
    if world.creates_of_replay and all(row.state == "collected" for row in world.rows.values()):
        yield f"a replay sent {world.creates_of_replay} creates"
    for key in world.plan.jobs:
        ids = [end.result.prediction_id for end in world.ends if end.key == key and end.result]
        last = [end.prediction_id for end in world.replayed if end.key == key and end.prediction_id]
        row = world.last_rows.get(key)
        if ids and row and row.state == "collected" and not last:
            yield f"a replay gave nothing: {key}"
        if len(set(ids)) > 1:
            yield f"answered differently: {key} with {sorted(set(ids))}"

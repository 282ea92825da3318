"""Plans that once broke a promise, each as small as possible."""

from __future__ import annotations

import pytest

from .account import SLUG, Nature
from .clocks import Jump
from .disk import Fault
from .plan import Foreign, Life, Plan
from .process import Interruption
from .trial import story, verdict
from .wire import Answer, Dates, Network

ONE, TWO = ({"n": 1},), ({"n": 1}, {"n": 1})
SECRET, OTHER_SECRET = {"n": 1, "key": "secret one"}, {"n": 1, "key": "secret two"}
MORE = ({"n": 1}, {"n": 1, "steps": 4})
HELD = Nature(duration=100)
LATE = Nature(lags=(30.0,))
BROKEN, NOTHING = Network((Answer("reset"),)), Network((Answer("reset", acts=False),))


def stopped(step: int, *later: Life, jumps: tuple[Jump, ...] = (), outage: tuple[float, float] = (0.0, 0.0)) -> Plan:
    """A process is stopped at this step for 100 s. Its request and the next one act late, and get no answer."""
    late = Answer("timeout", late=True)
    lives = (Life((Interruption(step, "stop", 100.0),)), *later)
    lags = Nature(lags=(59.0, 30.0))
    return Plan(7111449, SLUG, ONE, lags, Network((late, late), outage=outage), lives=lives, jumps=jumps)


def killed(step: int) -> tuple[Life, ...]:
    return (Life((Interruption(step, "kill"),)),)


FOUND = {
    "a secret does not come back": Plan(4, SLUG, (SECRET,), network=BROKEN),
    "a redirect has acted": Plan(39, SLUG, ONE, network=Network((Answer(301),))),
    "a default is added": Plan(60, SLUG, ONE, Nature(echoes_default=True), BROKEN),
    "other capitals": Plan(178, "Acme/Painter", ONE, network=BROKEN),
    "the list is late": Plan(230, SLUG, ONE, LATE, BROKEN),
    "the id was never written": Plan(211, SLUG, ONE, faults=(Fault(0, "full", 2, "created"),)),
    "stopped before the guard": Plan(2847, SLUG, ONE, lives=(Life((Interruption(5, "stop", 100.0),)), Life())),
    "a clock set back outlives a lease": Plan(27, SLUG, ONE, jumps=(Jump(1, -86400.0),), lives=killed(6)),
    "and a restart of the machine too": Plan(
        158, SLUG, ONE, jumps=(Jump(1, -3600.0),), lives=(*killed(8), Life(reboots=True))
    ),
    "a clock set back keeps rivals waiting": Plan(23, SLUG, TWO, network=NOTHING, jumps=(Jump(5, -3600.0),)),
    "without a date, an older one with another secret is taken": Plan(
        3206,
        SLUG,
        (SECRET,),
        Nature(lags=(0.0, 2.0)),
        Network((Answer(529),), dates=Dates(every=0)),
        foreign=(Foreign(-67, OTHER_SECRET),),
    ),
    "whose token it was is known only after the first look": Plan(
        34901, SLUG, TWO, lives=(Life((Interruption(16, "term"),)), Life(stranger=True))
    ),
    "what a rival made just now is not found by its id": Plan(
        34923,
        SLUG,
        TWO,
        Nature(missing=2),
        Network((Answer("garbage", acts=False), Answer(400)), dates=Dates(every=0)),
    ),
    "one that is like it is being made just now": Plan(
        1, SLUG, MORE, HELD, NOTHING, foreign=(Foreign(14, {"n": 9}), Foreign(30, {"n": 9}))
    ),
    "the same is being made just now, much later": Plan(
        3401, SLUG, TWO, lives=(Life((Interruption(9, "term"),)),), rest=400.0
    ),
    "a process that overslept has recorded its own": Plan(
        435424,
        "deployments/acme/dep",
        ONE,
        network=Network((Answer("timeout"),)),
        lives=(Life((Interruption(11, "stop", 100.0),)), Life()),
    ),
    "a process that overslept was not answered either": Plan(
        417629,
        SLUG,
        ONE,
        Nature(lags=(59.0, 2.0, 0.0)),
        Network((Answer("reset"), Answer("timeout"))),
        lives=(Life((Interruption(7, "stop", 40.0),)), Life()),
    ),
    "a create acts at its last moment, and its prediction is not found by its id yet": Plan(
        298510,
        SLUG,
        ONE,
        Nature(missing=2.0),
        Network((Answer("timeout", late=True),)),
        lives=(Life(polls=20),),
    ),
    "so does one that is answered": Plan(
        298511,
        SLUG,
        ONE,
        Nature(duration=100.0, missing=2.0),
        Network((Answer(slow=29.9, late=True),)),
        lives=(Life(polls=1),),
        way="polled",
    ),
    "a rival's prediction, made just now, is taken for a request of long ago": Plan(
        298512,
        SLUG,
        TWO,
        Nature(missing=2.0),
        Network((Answer("reset", acts=False), Answer("timeout", late=True))),
        lives=(Life(polls=1),),
        way="polled",
        together=1,
    ),
    "stopped while the intent was written": Plan(
        1024080,
        SLUG,
        ONE,
        Nature(duration=1.0, lags=(9.0, 0.0, 59.0, 2.0, 0.0, 2.0)),
        BROKEN,
        foreign=(Foreign(-172.6, {"n": 3}), Foreign(-9.3, {"n": 3})),
        lives=(Life((Interruption(18, "ctrl-c"), Interruption(4, "stop", 100.0))),),
    ),
    "another's secret, by a clock that is slow": Plan(
        1055964,
        SLUG,
        (SECRET,),
        network=Network((Answer(302, acts=False),)),
        foreign=(Foreign(-32, OTHER_SECRET),),
        jumps=(Jump(-1000, -90.0),),
    ),
    "an id that could not be written before the time was over": Plan(
        203918,
        SLUG,
        (SECRET, OTHER_SECRET),
        Nature(duration=30.0),
        faults=(Fault(1, "full", 1, "created"),),
        lives=(Life(timeout=20.0),),
    ),
    "nor when it was over": Plan(
        211914, SLUG, (SECRET, OTHER_SECRET), faults=(Fault(5, "locked", 33.0),), lives=(Life(timeout=20.0),)
    ),
    "a rival's prediction in another account's list": Plan(
        1052836,
        SLUG,
        TWO,
        Nature(lags=(0.0,)),
        lives=(
            Life((Interruption(13, "stop", 100.0), Interruption(4, "stop", 3.0))),
            Life(stranger=True),
        ),
    ),
    "a rival's request that was still under way made what shows last": Plan(
        238772,
        SLUG,
        TWO,
        Nature(duration=1.0, lags=(30.0, 59.0, 30.0, 0.0, 0.0, 59.0)),
        Network((Answer("reset"), Answer("timeout", late=True))),
        way="polled",
    ),
    "a request that was never sent begins no span": Plan(
        220594,
        "deployments/acme/dep",
        TWO,
        Nature(official=False),
        Network((Answer("timeout", late=True), Answer(504)), (429, 503, "cut", "cut")),
        lives=(
            Life((Interruption(11, "kill"),)),
            Life((Interruption(15, "stop", 40.0),), timeout=6.8),
            Life(after=400.0),
        ),
        rest=4000.0,
        way="row",
    ),
    "a stopped process's request acts long after another process has taken over": stopped(8, Life()),
    "so does it if that process is killed": stopped(8, Life((Interruption(65, "kill"),)), Life()),
    "or interrupted": stopped(8, Life((Interruption(65, "ctrl-c"),)), Life()),
    "the process that takes over runs on another machine, whose clock is fast": stopped(
        8, Life(reboots=True), jumps=(Jump(9, 200.0),)
    ),
    "two requests without an answer, of which the first was sent by a process that overslept": stopped(7, Life()),
    "what is adopted after a long search ends long after it": Plan(
        7600830,
        SLUG,
        TWO,
        HELD,
        Network((Answer("refused", acts=False), Answer(422))),
        foreign=(Foreign(27.7, {"n": 1}),),
        lives=(Life(timeout=0.5),),
    ),
    "and the list fails once the first prediction is found": stopped(7, Life(), outage=(271.0, 285.0)),
}


@pytest.mark.parametrize("plan", FOUND.values(), ids=FOUND.keys())
def test_a_plan_that_once_broke_a_promise_no_longer_breaks_any(plan: Plan) -> None:
    problems, _ = verdict(plan)
    assert not problems, story(plan)

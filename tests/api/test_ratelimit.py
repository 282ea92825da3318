"""The client's rate limit against simulated servers, in virtual time: a run of minutes takes milliseconds."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicate_job.api.ratelimit import LONGEST, MARGIN, Quota, RateLimit, Slot, parse_rate, read_quota
from replicate_job.serving import rate as serving


class Server(Protocol):
    per_second: float

    def take(self, now: float) -> float:
        """Seconds until a request would be accepted; 0 if this request is accepted."""


class Plain:
    """A token bucket in which refused requests cost nothing."""

    def __init__(self, per_second: float, burst: float) -> None:
        self.per_second, self.burst = per_second, burst
        self._tokens, self._seen = burst, math.inf

    def take(self, now: float) -> float:
        self._tokens = min(self.burst, self._tokens + max(0.0, now - self._seen) * self.per_second)
        self._seen = now
        if self._tokens < 1 - 1e-6:
            return (1 - self._tokens) / self.per_second
        self._tokens -= 1
        return 0.0


class Sliding:
    """A limit for any 60 seconds."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._log: deque[float] = deque()

    def take(self, now: float) -> float:
        while self._log and self._log[0] <= now - 60:
            self._log.popleft()
        most = round(self.per_second * 60)
        if len(self._log) >= most:
            return self._log[len(self._log) - most] + 60 - now
        self._log.append(now)
        return 0.0


class Fixed:
    """A limit for every minute of the clock."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._minute, self._count = 0, 0

    def take(self, now: float) -> float:
        if self._minute != (minute := int(now // 60)):
            self._minute, self._count = minute, 0
        if self._count >= round(self.per_second * 60):
            return (minute + 1) * 60 - now + 1e-6
        self._count += 1
        return 0.0


class Past(msgspec.Struct):
    """The times in seconds at which requests were sent, accepted and refused, and the fastest pace of the client."""

    sent: list[float] = []
    passed: list[float] = []
    refused: list[float] = []
    fastest: float = 0.0

    def efficiency(self, allowed: float, start: float = 0.0) -> float:
        """The accepted requests from ``start`` on, as a share of ``allowed`` a second."""
        return sum(time >= start for time in self.passed) / (allowed * (self.passed[-1] - start))

    def refusals(self, start: float = 0.0) -> float:
        """The share of refused requests from ``start`` on."""
        refused = sum(time >= start for time in self.refused)
        return refused / (refused + sum(time >= start for time in self.passed))


Spoken = Callable[[float], float | None]
SPOKEN: dict[str, Spoken] = {"whole": math.ceil, "exact": lambda wait: wait, "silent": lambda _: None}
IN_FLIGHT = 64


class Simulation:
    """Senders that always have a request to send. A response takes 5 to 500 ms, and a sleep ends up to 2 ms late."""

    def __init__(self, limit: RateLimit, server: Server, spoken: Spoken = math.ceil, *, seed: int = 1) -> None:
        self.limit, self.server, self.spoken, self.past = limit, server, spoken, Past()
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._flying, self._asleep = 0, False

    def run(self, *, rows: int = 10**9, until: float = math.inf, limits: Iterable[tuple[float, float]] = ()) -> Past:
        """Run until ``rows`` requests passed, or ``until`` seconds. ``limits`` are times and the rates from then on."""
        for when, limit in limits:
            self._at(when, partial(self._limit, limit))
        self._at(0.0, self._send)
        while self._events and len(self.past.passed) < rows:
            now, _, action = heapq.heappop(self._events)
            if now > until:
                break
            action(now)
            self._send(now)
        return self.past

    def _at(self, when: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), action))

    def _send(self, now: float) -> None:
        while not self._asleep and self._flying < IN_FLIGHT:
            if wait := self.limit.wait(now):
                assert 0 < wait < math.inf
                self._asleep = True
                self._at(now + wait + self._random.uniform(0, 0.002), self._wake)
                return
            slot = self.limit.take(now)
            self.past.fastest = max(self.past.fastest, self.limit.pace or math.inf)
            self.past.sent.append(now)
            self._flying += 1
            self._at(now + self._random.uniform(0.001, 0.003), partial(self._arrive, slot))

    def _limit(self, per_second: float, _: float) -> None:
        self.server.per_second = per_second

    def _wake(self, _: float) -> None:
        self._asleep = False

    def _arrive(self, slot: Slot, now: float) -> None:
        wait = self.server.take(now)
        (self.past.refused if wait else self.past.passed).append(now)
        answered = max(now, slot.sent + self._random.uniform(0.005, 0.5))
        self._at(answered, partial(self._answer, slot, wait))

    def _answer(self, slot: Slot, wait: float, now: float) -> None:
        self._flying -= 1
        if wait:
            self.limit.throttled(slot, now, self.spoken(wait))
        else:
            self.limit.accepted(slot, now)


def server(name: str, per_minute: float) -> Server:
    """A server by name: ``debt 10`` is a token bucket with a burst of 10 in which refused requests cost a token."""
    kind, _, burst = name.partition(" ")
    per_second = per_minute / 60
    match kind:
        case "debt":
            return serving.TokenBucket(per_second, float(burst))
        case "plain":
            return Plain(per_second, float(burst))
        case "sliding":
            return Sliding(per_second)
    return Fixed(per_second)


BUCKETS = [f"{kind} {burst}" for kind in ("debt", "plain") for burst in (1, 10, 60)]
MINUTES = ["sliding", "fixed"]
kinds = pytest.mark.parametrize("kind", BUCKETS + MINUTES)
buckets = pytest.mark.parametrize("kind", BUCKETS)
spoken = pytest.mark.parametrize("spoken", SPOKEN.values(), ids=SPOKEN)
told = pytest.mark.parametrize("spoken", [SPOKEN["whole"], SPOKEN["exact"]], ids=["whole", "exact"])


@kinds
@spoken
def test_the_configured_rate_is_used_from_the_first_second_on(kind: str, spoken: Spoken) -> None:
    past = Simulation(RateLimit(10.0), server(kind, 600), spoken).run(rows=2000)
    assert past.efficiency(10) >= 0.95
    assert len(past.refused) <= (0 if kind[-2:] != " 1" else 8)


@pytest.mark.parametrize("kind", ["debt 1", "plain 1"])
@told
def test_learning_the_lower_limit_at_low_credit_takes_the_time_of_one_request(kind: str, spoken: Spoken) -> None:
    past = Simulation(RateLimit(10.0), server(kind, 6), spoken).run(rows=12)
    assert past.passed[-1] <= 1.05 * (110 + 10)
    assert len(past.refused) <= 4 + 2


@pytest.mark.parametrize("kind", ["debt 1", "plain 1"])
@told
def test_at_low_credit_attempts_to_send_faster_are_rare(kind: str, spoken: Spoken) -> None:
    past = Simulation(RateLimit(10.0), server(kind, 6), spoken).run(until=6 * 3600)
    assert past.efficiency(0.1, 60) >= 0.95
    assert past.refusals(60) < 0.01


@pytest.mark.parametrize("per_minute", [60, 120, 300, 1200])
@kinds
@told
def test_a_client_learns_an_unknown_limit_and_keeps_to_it(kind: str, per_minute: int, spoken: Spoken) -> None:
    allowed = min(10, per_minute / 60)
    past = Simulation(RateLimit(10.0), server(kind, per_minute), spoken).run(rows=int(600 * allowed + 800))
    start = 150 if kind in MINUTES else 60
    assert past.efficiency(allowed, start) >= 0.95
    assert past.refusals(start) < 0.01
    assert past.fastest <= 10


@pytest.mark.parametrize("per_minute", [60, 120, 300])
@kinds
def test_429s_without_a_retry_time_cost_some_efficiency(kind: str, per_minute: int) -> None:
    past = Simulation(RateLimit(10.0), server(kind, per_minute), SPOKEN["silent"]).run(rows=10 * per_minute + 800)
    start = 150 if kind in MINUTES else 60
    assert past.efficiency(per_minute / 60, start) >= (0.7 if kind in MINUTES else 0.9)
    assert past.refusals(start) < 0.02


@pytest.mark.parametrize("kind", [kind for kind in BUCKETS if kind[-2:] != " 1"])
@told
def test_a_limit_that_falls_is_learned_in_a_few_requests(kind: str, spoken: Spoken) -> None:
    past = Simulation(RateLimit(10.0), server(kind, 600), spoken).run(until=190, limits=[(40, 2)])
    assert len(past.passed) >= 0.95 * (400 + 300)
    assert len(past.refused) <= 20


@pytest.mark.long
@pytest.mark.parametrize(("kind", "low"), [("debt 10", 2.0), ("plain 10", 2.0), ("debt 1", 0.1), ("plain 1", 0.1)])
def test_a_limit_that_rises_again_is_found_by_sending_faster_for_a_while(kind: str, low: float) -> None:
    past = Simulation(RateLimit(10.0), server(kind, 600)).run(until=3 * 3600, limits=[(60, low), (3600, 10)])
    assert sum(time > 3 * 3600 - 60 for time in past.passed) >= 0.95 * 600
    assert past.refusals(120) < 0.01


@kinds
@told
def test_without_a_configured_rate_the_limit_is_found(kind: str, spoken: Spoken) -> None:
    past = Simulation(RateLimit(None), server(kind, 600), spoken).run(rows=6000)
    assert past.efficiency(10, 180) >= 0.9
    assert past.refusals(180) < 0.01


def test_without_a_configured_rate_there_is_no_limit_until_a_429() -> None:
    limit = RateLimit(None)
    for _ in range(1000):
        assert limit.wait(1.0) == 0
        limit.accepted(limit.take(1.0), 1.0)
    assert limit.pace is None
    assert limit.paused(1.0) == 0


@pytest.mark.parametrize("rate", [None, 10.0])
def test_several_429s_for_requests_in_flight_together_change_the_pace_only_once(rate: float | None) -> None:
    limit = RateLimit(rate, burst=64)
    slots = [limit.take(0.0) for _ in range(64)]
    limit.throttled(slots[20], 0.1, 2)
    pace = limit.pace
    for slot in slots[21:]:
        limit.throttled(slot, 0.2, 3)
        limit.throttled(slot, 0.2, 1)
    for slot in slots[:20]:
        limit.accepted(slot, 0.3)
    assert limit.pace == pace
    assert limit.paused(0.2) == pytest.approx(3.0)
    assert limit.wait(0.2) == pytest.approx(3.0)


def test_a_late_429_does_not_shorten_the_wait_of_an_earlier_one() -> None:
    limit = RateLimit(10.0)
    first, late = limit.take(0.0), limit.take(0.0)
    limit.throttled(first, 0.1, 20)
    limit.accepted(limit.take(20.1), 20.2)
    assert limit.wait(20.2) > 9
    limit.throttled(late, 20.3, 1)
    assert limit.wait(20.3) > 9


def test_accepted_requests_that_were_sent_before_a_rise_of_the_pace_cause_no_second_rise() -> None:
    limit = RateLimit(1000.0)
    limit.throttled(limit.take(0.0), 0.1, 20)
    pace = limit.pace
    assert pace is not None
    for slot in [limit.take(21.0) for _ in range(5000)]:
        limit.accepted(slot, 22.0)
    assert pace < (limit.pace or 0) <= 1.25 * pace


def test_a_wait_that_ends_early_by_a_rounding_error_counts_as_over() -> None:
    limit = RateLimit(10.0, burst=1)
    limit.take(3.3)
    assert limit.wait(3.3 + limit.wait(3.3) - 1e-7) == 0


@pytest.mark.parametrize("kind", ["debt 1", "plain 1"])
def test_a_limit_that_falls_after_half_an_hour_is_found_quickly(kind: str) -> None:
    past = Simulation(RateLimit(10.0), server(kind, 300)).run(until=2400, limits=[(2000, 1)])
    assert past.efficiency(1, 2000) >= 0.8


@pytest.mark.parametrize("kind", ["debt 1", "plain 1", "debt 10", "plain 10"])
def test_the_lower_limit_after_credit_has_run_out_is_noticed_within_two_minutes(kind: str) -> None:
    past = Simulation(RateLimit(10.0), server(kind, 600)).run(until=660, limits=[(60, 0.1)])
    assert past.efficiency(0.1, 180) >= 0.9
    assert past.refusals(180) < 0.05


@pytest.mark.parametrize("nonsense", [-5, -math.inf, math.nan, math.inf, 7 * 86400, 1e300, 0])
def test_an_absurd_retry_after_leads_to_a_limited_pause(nonsense: float) -> None:
    limit = RateLimit(10.0)
    limit.throttled(limit.take(0.0), 0.1, nonsense)
    assert 0 < limit.wait(0.1) <= LONGEST
    past = Simulation(limit, server("debt 10", 600)).run(rows=1000)
    assert past.passed[-1] - past.passed[0] < 1.1 * 1000 / 10


@pytest.mark.parametrize("nonsense", [-5, math.nan, math.inf, 7 * 86400, 0])
def test_a_server_that_refuses_everything_gets_ever_fewer_requests(nonsense: float) -> None:
    class Never:
        per_second = 0.0

        def take(self, _: float) -> float:
            return 1.0

    past = Simulation(RateLimit(10.0), Never(), lambda _: nonsense).run(until=7200)
    assert len(past.refused) < 150
    assert past.refused[-1] > 6000


def test_requests_before_an_idle_time_are_not_counted() -> None:
    limit = RateLimit(10.0)
    limit.accepted(limit.take(0.0), 0.1)
    past = Simulation(limit, server("plain 60", 300)).run(rows=5)
    assert len(past.passed) == 5
    for number in range(20):
        now = 5000 + limit.wait(5000 + number) + number
        limit.accepted(limit.take(now), now)
    limit.throttled(limit.take(5021.0), 5021.1, 3)
    assert limit.pace is not None
    assert limit.pace > 0.5


@settings(deadline=None, max_examples=60)
@given(
    rate=st.none() | st.floats(0.05, 50),
    burst=st.floats(1, 20),
    per_minute=st.floats(3, 3000),
    kind=st.sampled_from(BUCKETS),
    seed=st.integers(0, 99),
    asked=st.none() | st.floats(),
)
def test_no_window_holds_more_than_the_pace_and_a_burst(  # noqa: PLR0913, PLR0917 - one argument for each drawn value
    rate: float | None, burst: float, per_minute: float, kind: str, seed: int, asked: float | None
) -> None:
    says: Spoken = math.ceil if asked is None else lambda wait: random.Random(wait).choice([asked, wait, None])  # noqa: S311 - repeatable, not secret
    simulation = Simulation(RateLimit(rate, burst=burst), server(kind, per_minute), says, seed=seed)
    sent = simulation.run(rows=300, until=5000).sent
    assert sent
    for first, start in enumerate(sent if rate else []):
        for ahead in (1, 2, 5, 10, 50):
            if first + ahead < len(sent):
                time = sent[first + ahead] - start
                assert ahead + 1 <= (rate or 0) * MARGIN * time + burst + 1e-3


@given(
    rate=st.none() | st.floats(1e-3, 1e4),
    start=st.floats(0, 1e9),
    steps=st.lists(st.tuples(st.sampled_from(["ok", "429"]), st.none() | st.floats(), st.floats(0, 1e3)), max_size=60),
)
def test_after_the_wait_a_request_may_be_sent(
    rate: float | None, start: float, steps: list[tuple[str, float | None, float]]
) -> None:
    limit, now = RateLimit(rate), start
    for answer, asked, later in steps:
        wait = limit.wait(now)
        assert 0 <= wait <= max(LONGEST, 1 / (rate or 1) / MARGIN) + 1
        assert limit.paused(now) >= 0
        now += wait
        assert limit.wait(now) == 0
        slot = limit.take(now)
        if answer == "ok":
            limit.accepted(slot, now + 0.1)
        else:
            limit.throttled(slot, now + 0.1, asked)
        assert limit.pace is None or 0 < limit.pace < math.inf
        now += later


class Telling(Simulation):
    """Responses have the quota of a token bucket: the requests that are left, and the seconds until it is full."""

    def __init__(self, limit: RateLimit, server: serving.TokenBucket, *, latency: float = 0.1, seed: int = 1) -> None:
        super().__init__(limit, server, seed=seed)
        self._told, self._latency = server, latency

    def _arrive(self, slot: Slot, now: float) -> None:
        wait = self.server.take(now)
        (self.past.refused if wait else self.past.passed).append(now)
        remaining, reset = self._told.left()
        answered = max(now, slot.sent + self._random.uniform(0.005, self._latency))
        self._at(answered, partial(self._tell, slot, wait, Quota(remaining, max(1, reset))))

    def _tell(self, slot: Slot, wait: float, quota: Quota, now: float) -> None:
        self._flying -= 1
        if wait:
            self.limit.throttled(slot, now, math.ceil(wait))
        else:
            self.limit.accepted(slot, now, quota)


@pytest.mark.parametrize("burst", [6, 12, 60])
@pytest.mark.parametrize("per_minute", [60, 120, 300])
@pytest.mark.parametrize("seed", range(3))
def test_a_limit_in_the_response_headers_is_obeyed_without_a_429(per_minute: int, burst: int, seed: int) -> None:
    bucket = serving.TokenBucket(per_minute / 60, burst)
    past = Telling(RateLimit(10.0), bucket, seed=seed).run(rows=200)
    assert past.refused == []
    assert past.efficiency(per_minute / 60) >= 0.5


def test_the_quota_in_an_ordinary_response_delays_no_request() -> None:
    limit, now = RateLimit(10.0), 0.0
    for _ in range(1000):
        now += limit.wait(now)
        limit.accepted(limit.take(now), now + 0.1, Quota(599, 1))
    assert now <= 1000 / 9.8


class Liar(serving.TokenBucket):
    """A bucket that refuses nothing, and whose quota is always 0."""

    def __init__(self, reset: int) -> None:
        super().__init__(1e9, 1e9)
        self._reset = reset

    def left(self) -> tuple[int, int]:
        return 0, self._reset


@pytest.mark.parametrize("latency", [0.1, 2.0, 30.0])
@pytest.mark.parametrize("reset", [1, 60])
def test_a_reported_quota_that_is_always_zero_is_soon_ignored(reset: int, latency: float) -> None:
    """Late responses to many requests do not delay the next request forever."""
    past = Telling(RateLimit(10.0), Liar(reset), latency=latency).run(rows=1000)
    most = 1000 / min(9.8, IN_FLIGHT / latency)
    assert past.passed[-1] <= 1.2 * most + 5 * (reset + latency)


def test_after_a_429_reported_quotas_are_obeyed_again() -> None:
    limit, now = RateLimit(10.0), 0.0
    for _ in range(20):
        now += limit.wait(now)
        limit.accepted(limit.take(now), now + 0.01, Quota(0, 1))
    assert limit.wait(now + 0.01) < 0.5
    limit.throttled(limit.take(now + 0.2), now + 0.3, 1)
    now += 2
    limit.accepted(limit.take(now), now + 0.01, Quota(0, 7))
    assert limit.wait(now + 0.01) == pytest.approx(6)  # 7, minus the rounding, as a 429 has taught the pace


@given(
    start=st.floats(0, 1e6),
    steps=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 60), st.floats(0, 100), st.floats(0, 10)), max_size=60),
)
def test_a_quota_is_kept_until_its_renewal(start: float, steps: list[tuple[int, int, float, float]]) -> None:
    """No more requests are sent than were left, and no wait is longer than a minute."""
    limit, now = RateLimit(1000.0), start
    allowed, renewal, doubts = math.inf, -math.inf, 0
    for remaining, reset, latency, later in steps:
        wait = limit.wait(now)
        assert wait <= 62
        now += wait
        slot = limit.take(now)
        assert slot.number <= allowed or now >= renewal - 1e-3 or doubts >= 5
        if latency <= 1:  # the response comes before the next request
            if slot.sent >= renewal:
                doubts = 0 if remaining else doubts + 1
            now += latency
            limit.accepted(slot, now, Quota(remaining, reset))
            allowed, renewal = slot.number + remaining, now + reset
        now += later


@given(st.none() | st.text(max_size=12), st.none() | st.text(max_size=12))
def test_any_rate_limit_header_is_read_or_ignored(remaining: str | None, reset: str | None) -> None:
    quota = read_quota(remaining, reset)
    assert quota is None or (quota.remaining >= 0 and 1 <= quota.reset <= 60)


def test_malformed_rate_limit_headers_are_ignored() -> None:
    odd = [("-1", "1"), ("0", "1732873200"), ("5", "0"), ("1e3", "1"), ("0.5", "1"), ("0", None), ("\u0661", "1")]
    assert [read_quota(remaining, reset) for remaining, reset in odd] == [None] * len(odd)
    assert read_quota("599", "1") == Quota(599, 1)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("600/min", 10.0),
        ("10/s", 10.0),
        ("36000/h", 10.0),
        (" 6 / minute ", 0.1),
        ("0.5/s", 0.5),
        ("600/M", 10.0),
        ("none", None),
        ("None", None),
    ],
)
def test_a_rate_is_read_in_every_notation(text: str, rate: float | None) -> None:
    assert parse_rate(text) == (None if rate is None else pytest.approx(rate))


@pytest.mark.parametrize("text", ["", "600", "600/day", "-1/s", "0/s", "nan/s", "inf/s", "9" * 400 + "/s", "/s", "٣/s"])
def test_a_malformed_rate_raises_a_one_line_error_with_advice(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no rate: write .*600/min.*none") as raised:
        parse_rate(text)
    assert "\n" not in str(raised.value)

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.serving.answer import Answer
from replicate_job.serving.faults import OPERATIONS, WORDS, Fault, Faults, _parse_seconds


def test_the_fault_language_has_faults_for_each_operation_and_settings_for_all() -> None:
    assert Faults.parse("create:drop-after=0.2,get:503=0.1,rate=600/min,latency=50ms,expire=10s").expire == 10
    faults = Faults.parse("create:drop-after=1,get:503=1,rate=600/min,other-rate=50/s,burst=3,latency=50ms,expire=10s")
    drop, refusal = faults.draw("create", 1.0), faults.draw("get", 1.0)
    assert drop == Fault("drop-after", "drop", after=True)
    assert refusal
    assert refusal.answer
    assert refusal.answer.status == 503
    assert (faults.latency, faults.expire) == (0.05, 10.0)


def test_every_word_that_the_error_message_suggests_is_a_valid_fault() -> None:
    words = WORDS.replace("or a status as ", "").replace(" or ", ", ").partition(", each")[0].split(", ")
    assert len(words) == 13
    for word in words:
        assert Fault.parse(word).name == word


def test_an_empty_text_has_no_faults() -> None:
    faults = Faults.parse("")
    assert [faults.draw(operation, 1.0) for operation in OPERATIONS] == [None] * len(OPERATIONS)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("crete:500=1", "crete"),
        ("create:500", "create:500"),
        ("create:500=2", "'2'"),
        ("create:500=often", "often"),
        ("create:500=0.6,create:drop=0.6", "more than 1"),
        ("create:explode=1", "explode"),
        ("create:300=1", "300"),
        ("create:slow(soon)=1", "soon"),
        ("create:429(body)=1", "429(body)"),
        ("create:429(when=5)=1", "when=5"),
        ("create:429(date=soon)=1", "date=soon"),
        ("create:429(date=1e300)=1", "date=1e300"),
        ("create:429(date=inf)=1", "date=inf"),
        ("create:429(header=\u2026)=1", "\u2026"),
        ("create:redirect(http://\u2026/)=1", "\u2026"),
        ("rate=many", "rate=many"),
        ("rate=600/week", "600/week"),
        ("burst=-1", "burst=-1"),
        ("colour=red", "colour=red"),
        ("latency=5 parsecs", "5 parsecs"),
    ],
)
def test_a_syntax_error_quotes_the_wrong_part(text: str, quoted: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as caught:
        Faults.parse(text)
    assert quoted in str(caught.value)


@pytest.mark.parametrize(
    "kind", ["drop", "close", "hang", "slow", "503", "html", "empty", "nonsense", "redirect(http://x)"]
)
def test_by_default_a_fault_occurs_before_the_request_is_carried_out(kind: str) -> None:
    name, bracket, rest = kind.partition("(")
    assert not Fault.parse(kind).after
    assert not Fault.parse(f"{name}-before{bracket}{rest}").after
    assert Fault.parse(f"{name}-after{bracket}{rest}").after


@pytest.mark.parametrize("kind", ["truncate", "half"])
def test_the_faults_truncate_and_half_occur_after_the_request_is_carried_out(kind: str) -> None:
    assert Fault.parse(kind).after


def test_faults_of_an_operation_occur_with_their_probabilities_and_one_at_a_time() -> None:
    faults = Faults.parse("create:drop-after=0.2,create:drop-before=0.1,create:500-after=0.1", seed=1)
    seen = Counter(fault.name if fault else "" for fault in (faults.draw("create", 1.0) for _ in range(10_000)))
    expected = {"drop-after": 0.2, "drop-before": 0.1, "500-after": 0.1, "": 0.6}
    assert {name: pytest.approx(count / 10_000, abs=0.02) for name, count in seen.items()} == expected


def test_a_fault_with_the_probability_one_always_occurs_and_with_zero_never() -> None:
    faults = Faults.parse("get:drop=1,list:drop=0")
    assert all(faults.draw("get", 1.0) for _ in range(1000))
    assert not any(faults.draw("list", 1.0) for _ in range(1000))


@given(st.integers())
def test_the_same_seed_gives_the_same_faults(seed: int) -> None:
    first, second = (Faults.parse("create:drop=0.3,create:503=0.3", seed=seed) for _ in range(2))
    assert [first.draw("create", 1.0) for _ in range(50)] == [second.draw("create", 1.0) for _ in range(50)]


def test_queued_faults_come_before_random_faults_and_a_queued_none_means_no_fault() -> None:
    faults = Faults.parse("get:404=1")
    faults.next("get", "drop", None, Fault.answering(Answer(418)))
    names = [fault and fault.name for fault in (faults.draw("get", 1.0) for _ in range(4))]
    assert names == ["drop", None, "418-before", "404"]
    with pytest.raises(ValueError, match="no operation 'got'"):
        faults.next("got", "drop")


def test_clear_removes_every_fault_and_limit() -> None:
    faults = Faults.parse("get:404=1,rate=1/min,burst=1,latency=1s")
    faults.next("create", "drop")
    faults.clear()
    assert faults.latency == 0
    assert [faults.draw(operation, 1.0) for operation in ("get", "create", "create")] == [None] * 3


def test_create_requests_over_the_rate_get_429_until_the_bucket_refills() -> None:
    faults = Faults.parse("rate=60/min,burst=2")
    assert [faults.draw("create", 1.0) for _ in range(2)] == [None, None]
    refused = faults.draw("create", 1.0)
    assert refused
    assert refused.answer
    assert refused.answer.status == 429
    assert b'"retry_after":2' in refused.answer.body
    assert faults.draw("create", 1.5)
    assert faults.draw("create", 4.5) is None


def test_a_new_limit_applies_at_once_with_a_full_burst() -> None:
    faults = Faults.parse("rate=1/min,burst=1")
    assert [bool(faults.draw("create", 1.0)) for _ in range(2)] == [False, True]
    faults.limit(rate=1, other_rate=1, burst=2)
    assert [bool(faults.draw("create", 1.0)) for _ in range(3)] == [False, False, True]
    assert [bool(faults.draw("get", 1.0)) for _ in range(3)] == [False, False, True]
    assert faults.throttled == 3
    faults.limit()
    assert [faults.draw("create", 1.0) for _ in range(3)] == [None] * 3


def test_create_requests_have_their_own_rate_and_downloads_have_none() -> None:
    faults = Faults.parse("rate=1/min,other-rate=1/min,burst=1")
    assert faults.draw("create", 1.0) is None
    assert faults.draw("get", 1.0) is None
    assert faults.draw("create", 1.0)
    assert faults.draw("list", 1.0)
    assert [faults.draw("download", 1.0) for _ in range(5)] == [None] * 5


@given(st.floats(min_value=0, max_value=1e6).map(lambda number: round(number, 3)))
def test_durations_are_read_in_every_unit(number: float) -> None:
    for unit, factor in {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3600}.items():
        assert _parse_seconds(f"{number:f}{unit}") == pytest.approx(number * factor)

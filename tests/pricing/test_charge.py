"""The cost of a prediction."""

from __future__ import annotations

import pickle
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.job import Result
from replicate_job.pricing.charge import Charge, charge
from replicate_job.pricing.price import Price, Term, parse_terms
from replicate_job.pricing.usage import Usage

COUNTS = {"input_token_count": 100, "output_token_count": 10}
VIDEO = {"video_output_duration_seconds": 8.0}
FLUX = "black-forest-labs/flux-schnell"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("REPLICATE_JOB_PRICES", raising=False)


@pytest.mark.parametrize(
    ("text", "usage", "cost"),
    [
        ("0.003/image", Usage("succeeded", {}, ["a", "b"]), "0.006"),
        ("0.003/image", Usage("succeeded", {}, "https://replicate.delivery/a.png"), "0.003"),
        ("0.003/image", Usage("succeeded", {"image_count": 4}, None), "0.012"),
        ("0.003/image", Usage("succeeded", {"image_output_count": 3, "image_count": 4}, ["a"]), "0.009"),
        ("0.001/second", Usage("failed", {"predict_time": 2.5}), "0.0025"),
        ("0.001/second", Usage("canceled", {"predict_time": 10}), "0.01"),
        ("1/1M input tokens + 3/1M output tokens", Usage("succeeded", COUNTS), "0.00013"),
        ("1/1M input tokens", Usage("succeeded", {"token_input_count": 5}), "0.000005"),
        ("0.1/second of video", Usage("succeeded", VIDEO, "u", {"duration": 5}), "0.8"),
        ("0.1/second of video", Usage("succeeded", {}, "u", {"duration": 5}), "0.5"),
        ("0.05/run", Usage("failed"), "0.05"),
        ("0.001/second", Usage("aborted"), "0"),
    ],
)  # fmt: skip
def test_a_cost_is_the_price_times_the_usage(text: str, usage: Usage, cost: str) -> None:
    found = charge(Price(parse_terms(text), "user"), usage)
    assert found
    assert found.cost == Decimal(cost)


@pytest.mark.parametrize(
    ("text", "usage"),
    [
        ("0.003/image", Usage("processing", {}, ["a"])),
        ("0.003/image", Usage("failed")),
        ("0.003/image", Usage("succeeded", {}, [])),
        ("0.003/image", Usage("succeeded", {}, {"a": 1})),
        ("0.001/second", Usage("succeeded")),
        ("0.001/second", Usage("succeeded", {"predict_time": "5"})),
        ("0.001/second", Usage("succeeded", {"predict_time": -5})),
        ("0.001/second", Usage("succeeded", {"predict_time": True})),
        ("0.1/second of video", Usage("succeeded", {}, "u")),
        ("1/1M input tokens + 3/1M output tokens", Usage("succeeded", {"input_token_count": 100})),
        ("0.05/run", Usage("error")),
    ],
)
def test_an_unknown_cost_is_none_and_not_0(text: str, usage: Usage) -> None:
    assert charge(Price(parse_terms(text), "user"), usage) is None


@given(
    st.lists(st.tuples(st.integers(1, 10**9), st.integers(0, 10)), min_size=1, max_size=3),
    st.integers(0, 10**6),
    st.integers(0, 1000),
)
def test_costs_are_exact(terms: list[tuple[int, int]], seconds: int, images: int) -> None:
    price = Price(
        tuple(Term(Decimal(number).scaleb(-places), "second" if places % 2 else "image") for number, places in terms),
        "user",
    )
    found = charge(price, Usage("succeeded", {"predict_time": seconds, "image_count": images}))
    assert found
    exact = sum(
        (Fraction(number, 10**places) * (seconds if places % 2 else images) for number, places in terms), Fraction(0)
    )
    assert Fraction(found.cost) == exact


def result(**facts: Any) -> Result:
    return Result("id", "succeeded", FLUX, {}, ["https://a/1", "https://a/2"], **facts)


def test_a_result_has_a_cost_with_the_source_and_date_of_the_price() -> None:
    found = result(price=FLUX)
    assert (found.cost, found.cost_source, found.price_date) == (Decimal("0.006"), "table", date(2026, 10, 7))
    assert "cost" not in found.to_dict()
    assert len(found.to_dict()) == 10
    assert pickle.loads(pickle.dumps(found)).cost == Decimal("0.006")  # noqa: S301 - pickled in this line


def test_a_result_without_a_price_or_of_a_stand_in_model_has_no_cost() -> None:
    for found in (result(), result(price="acme/unknown"), result(price=FLUX, stand_in="a painter")):
        assert (found.cost, found.cost_source, found.price_date) == (None, None, None)


def test_the_cost_of_a_deployment_says_that_it_excludes_idle_time() -> None:
    found = result(price="deployments/acme/x@gpu-t4", metrics={"predict_time": 2})
    assert found.charge == Charge(
        Decimal("0.00045"), "learned", date(2026, 10, 7), "setup and idle time of its instances"
    )

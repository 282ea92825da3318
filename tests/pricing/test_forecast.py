"""Estimates of a cost before the prediction is created."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.pricing.forecast import Forecast
from replicate_job.pricing.learned import WINDOW, Learned
from replicate_job.pricing.price import Price, parse_terms
from replicate_job.testing import openapi_schema

FILE = {"type": "string", "format": "uri"}
FILES = {"type": "array", "items": FILE}
COUNTED = openapi_schema({"num_outputs": {"type": "integer", "default": 2}, "duration": {"default": 5}}, FILES)
SINGLE = openapi_schema({"prompt": {}}, FILE)
MANY = openapi_schema({"prompt": {}}, FILES)


@pytest.mark.parametrize(
    ("price", "schema", "values", "expected", "most"),
    [
        ("0.01/image", COUNTED, {"num_outputs": 4}, "0.04", "0.04"),
        ("0.01/image", COUNTED, {}, "0.02", "0.02"),
        ("0.01/image", SINGLE, {}, "0.01", "0.01"),
        ("0.01/image", MANY, {}, "0.01", None),
        ("0.01/image", None, {}, "0.01", None),
        ("0.1/second of video", COUNTED, {}, "0.5", "0.5"),
        ("0.1/second of video", SINGLE, {"duration": 8}, "0.8", "0.8"),
        ("0.1/second of video", SINGLE, {}, None, None),
        ("0.001/second", SINGLE, {}, None, "1.8"),
        ("0.05/run + 0.001/second", SINGLE, {}, None, "1.85"),
        ("1/1k output tokens", SINGLE, {"max_tokens": 100}, "0.1", "0.1"),
        ("1/1k output tokens", SINGLE, {}, None, None),
        ("1/1k input tokens", SINGLE, {"prompt": "é" * 7}, "0.002", "0.015"),
    ],
)
def test_the_expected_and_the_highest_cost_are_estimated_from_the_input(
    price: str, schema: Any, values: dict[str, Any], expected: str | None, most: str | None
) -> None:
    forecast = Forecast(Price(parse_terms(price), "user"), schema, None)
    assert forecast.expected(values) == (None if expected is None else Decimal(expected))
    assert forecast.most(values) == (None if most is None else Decimal(most))


def test_a_cancel_after_duration_limits_the_highest_cost() -> None:
    forecast = Forecast(Price(parse_terms("0.001/second"), "user"), None, "1m")
    assert forecast.most({}) == Decimal("0.06")


@given(st.lists(st.decimals(0, 100, places=3), min_size=1, max_size=30), st.floats(0, 1), st.integers(1, 40))
def test_quantiles_are_those_of_the_newest_costs(costs: list[Decimal], part: float, times: int) -> None:
    learned = Learned()
    every = costs * times
    for cost in every:
        learned.add(cost)
    newest = sorted(every[-WINDOW:])
    assert len(learned) == len(newest)
    found = learned.quantile(part)
    assert found is not None
    assert sum(cost <= found for cost in newest) >= math.ceil(part * len(newest))
    assert sum(cost < found for cost in newest) < max(1, math.ceil(part * len(newest)))


def test_without_earlier_costs_there_is_no_quantile() -> None:
    assert Learned().quantile(0.5) is None

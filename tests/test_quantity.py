"""Numbers formatted for people."""

from __future__ import annotations

import pytest

from replicate_job.quantity import money, rate, roughly


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "5 s"), (37, "40 s"), (55, "55 s"), (55.1, "1 min"), (841, "15 min"), (3_541, "1h 00m"), (7_800, "2h 10m")],
)
def test_a_rough_duration_is_rounded_up(seconds: float, text: str) -> None:
    assert roughly(seconds) == text


@pytest.mark.parametrize(
    ("per_minute", "text"),
    [(120_000, "120,000/min"), (598.4, "598/min"), (4.24, "4.2/min"), (0.4, "24/h"), (0, "0/h")],
)
def test_a_rate_is_shown_per_minute_and_a_slow_rate_per_hour(per_minute: float, text: str) -> None:
    assert rate(per_minute / 60) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0.00"),
        ("0.00312", "$0.00312"),
        ("0.003", "$0.003"),
        ("0.5", "$0.50"),
        ("0.0000012345", "$0.00000123"),
        ("1", "$1.00"),
        ("12.345", "$12.35"),
        ("1234567.1", "$1,234,567.10"),
        ("0.999", "$0.999"),
    ],
)
def test_an_amount_of_money_has_cents_and_below_a_dollar_three_significant_digits(amount: str, text: str) -> None:
    assert money(float(amount)) == text

"""Estimates the cost of a batch before anything is created."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from replicate_job.pricing.charge import IDLE
from replicate_job.pricing.forecast import Forecast
from replicate_job.pricing.learned import Learned
from replicate_job.pricing.price import CURRENCY, Price


class Estimate:
    """Estimates the cost of all rows together.

    If the model has run before, the estimate is the number of predictions times their median cost so far. Otherwise it
    is the sum of the costs that the price and the rows' inputs determine.
    """

    def __init__(self, price: Price, forecast: Forecast, learned: Learned) -> None:
        self._price, self._forecast, self._learned = price, forecast, learned
        self._number, self._asked, self._most = 0, Decimal(0), Decimal(0)
        self._is_told = self._is_bounded = self._is_counted = True

    def add(self, values: Mapping[str, Any], times: int | None = 1, at_most: int = 1) -> None:
        """Count ``times`` predictions with the input ``values``.

        If ``times`` is None, the number of predictions is not known, but it is at most ``at_most``.
        """
        expected, most = self._forecast.expected(values), self._forecast.most(values)
        self._is_counted = self._is_counted and times is not None
        self._number += times or 0
        self._asked += (expected or 0) * (times or 0)
        self._most += (most or 0) * (times or at_most)
        self._is_told, self._is_bounded = self._is_told and expected is not None, self._is_bounded and most is not None

    def to_dict(self) -> dict[str, Any]:
        """The estimate as a dictionary.

        ``estimate`` and ``at_most`` are the costs of all rows. ``history`` has the costs of one prediction so far. A
        cost that is not known is None.
        """
        median = self._learned.quantile(0.5)
        estimate = median * self._number if median is not None else self._asked if self._is_told else None
        estimate = estimate if self._is_counted else None
        parts = {"least": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "most": 1.0}
        spread = {name: self._learned.quantile(part) for name, part in parts.items()}
        if self._learned.is_few:
            spread |= {"p5": None, "p95": None}
        told = {
            "estimate": estimate,
            "at_most": self._most if self._is_bounded else None,
            "currency": CURRENCY,
            "from": None if estimate is None else "price" if median is None else "history",
            "price": str(self._price),
            "cost_source": self._price.source,
            "price_date": self._price.date,
            "history": {"predictions": len(self._learned), **spread},
        }
        return told | ({"excludes": IDLE} if self._price.bills_idle else {})

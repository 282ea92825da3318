"""Finds how many units of a price a prediction used: from its metrics, or else from its output and input."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from replicate_job.pricing.price import Unit

_METRICS: dict[Unit, tuple[str, ...]] = {
    "second": ("predict_time",),
    "image": ("image_output_count", "image_count"),
    "input_token": ("input_token_count", "token_input_count"),
    "output_token": ("output_token_count", "token_output_count"),
    "video_second": ("video_output_duration_seconds",),
}
"""Maps a unit to the names of its metric that were seen in predictions. Models report some metrics for billing."""
_MOST = 10**12


class Usage(msgspec.Struct, frozen=True):
    """The parts of a prediction that its cost depends on."""

    status: str
    metrics: Mapping[str, Any] = {}
    output: Any = None
    input: Mapping[str, Any] = {}


def units(unit: Unit, usage: Usage) -> Decimal | None:
    """How many units the prediction used. None if unknown: for instance, a failed prediction may have made outputs."""
    if unit == "prediction":
        return Decimal(1)
    for name in _METRICS[unit]:
        if (found := number(usage.metrics.get(name))) is not None:
            return found
    if usage.status != "succeeded":
        return None
    if unit == "image":
        return _images(usage.output)
    return number(usage.input.get("duration")) if unit == "video_second" else None


def _images(output: Any) -> Decimal | None:
    if isinstance(output, str):
        return Decimal(1)
    is_list = isinstance(output, list) and output and all(isinstance(item, str) for item in output)
    return Decimal(len(output)) if is_list else None


def number(value: Any) -> Decimal | None:
    """A finite number of JSON, not negative and not absurdly large; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MOST:
        return None
    return Decimal(repr(value))

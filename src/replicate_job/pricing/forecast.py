"""Estimates what a prediction will cost from its price and its input, before it is created."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from replicate_job.pricing.price import Price, Unit
from replicate_job.pricing.usage import number
from replicate_job.wire.duration import parse_cancel_after
from replicate_job.wire.openapi import definition

RUN_LIMIT = 30 * 60
"""Seconds after which Replicate ends a prediction that sets no ``Cancel-After``."""

_IMAGES = ("num_outputs", "num_images", "number_of_images", "n")
_TOKENS = ("max_tokens", "max_new_tokens", "max_completion_tokens", "max_output_tokens")
_CHARACTERS = 4  # characters of an average token
_Bounds = tuple[Decimal | None, Decimal | None]


class Forecast:
    """Estimates the costs of one model. ``schema`` is its OpenAPI document, ``cancel_after`` the job's time limit."""

    def __init__(self, price: Price, schema: Mapping[str, Any] | None, cancel_after: str | None) -> None:
        self._price, self._schema = price, schema
        self._properties = (definition(schema, "Input") or {}).get("properties", {})
        self.longest = parse_cancel_after(cancel_after) if cancel_after else RUN_LIMIT

    def expected(self, values: Mapping[str, Any]) -> Decimal | None:
        """The expected cost in USD. None if the input does not determine it, as with a price by the second."""
        return self._sum(values, 0)

    def most(self, values: Mapping[str, Any]) -> Decimal | None:
        """The highest cost in USD, if the model makes no more than its input asks for. None if there is no limit."""
        return self._sum(values, 1)

    def _sum(self, values: Mapping[str, Any], which: int) -> Decimal | None:
        cost = Decimal(0)
        for term in self._price.terms:
            amount = self._bounds(term.unit, values)[which]
            if amount is None:
                return None
            cost += term.amount * amount
        return cost

    def _bounds(self, unit: Unit, values: Mapping[str, Any]) -> _Bounds:
        """How many units a prediction uses: the expected number and the highest, each None if it is unknown."""
        match unit:
            case "second":
                return None, Decimal(self.longest)
            case "prediction":
                return Decimal(1), Decimal(1)
            case "image":
                asked = self._asked(_IMAGES, values) or (Decimal(1) if self._makes_one() else None)
                return asked or Decimal(1), asked
            case "video_second":
                return (self._asked(("duration",), values),) * 2
            case "input_token":
                texts = [value for value in values.values() if isinstance(value, str)]
                size = sum(len(text.encode(errors="replace")) for text in texts)  # a token has at least one byte
                return Decimal(sum(map(len, texts)) // _CHARACTERS + 1), Decimal(size + 1)
            case "output_token":
                return (self._asked(_TOKENS, values),) * 2

    def _asked(self, names: tuple[str, ...], values: Mapping[str, Any]) -> Decimal | None:
        """The first number among the values of these inputs. An input that is not set has its schema's default."""
        for name in names:
            declared = self._properties.get(name)
            default = declared.get("default") if isinstance(declared, dict) else None
            if asked := number(values.get(name, default)):
                return asked
        return None

    def _makes_one(self) -> bool:
        output = definition(self._schema, "Output") or {}
        return output.get("type") == "string"

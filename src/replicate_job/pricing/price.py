"""A price, and its notation: ``0.003/image``, ``3.75/1M input tokens + 0.01/1000 output tokens``."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Literal

import msgspec

CURRENCY = "USD"
Unit = Literal["second", "image", "input_token", "output_token", "video_second", "prediction"]
Source = Literal["table", "user", "learned"]
EXAMPLES = "0.003/image, 0.000975/second, 0.10/second of video, 3.75/1M input tokens + 10/1M output tokens"

_UNITS: dict[str, Unit] = {
    "second": "second",
    "s": "second",
    "image": "image",
    "input token": "input_token",
    "output token": "output_token",
    "second of video": "video_second",
    "video second": "video_second",
    "prediction": "prediction",
    "run": "prediction",
}
_NAMES = {unit: name for name, unit in reversed(_UNITS.items())}
_TERM = (  # compiled when the first price is read
    r"\$?(?P<amount>\d{1,12}(?:\.\d{1,12})?) */ *(?:(?P<many>\d{1,3}(?:,\d{3})+|\d{1,12}) *(?P<power>[km]?) +"
    r"|(?P<short>\d{1,9})(?P<symbol>[km]) *)?(?P<unit>[a-z][a-z_ ]*)"
)
_POWERS = {"": 1, "k": 1_000, "m": 1_000_000}


class Term(msgspec.Struct, frozen=True):
    """A price of ``amount`` USD for each unit."""

    amount: Decimal
    unit: Unit


class Price(msgspec.Struct, frozen=True):
    """The sum of its terms. ``date`` is the day on which the price was looked up, None if that is not known.

    ``source``: the package's ``table``, the ``user``, or ``learned`` from the hardware that the API names.
    ``bills_idle``: idle instances are billed too, and no prediction shows their cost. ``is_asked_for``: the user gave
    the price for this batch. Then it applies to stand-ins too, so that the batch can be rehearsed.
    """

    terms: tuple[Term, ...]
    source: Source
    date: date | None = None
    bills_idle: bool = False
    is_asked_for: bool = False

    def __str__(self) -> str:
        return " + ".join(f"{plain(term.amount)}/{_NAMES[term.unit]}" for term in self.terms)


def parse_terms(text: str) -> tuple[Term, ...]:
    """Read the terms of a price. Raises ValueError if the text is not a price."""
    return tuple(_parse_term(part.strip()) for part in text.split("+"))


def _parse_term(text: str) -> Term:
    found = re.fullmatch(_TERM, text, re.IGNORECASE)
    unit = found and _UNITS.get(_singular(found["unit"]))
    if not found or not unit:
        raise ValueError(f"{text!r} is not a price: write it like {EXAMPLES}")
    power = (found["power"] or found["symbol"] or "").lower()
    many = int((found["many"] or found["short"] or "1").replace(",", "")) * _POWERS[power]
    amount = Decimal(found["amount"])
    if not many or not amount:
        raise ValueError(f"{text!r}: a price must be above 0")
    return Term(amount / many, unit)


def _singular(words: str) -> str:
    name = " ".join(words.lower().replace("_", " ").split())
    return name if name in _UNITS else re.sub(r"s\b", "", name)


def plain(amount: Decimal) -> str:
    """The number without an exponent and without trailing zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

"""The tables of prices: the package's own, and the user's file, whose entries replace the package's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from replicate_job.base_errors import JobError
from replicate_job.folders import config_folder, expand
from replicate_job.pricing import published
from replicate_job.pricing.price import EXAMPLES, Price, Source, Term, parse_terms
from replicate_job.settings import unquoted

VARIABLE = "REPLICATE_JOB_PRICES"
FILE = "prices.toml"
_MOST = 10**6


class Prices(msgspec.Struct, frozen=True):
    """``hardware`` maps the API's names to prices, ``models`` maps ``owner/name`` or ``deployments/owner/name``.

    ``place`` is the path of the user's file, which need not exist; None if there is no folder for settings.
    """

    hardware: dict[str, Price]
    models: dict[str, Price]
    place: Path | None = None

    def find(self, name: str) -> Price | None:
        """The price of a model, or of a deployment on hardware: ``deployments/owner/name@gpu-t4``. None if unknown."""
        model, _, hardware = name.partition("@")
        if price := self.models.get(model):
            return price
        by_hardware = self.hardware.get(hardware)
        return by_hardware and msgspec.structs.replace(by_hardware, source="learned", bills_idle=True)

    def read(self, text: str) -> Price:
        """Read a price that a user wrote, or the name of hardware. Raises ValueError for anything else."""
        if "/" not in text:
            if found := self.hardware.get(text.strip()):
                return msgspec.structs.replace(found, source="user")
            raise ValueError(
                f"{text!r} is neither a price (like {EXAMPLES}) nor hardware: {', '.join(sorted(self.hardware))}"
            )
        return Price(parse_terms(text), "user")


def read_prices(environment: Mapping[str, str] = os.environ) -> Prices:
    """Read both tables. Raises JobError for a user's file that cannot be read or is wrong."""
    place = prices_place(environment)
    try:
        changed = place.stat().st_mtime_ns if place else 0
    except FileNotFoundError:
        if environment.get(VARIABLE, "").strip():
            raise JobError(f"{VARIABLE}: there is no file {place}") from None
        changed = 0
    except OSError as error:
        raise JobError(f"the prices in {place} cannot be read: {error.strerror}") from None
    return _read_both(place, changed)


def prices_place(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The path of the user's file: ``REPLICATE_JOB_PRICES``, else ``prices.toml`` in the folder for settings."""
    if named := unquoted(environment.get(VARIABLE, "")):
        return expand(named)
    folder = config_folder(environment)
    return folder and folder / FILE


@lru_cache(maxsize=4)
def _read_both(place: Path | None, changed: int) -> Prices:
    hardware = {name: Decimal(amount) for name, amount in published.HARDWARE.items()}
    own = _read(published.READ, hardware, published.MODELS, "table", Prices({}, {}, place))
    if place is None or not changed:
        return own
    try:
        return _parse(place.read_text("utf-8"), own)
    except (OSError, ValueError) as error:  # ValueError covers the errors of tomllib and of decoding
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise JobError(f"the prices in {place} cannot be read: {why}") from None


def _parse(text: str, below: Prices) -> Prices:
    """The tables ``below`` with the entries of the user's file. Raises ValueError."""
    import tomllib  # noqa: PLC0415 - few users have a file

    values = tomllib.loads(text, parse_float=Decimal)
    if unknown := values.keys() - {"date", "hardware", "models"}:
        raise ValueError(f"{min(unknown)!r} is unknown: only date, hardware and models are known")
    day = _day("the file", values.get("date"))
    hardware, models = values.get("hardware", {}), values.get("models", {})
    if not isinstance(hardware, dict) or not isinstance(models, dict):
        raise ValueError("hardware and models are tables")  # noqa: TRY004 - every fault of a file is a ValueError
    return _read(day, hardware, models, "user", below)


def _read(
    day: date | None, hardware: Mapping[str, Any], models: Mapping[str, Any], source: Source, below: Prices
) -> Prices:
    """The tables ``below`` with entries that replace those of the same name. Raises ValueError."""
    own = {name: Term(_amount(name, value), "second") for name, value in hardware.items()}
    by_hardware = below.hardware | {name: Price((term,), source, day) for name, term in own.items()}
    prices = Prices(by_hardware, {}, below.place)
    found = {name: _price(name, value, day, prices, source) for name, value in models.items()}
    return Prices(by_hardware, below.models | found, below.place)


def _price(name: str, value: Any, day: date | None, prices: Prices, source: Source) -> Price:
    given = value if isinstance(value, dict) else {"price": value}
    if given.keys() - {"price", "date"} or not isinstance(given.get("price"), str):
        raise ValueError(f'{name!r} needs a price as text, like "0.003/image" or "gpu-l40s", and may have a date')
    try:
        price = prices.read(given["price"])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return msgspec.structs.replace(price, source=source, date=_day(name, given.get("date", day)) or price.date)


def _amount(name: str, value: Any) -> Decimal:
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    if not is_number or not Decimal(value).is_finite() or not 0 < value < _MOST:
        raise ValueError(f"{name} needs a number of USD a second, above 0")
    return Decimal(value)


def _day(name: str, value: Any) -> date | None:
    if value is None or type(value) is date:  # datetime is a subclass of date
        return value
    raise ValueError(f"{name}: date is a day like 2026-10-07")

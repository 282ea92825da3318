"""The prediction object of Replicate's HTTP API, and the meaning of its statuses."""

from __future__ import annotations

import re
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from typing import Annotated, Any

import msgspec

TERMINAL = frozenset({"succeeded", "failed", "canceled", "aborted"})
KNOWN = TERMINAL | {"starting", "processing"}
PredictionId = Annotated[str, msgspec.Meta(min_length=1)]

_BAR = r"(\d{1,3})%\|[^|\n\r]*\|\s*(\d+)/(\d+)"  # tqdm's progress bar: 40%|████      | 4/10 [00:01<00:02]
_TAIL = 4096  # characters at the end of the logs that are searched for a progress bar


class Prediction(msgspec.Struct, frozen=True):
    """A prediction object, as documented by the API. Only ``id`` and ``status`` are required.

    Unknown fields are ignored. ``version`` is ``"hidden"`` for official models. The API removes the data of its
    predictions an hour after their end: then ``data_removed`` is true, ``input`` is ``{}`` and ``output`` is None.
    """

    id: PredictionId
    status: str
    model: str | None = None
    version: str | None = None
    input: dict[str, Any] | None = None
    output: Any = None
    error: Any = None
    logs: str | None = None
    metrics: dict[str, Any] | None = None
    urls: dict[str, str | None] | None = None
    created_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    deadline: str | None = None
    deployment: str | None = None
    source: str | None = None
    data_removed: bool | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the prediction has ended, by its status alone.

        A running prediction may already have its complete output.
        """
        return self.status in TERMINAL

    def with_logs(self, seen: str | None) -> Prediction:
        """A copy with the logs ``seen`` earlier, if these are longer, since the API removes logs after an hour."""
        if len(seen or "") <= len(self.logs or ""):
            return self
        return msgspec.structs.replace(self, logs=seen)

    def with_data(self, seen: Prediction | None) -> Prediction:
        """A copy with the data of ``seen``, an earlier state, in place of data that the API has removed since."""
        if seen is None:
            return self
        whole = self.with_logs(seen.logs)
        if not self.data_removed:
            return whole
        return msgspec.structs.replace(whole, input=self.input or seen.input, output=self.output or seen.output)

    def url(self, name: str) -> str | None:
        return (self.urls or {}).get(name)


class MendedPrediction(Prediction, frozen=True):
    """A prediction that could not be decoded as it came.

    ``replaced`` names the fields in which something was replaced: half a surrogate pair by U+FFFD, a number that is too
    large by its text, NaN and infinity by None. ``lost`` names the fields that have a wrong type or cannot be read.
    They are as if they were missing.
    """

    replaced: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def has_lost_output(self) -> bool:
        """Whether the output is complete at the API, and cannot be read."""
        return self.status == "succeeded" and "output" in self.lost

    @property
    def flaws(self) -> str:
        """What was replaced or lost, as the end of a sentence."""
        replaced = f"what JSON cannot carry in its {', '.join(self.replaced)} was replaced" if self.replaced else ""
        lost = f"its {', '.join(self.lost)} cannot be read" if self.lost else ""
        return " and ".join(filter(None, (replaced, lost)))


class PredictionPage(msgspec.Struct, frozen=True):
    """A page of ``GET /v1/predictions``: at most 100 predictions, newest first. ``next`` is a whole URL."""

    results: list[Prediction]
    next: str | None = None
    previous: str | None = None


class RawPage(msgspec.Struct, frozen=True):
    """A page whose predictions are not decoded yet."""

    results: list[msgspec.Raw]
    next: str | None = None
    previous: str | None = None


def parse_time(text: str | None) -> datetime | None:
    """Convert one of the API's times (ISO 8601, UTC without a zone) to UTC; None for any other text.

    None also for a time in the first or last year of ``datetime``, since adding a duration could overflow.
    """
    try:
        time = datetime.fromisoformat(text or "")
        if time.tzinfo is not UTC:
            time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return time if MINYEAR < time.year < MAXYEAR else None


class Bar(msgspec.Struct, frozen=True):
    """A progress bar. ``fraction`` is from 0 to 1; ``current`` of ``total`` steps are done."""

    fraction: float
    current: int
    total: int


def read_bar(logs: str | None) -> Bar | None:
    """The last tqdm bar in the logs; None if they have no bar."""
    tail = (logs or "")[-_TAIL:]
    bars = re.findall(_BAR, tail) if "%|" in tail else ()
    if not bars:
        return None
    percent, current, total = map(int, bars[-1])
    return Bar(min(percent, 100) / 100, current, total)
